/** A program for channel.test.ts: each scene that came out as it should is a line. At its end it becomes another program. */
import assert from "node:assert";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { constants, tmpdir, userInfo } from "node:os";
import path from "node:path";
import type { Readable } from "node:stream";
import { native } from "../../src/native/binding.js";
import type { Channel } from "../../src/native/channel.js";

const { errno } = constants;
const folder = mkdtempSync(path.join(tmpdir(), "channels-"));
const place = (name: string) => path.join(folder, name);
const addon = native();

function done(scene: string): void {
  writeSync(1, `${scene}\n`);
}

const openDescriptors = () => readdirSync("/proc/self/fd").length;

interface Packet {
  readonly bytes: Uint8Array;
  readonly fds: number[];
}

/** A channel whose packets are waited for. */
class Mailbox {
  readonly packets: Packet[] = [];
  readonly channel: Channel;
  closed = false;
  #changed = () => {};

  constructor(own?: number) {
    this.channel = addon.openChannel(
      (bytes, fds) => {
        this.packets.push({ bytes, fds });
        this.#changed();
      },
      () => {
        this.closed = true;
        this.#changed();
      },
      own,
    );
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
      });
    }
  }

  async next(): Promise<Packet> {
    await this.until(() => this.packets.length > 0);
    return this.packets.shift() ?? { bytes: new Uint8Array(), fds: [] };
  }
}

/** A Python program with `fd`, a socket, as its descriptor 3 and a line per answer. */
function python(
  script: string,
  fd: number | "ignore",
): { lines: () => Promise<string>; say: (text: string) => void; end: () => Promise<void> } {
  const child = spawn("python3", ["-c", `import array, os, socket, sys\n${script}`], {
    stdio: ["pipe", "pipe", "inherit", fd],
  });
  const output = child.stdout as Readable;
  const end = once(child, "close");
  return {
    lines: async () => String((await once(output, "data"))[0]),
    say: (text) => child.stdin?.write(`${text}\n`),
    end: async () => {
      child.stdin?.end();
      output.resume();
      assert.equal((await end)[0], 0);
    },
  };
}

const OWN = "c = socket.socket(fileno=3)\n";

async function packetsPass(): Promise<void> {
  const box = new Mailbox();
  const echo = python(
    `${OWN}
data, rights, _, _ = c.recvmsg(65536, socket.CMSG_SPACE(32 * 4))
fds = array.array("i"); fds.frombytes(rights[0][2])
os.write(fds[1], b"through it")
c.sendmsg([data[::-1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])`,
    box.channel.peer,
  );
  addon.closeFd(box.channel.peer);
  const file = openSync(place("passed"), "w+");
  const bytes = Uint8Array.from({ length: 65_536 }, (_, i) => i % 251);
  assert.equal(box.channel.send(bytes, [0, ...Array.from({ length: 31 }, () => file)]), 0);
  const { bytes: back, fds } = await box.next();
  assert.deepEqual(back, bytes.reverse());
  assert.equal(fds.length, 32);
  for (const fd of fds) addon.closeFd(fd);
  await echo.end();
  await box.until(() => box.closed);
  assert.equal(readFileSync(place("passed"), "utf8"), "through it");
  assert.ok(fstatSync(file).isFile());
  closeSync(file);
  done("packets of up to 64 KiB pass with descriptors, which stay the sender's");
}

async function longPackets(): Promise<void> {
  const before = openDescriptors();
  const box = new Mailbox();
  const peer = python(
    `${OWN}
c.sendmsg([bytes(65537)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
print("sent", flush=True)
sys.stdin.read()`,
    box.channel.peer,
  );
  addon.closeFd(box.channel.peer);
  assert.equal(box.channel.send(new Uint8Array(65_537)), -errno.EMSGSIZE);
  await box.until(() => box.closed);
  assert.equal(box.packets.length, 0);
  assert.equal(box.channel.send(Uint8Array.of(1)), -errno.EPIPE);
  await peer.end();
  assert.equal(openDescriptors(), before);
  done("a longer packet is refused, and one that comes ends the channel without a descriptor left");
}

