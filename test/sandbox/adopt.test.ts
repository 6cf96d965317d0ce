/**
 * Sandboxes that nobody sits in front of: held ones, detached ones, and launchers that another process started (give-launcher.py, in
 * the program's place) and handed over.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, fstatSync, mkdtempSync, openSync, readdirSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import test from "ava";
import { NetnsError } from "../../src/errors.js";
import { launcherPath, native } from "../../src/native/binding.js";
import { adopt } from "../../src/sandbox/adopt.js";
import { type InsideOptions, launch, type Sandbox } from "../../src/sandbox/sandbox.js";
import { isAlive, processesWith, statField, until } from "./processes.js";

const giver = fileURLToPath(new URL("../../../test/sandbox/give-launcher.py", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "adopt-"));
test.after.always(() => rmSync(folder, { recursive: true }));

const inside: InsideOptions = {
  network: {
    ifname: "tap0",
    mac: "52:55:0a:00:02:64",
    mtu: 1400,
    v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
    v6: null,
    congestion: ["reno"],
    queues: 2,
  },
  root: false,
  hostname: null,
  resolvConf: null,
  hosts: null,
};

async function end(sandbox: Sandbox): Promise<void> {
  for (const fd of sandbox.taps) closeSync(fd);
  await sandbox.release();
}

/** Reads all that comes out of a detached sandbox; its descriptor is closed then. */
function outputOf({ output }: Sandbox): Socket {
  return new Socket({ fd: output ?? -1, readable: true, writable: false });
}

let places = 0;

interface Given {
  readonly child: ChildProcess;
  /** All that it, and the command, say. */
  readonly said: Promise<string>;
  /** What it was handed over. */
  readonly channel: number;
  /** The launcher, as it told. */
  readonly launcher: number;
  /** The process that gave it. */
  readonly giver: number;
}

/** Starts what a user would, `prefix` in front of it, and takes the launcher that it gives. */
async function given(command: string[], what: "leave" | "wait", prefix: string[] = []): Promise<Given> {
  const place = path.join(folder, `${places++}.sock`);
  const [program, ...rest] = [
    ...prefix,
    ...[launcherPath(), "front", "python3", giver, "create", place, what, "--", ...command],
  ];
  return new Promise((resolve, reject) => {
    const listener = native().listenChannel(place, (fd) => {
      const channel = native().openChannel(
        (bytes, fds) => {
          const [launcher = 0, giverId = 0] = new TextDecoder().decode(bytes).split(" ").map(Number);
          channel.send(Uint8Array.of(1));
          channel.close();
          if (typeof listener === "object") listener.close();
          resolve({ child, said, channel: fds[0] ?? -1, launcher, giver: giverId });
        },
        () => reject(new Error("nothing was given")),
        fd,
      );
    });
    const child = spawn(program, rest, { stdio: ["pipe", "pipe", "inherit"] });
    const said = text(child.stdout);
  });
}

test("a held sandbox has no command, and lives until it is released", async (t) => {
  const sandbox = await launch({ ...inside, command: [], env: process.env, hold: true });
  const { pid = 0, start = "" } = sandbox.init ?? {};
  t.is(statField(pid, 22), start);
  t.is(sandbox.taps.length, 2);
  t.is(sandbox.output, null);
  sandbox.start();
  sandbox.signal("SIGTERM", false);
  let ended = false;
  sandbox.exited.then(
    () => {
      ended = true;
    },
    () => {
      ended = true;
    },
  );
  closeSync(await sandbox.socket(4, "stream")); // its answer comes after all that came before
  t.false(ended);
  t.true(isAlive(pid));
  await end(sandbox);
  t.false(isAlive(pid));
});

test("kill -9 of its init ends it", async (t) => {
  const sandbox = await launch({ ...inside, command: [], env: process.env, hold: true });
  process.kill(sandbox.init?.pid ?? 0, "SIGKILL");
  t.deepEqual(await sandbox.exited, { code: null, signal: 9 });
  await end(sandbox);
});

test("a command and holding exclude each other, and one of both has to be", async (t) => {
  const env = process.env;
  await t.throwsAsync(launch({ ...inside, command: ["true"], env, hold: true }), {
    instanceOf: NetnsError,
    code: "USAGE",
  });
  await t.throwsAsync(launch({ ...inside, command: [], env }), { instanceOf: NetnsError, code: "USAGE" });
});

test("a detached command has no terminal and no input, a session of its own, and its output comes by a pipe", async (t) => {
  const script = "cat; readlink /proc/self/fd/0; echo problem >&2; pwd; kill -STOP $$; exit 3";
  const sandbox = await launch({ ...inside, command: ["sh", "-c", script], env: process.env, detach: true });
  const init = sandbox.init?.pid ?? 0;
  const launcher = Number(statField(init, 4));
  t.deepEqual([statField(init, 6), statField(init, 5), statField(init, 7)], [`${launcher}`, `${launcher}`, "0"]);
  const socket = outputOf(sandbox);
  const said = text(socket);
  sandbox.start();
  t.true(await until(() => processesWith(script).some((each) => statField(each, 3) === "T"), 5000));
  sandbox.signal("SIGCONT", false);
  t.deepEqual(await sandbox.exited, { code: 3, signal: null });
  await end(sandbox);
  t.is(await said, `/dev/null\nproblem\n${process.cwd()}\n`);
});

test("what a detached sandbox says of a command that is not there is in its output", async (t) => {
  const sandbox = await launch({ ...inside, command: ["no-such-program"], env: process.env, detach: true });
  const said = text(outputOf(sandbox));
  sandbox.start();
  t.is((await sandbox.exited).code, 127);
  await end(sandbox);
  t.is(await said, "netns-rootless: no-such-program: command not found\n");
});