async function room(): Promise<void> {
  const box = new Mailbox();
  const peer = python(
    `${OWN}
sys.stdin.readline()
while len(c.recv(65536)) > 1: pass
print("all", flush=True)`,
    box.channel.peer,
  );
  addon.closeFd(box.channel.peer);
  let sent = 0;
  let result = 0;
  while (result === 0 && sent < 1000) {
    result = box.channel.send(new Uint8Array(16_384));
    if (result === 0) sent++;
  }
  assert.equal(result, -errno.EAGAIN);
  assert.ok(sent > 0 && sent < 100, `${sent} packets of 16 KiB before the kernel has no more room`);
  let early = false;
  box.channel.whenWritable(() => {
    early = true;
  });
  let told = 0;
  const writable = new Promise<void>((resolve) => {
    box.channel.whenWritable(() => {
      told++;
      resolve();
    });
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(told, 0, "not before it reads");
  peer.say("read");
  await writable;
  assert.equal(box.channel.send(Uint8Array.of(1)), 0);
  await peer.end();
  await box.until(() => box.closed);
  assert.deepEqual([told, early], [1, false]);
  done("a peer that does not read is told to the sender, and when it reads again");
}

async function listening(): Promise<void> {
  const file = place("listener.sock");
  process.umask(0);
  const accepted: [number, number, number][] = [];
  let changed = () => {};
  const listener = addon.listenChannel(file, (...peer) => {
    accepted.push(peer);
    changed();
  });
  process.umask(0o077);
  assert.ok(typeof listener === "object");
  assert.equal(statSync(file).mode & 0o7777, 0o600);
  assert.equal(process.umask(), 0o077);

  const client = python(
    `c = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); c.connect(${JSON.stringify(file)})
c.send(b"hello"); print(os.getpid(), c.recv(10).decode(), flush=True)`,
    "ignore",
  );
  const line = client.lines();
  while (accepted.length === 0) {
    await new Promise<void>((resolve) => {
      changed = resolve;
    });
  }
  const [fd, uid, pid] = accepted[0];
  assert.equal(uid, userInfo().uid);
  assert.deepEqual(addon.peerCredentials(fd), { pid, uid, gid: userInfo().gid });
  const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))?.[1] ?? "";
  assert.equal(Number.parseInt(flags, 8) & 0o2004000, 0o2004000, "non-blocking, close-on-exec");
  const box = new Mailbox(fd);
  assert.equal(String(Buffer.from((await box.next()).bytes)), "hello");
  box.channel.send(Buffer.from("welcome"));
  assert.equal(await line, `${pid} welcome\n`);
  await client.end();
  await box.until(() => box.closed);

  // Both ends here.
  const own = addon.connectChannel(file);
  assert.ok(own > 2);
  const credentials = addon.peerCredentials(own);
  assert.ok(typeof credentials === "object" && credentials.pid === process.pid);
  while (accepted.length < 2) {
    await new Promise<void>((resolve) => {
      changed = resolve;
    });
  }
  assert.deepEqual(accepted[1].slice(1), [userInfo().uid, process.pid]);
  addon.closeFd(own);
  addon.closeFd(accepted[1][0]);
  listener.close();
  listener.close();
  assert.ok(existsSync(file), "the file is not the listener's to remove");
  done("a listener's file is 0600 in any umask, and tells who connected");
}

function errors(): void {
  const file = place("listener.sock");
  const refuse = () => assert.fail("nobody connects");
  assert.equal(addon.listenChannel(file, refuse), -errno.EADDRINUSE);
  assert.equal(addon.connectChannel(file), -errno.ECONNREFUSED);
  unlinkSync(file);
  assert.equal(addon.connectChannel(file), -errno.ENOENT);
  const long = place("x".repeat(107 - folder.length - 1));
  assert.equal(long.length, 107);
  const listener = addon.listenChannel(long, refuse);
  assert.ok(typeof listener === "object" && existsSync(long));
  listener.close();
  assert.equal(addon.listenChannel(`${long}x`, refuse), -errno.ENAMETOOLONG);
  assert.equal(addon.connectChannel(`${long}x`), -errno.ENAMETOOLONG);
  assert.equal(addon.listenChannel(place("no/such/folder"), refuse), -errno.ENOENT);
  assert.equal(addon.listenChannel("\0abstract", refuse), -errno.EINVAL);
  assert.equal(addon.peerCredentials(9999), -errno.EBADF);
  const plain = openSync(place("passed"), "r");
  assert.equal(addon.peerCredentials(plain), -errno.ENOTSOCK);
  closeSync(plain);
  done("a path that is taken, stale, missing or too long is told by its errno");
}

function backlog(): void {
  const file = place("backlog.sock");
  const listener = addon.listenChannel(file, (fd) => addon.closeFd(fd));
  assert.ok(typeof listener === "object");
  const clients: number[] = [];
  let result = 0;
  while (clients.length < 1000) {
    result = addon.connectChannel(file); // the loop does not turn, so that nobody accepts
    if (result < 0) break;
    clients.push(result);
  }
  assert.equal(result, -errno.EAGAIN);
  for (const fd of clients) addon.closeFd(fd);
  listener.close();
  done("a full backlog is told to who connects");
}

async function exhaustion(): Promise<void> {
  const file = place("exhausted.sock");
  let changed = () => {};
  const accepted: number[] = [];
  const listener = addon.listenChannel(file, (fd) => {
    accepted.push(fd);
    changed();
  });
  assert.ok(typeof listener === "object");
  const limits = readFileSync("/proc/self/limits", "utf8");
  const [, soft = "", hard = ""] = /Max open files\s+(\d+)\s+(\d+)/.exec(limits) ?? [];
  // Without a descriptor no process can be started that would raise it again: so that one is started before.
  const raiser = python(
    `import resource
print("ready", flush=True)
sys.stdin.readline()
resource.prlimit(${process.pid}, resource.RLIMIT_NOFILE, (${soft}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))`,
    "ignore",
  );
  await raiser.lines();
  const client = addon.connectChannel(file);
  execFileSync("prlimit", ["--pid", `${process.pid}`, `--nofile=0:${hard}`]);
  const { user } = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(accepted.length, 0);
  assert.ok(process.cpuUsage().user - user < 150_000, "it does not spin");
  raiser.say("now");
  while (accepted.length === 0) {
    await new Promise<void>((resolve) => {
      changed = resolve;
    });
  }
  await raiser.end();
  for (const fd of [client, ...accepted]) addon.closeFd(fd);
  listener.close();
  done("without a descriptor left accepting pauses, and goes on");
}

async function lock(): Promise<void> {
  const file = place("lock");
  writeFileSync(file, "");
  const [first, second] = [openSync(file, "r"), openSync(file, "r")];
  assert.equal(addon.lockFile(first, false), 0);
  assert.equal(addon.lockFile(second, false), -errno.EAGAIN);
  const begun = performance.now();
  assert.equal(addon.lockFile(second, true), -errno.EAGAIN);
  assert.ok(performance.now() - begun > 2);
  const other = python(
    `import fcntl
try: fcntl.flock(os.open(${JSON.stringify(file)}, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: print("busy", flush=True)`,
    "ignore",
  );
  assert.equal(await other.lines(), "busy\n");
  await other.end();
  closeSync(first);
  assert.equal(addon.lockFile(second, true), 0);
  closeSync(second);
  assert.equal(addon.lockFile(9999, false), -errno.EBADF);
  done("a lock is held by one");
}