test("a launcher of another process runs the end of its arguments, with its standard descriptors and environment", async (t) => {
  const it = await given(
    ["sh", "-c", 'read line; echo "$line $0 $NAME $NETNS_ROOTLESS_LAUNCHER."; exit 5', "zero"],
    "leave",
    ["env", "NAME=value"],
  );
  it.child.stdin?.write("words\n"); // before Node hears of that one's end, and lets go of the pipe
  const sandbox = await adopt({ ...inside, channel: it.channel, commandLength: 4 });
  t.is(sandbox.taps.length, 2);
  t.is(Number(statField(sandbox.init?.pid ?? 0, 4)), it.launcher);
  sandbox.start();
  t.deepEqual(await sandbox.exited, { code: 5, signal: null });
  await end(sandbox);
  t.is(await it.said, "words zero value .\n");
  t.true(await until(() => !isAlive(it.launcher), 1000));
});

test("it lives on when who gave it is killed, and ends with the channel", async (t) => {
  const it = await given(["sleep", "3456.7"], "wait");
  const sandbox = await adopt({ ...inside, channel: it.channel, commandLength: 2 });
  sandbox.start();
  t.true(await until(() => processesWith("3456.7").length > 1, 5000));
  const gone = once(it.child, "exit");
  process.kill(it.giver, "SIGKILL");
  await gone;
  closeSync(await sandbox.socket(4, "stream")); // it answers
  t.true(isAlive(it.launcher));
  await end(sandbox);
  t.true(await until(() => processesWith("3456.7").length === 0, 1000));
});

test("detached it outlives its terminal", async (t) => {
  // What makes the terminal: when it is killed, that hangs up.
  const prefix = ["python3", "-c", "import pty, sys; pty.spawn(sys.argv[1:])"];
  const it = await given([], "wait", prefix);
  const sandbox = await adopt({ ...inside, channel: it.channel, commandLength: 0, hold: true, detach: true });
  t.not(statField(it.giver, 7), "0", "it has a terminal");
  t.is(statField(it.launcher, 7), "0");
  const silent = outputOf(sandbox);
  it.child.kill("SIGKILL");
  t.true(await until(() => !isAlive(it.giver), 5000), "the terminal's end ends its session");
  closeSync(await sandbox.socket(4, "stream"));
  t.true(isAlive(it.launcher) && isAlive(sandbox.init?.pid ?? 0));
  await end(sandbox);
  t.is(await text(silent), "");
  t.true(await until(() => !isAlive(it.launcher), 1000));
});

test("a job that is stopped does not hold up its end", async (t) => {
  const asJob = ["python3", "-c", "import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])"];
  const it = await given(["sleep", "4567.8"], "wait", asJob);
  const sandbox = await adopt({ ...inside, channel: it.channel, commandLength: 2 });
  sandbox.start();
  t.true(await until(() => processesWith("4567.8").length > 1, 5000));
  process.kill(-it.giver, "SIGTSTP");
  t.true(await until(() => statField(it.giver, 3) === "T", 2000));
  await end(sandbox);
  t.true(await until(() => !isAlive(it.launcher), 1000));
  process.kill(-it.giver, "SIGKILL");
});

test("the end of an adopted launcher is told by its channel", async (t) => {
  const early = await given(["true"], "leave");
  process.kill(early.launcher, "SIGKILL");
  await t.throwsAsync(adopt({ ...inside, channel: early.channel, commandLength: 1 }), {
    instanceOf: NetnsError,
    message: /supervisor ended unexpectedly \(its channel ended\)/,
  });
  const later = await given(["sleep", "1000"], "leave");
  const sandbox = await adopt({ ...inside, channel: later.channel, commandLength: 2 });
  sandbox.start();
  process.kill(later.launcher, "SIGKILL");
  await t.throwsAsync(sandbox.exited, { message: /supervisor ended unexpectedly \(its channel ended\)/ });
  await end(sandbox);
});

test.serial(
  "a wrong configuration is the launcher's to refuse, and what is no launcher's channel is closed",
  async (t) => {
    const none = await given(["true"], "leave");
    await t.throwsAsync(adopt({ ...inside, channel: none.channel, commandLength: 0 }), { instanceOf: NetnsError });
    const long = await given(["true"], "leave");
    const hosts = "x".repeat(70_000);
    await t.throwsAsync(adopt({ ...inside, hosts, channel: long.channel, commandLength: 1 }), {
      instanceOf: NetnsError,
      code: "USAGE",
    });
    t.true(await until(() => !isAlive(long.launcher) && !isAlive(none.launcher), 1000));

    const file = openSync("/dev/null", "r");
    await t.throwsAsync(adopt({ ...inside, channel: file, commandLength: 1 }), {
      instanceOf: NetnsError,
      message: /no channel of a launcher/,
    });
    t.throws(() => fstatSync(file), { code: "EBADF" });
  },
);

// Alone, since another test would open the same numbers.
test.serial("descriptors that nobody asked for are closed", async (t) => {
  // Something else at the other end: it sends a socket that was not wanted, and another kind of message with one.
  const peer = native().openChannel(
    () => {},
    () => {},
  );
  const adopted = adopt({ ...inside, channel: peer.peer, commandLength: 1 });
  const before = readdirSync("/proc/self/fd").length;
  for (const words of [
    [2, 4, 1, 0],
    [2, 99, 99, 0],
    [77, 0, 0, 0],
    [3, 0, -1, 0],
  ]) {
    peer.send(new Uint8Array(Int32Array.from(words).buffer), [0, 1, 2]);
  }
  peer.close();
  await t.throwsAsync(adopted, { instanceOf: NetnsError });
  t.true(readdirSync("/proc/self/fd").length < before);
});