function refusals(): void {
  const box = new Mailbox();
  const { channel } = box;
  const wrong: [string, () => unknown][] = [
    ["an empty packet", () => channel.send(new Uint8Array())],
    ["text", () => channel.send("text" as unknown as Uint8Array)],
    ["33 descriptors", () => channel.send(Uint8Array.of(1), new Array<number>(33).fill(0))],
    ["a negative descriptor", () => channel.send(Uint8Array.of(1), [-1])],
    ["a descriptor of text", () => channel.send(Uint8Array.of(1), ["0" as unknown as number])],
    ["one descriptor", () => channel.send(Uint8Array.of(1), 0 as unknown as number[])],
    ["a hole", () => channel.send(Uint8Array.of(1), new Array<number>(2))],
    ["no callback", () => channel.whenWritable(undefined as unknown as () => void)],
    ["another object", () => channel.whenWritable.call({} as Channel, () => {})],
    ["no path", () => addon.listenChannel("", () => {})],
    ["a number", () => addon.listenChannel(1 as unknown as string, () => {})],
    ["no function", () => addon.listenChannel(place("x"), undefined as unknown as () => void)],
    ["nothing to connect to", () => addon.connectChannel("")],
    ["no descriptor", () => addon.peerCredentials(undefined as unknown as number)],
    ["a lock on nothing", () => addon.lockFile(-1, true)],
    ["a lock without a wish", () => addon.lockFile(0, undefined as unknown as boolean)],
    ["a program of a number", () => addon.execute(1 as unknown as string, [], [])],
    ["a zero byte", () => addon.execute("/bin/true", ["a\0b"], [])],
    ["no arguments", () => addon.execute("/bin/true", undefined as unknown as string[], [])],
    ["an environment of objects", () => addon.execute("/bin/true", [], [{} as unknown as string])],
  ];
  for (const [name, call] of wrong) assert.throws(call, TypeError, name);
  assert.equal(channel.send(Uint8Array.of(1), [9999]), -errno.EBADF);
  const closed = new Mailbox(channel.peer);
  channel.close();
  assert.equal(channel.send(Uint8Array.of(1)), -errno.EPIPE);
  channel.whenWritable(() => assert.fail("it is closed"));
  closed.channel.close();
  const file = openSync("/dev/null", "r");
  assert.throws(() => new Mailbox(file), { code: "ENOTSOCK" });
  closeSync(file); // still ours
  done("wrong arguments are refused");
}

await packetsPass();
const before = openDescriptors();
await longPackets();
await room();
await listening();
errors();
backlog();
await exhaustion();
await lock();
refusals();
await new Promise((resolve) => setTimeout(resolve, 10)); // what libuv closes at the end of a turn
assert.equal(openDescriptors(), before);
done("all descriptors are closed at the end");
rmSync(folder, { recursive: true });

// From here on this is no test of ours that could clean up.
process.on("SIGUSR1", () => {});
const listeners = process.listenerCount("SIGUSR1");
assert.equal(addon.execute("/nowhere/no-such-program", [], []), -errno.ENOENT);
assert.equal(addon.execute("/bin/true", ["x".repeat(200_000)], []), -errno.E2BIG);
assert.equal(process.listenerCount("SIGUSR1"), listeners);
const alive = setInterval(() => {}, 1000); // a handler alone does not keep the loop alive
const handled = new Promise((resolve) => process.once("SIGUSR1", resolve));
process.kill(process.pid, "SIGUSR1");
await handled;
clearInterval(alive);
assert.match(readFileSync("/proc/self/status", "utf8"), /^SigIgn:\t.*1...$/m, "SIGPIPE is ignored again");
done("execute: a program that is not there leaves all as it was");

const script = `
[ "$*" = "a b c" ] && [ "$NAME" = value ] && [ -z "$HOME" ] && [ $(ls /proc/self/fd | wc -l) = 4 ] &&
grep -q 'SigIgn:.0000000000000000' /proc/self/status && grep -q 'SigBlk:.0000000000000000' /proc/self/status &&
echo "execute: the program gets arguments, environment, three descriptors and no signal of ours"`;
addon.execute("/bin/sh", ["-c", script, "sh", "a b", "c"], ["NAME=value", `PATH=${process.env.PATH}`]);
assert.fail("not reached");
