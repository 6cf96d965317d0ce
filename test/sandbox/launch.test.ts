/** Real sandboxes, without a stack behind the TAP: what the launcher gives to a command and how it ends. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, readFileSync, readlinkSync } from "node:fs";
import { type AddressInfo, createServer, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import test from "ava";
import { NetnsError } from "../../src/errors.js";
import { attach, type InsideNetwork, type LaunchOptions, launch } from "../../src/sandbox/sandbox.js";
import { childrenOf, isAlive, processesWith, until } from "./processes.js";

const runner = fileURLToPath(new URL("run-command.js", import.meta.url));
const network: InsideNetwork = {
  ifname: "tap0",
  mac: "52:55:0a:00:02:64",
  mtu: 1400,
  v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
  v6: { address: "fd00::100", prefix: 64, gateway: "fd00::2" },
  congestion: ["nosuch", "reno"],
  queues: 1,
};

function options(command: string[], changes: Partial<LaunchOptions> = {}): LaunchOptions {
  const rest = { env: process.env, root: false, hostname: null, resolvConf: null, hosts: null };
  return { network, command, ...rest, ...changes };
}

/** Runs a command through the host program, and collects what it says. */
async function run(...command: string[]) {
  const child = spawn(process.execPath, [runner, ...command], { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { out, err, code };
}

const outside = (...command: [string, ...string[]]) => execFileSync(command[0], command.slice(1)).toString();

test("the command is the same user inside, without capabilities; --root maps it to root", async (t) => {
  const inside = await run("sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; pwd");
  t.is(inside.out, `${outside("id", "-u")}${outside("id", "-g")}CapEff:\t0000000000000000\n${process.cwd()}\n`);
  t.is((await run("--root", "id", "-u")).out, "0\n");
});

test("the exit code is the command's; not found is 127 and not executable 126, each with one line", async (t) => {
  t.is((await run("sh", "-c", "exit 7")).code, 7);
  t.is((await run("sh", "-c", "kill -TERM $$")).code, 143);
  t.deepEqual(await run("no-such-program"), {
    out: "",
    err: "netns-rootless: no-such-program: command not found\n",
    code: 127,
  });
  t.deepEqual(await run("/etc/passwd"), {
    out: "",
    err: "netns-rootless: /etc/passwd: Permission denied\n",
    code: 126,
  });
  t.is((await run("/etc")).code, 126);
  t.is((await run("")).err, "netns-rootless: '': command not found\n");
  t.is((await run("a\nb\u001b[2J")).err, "netns-rootless: a?b?[2J: command not found\n");
  t.regex((await run("x".repeat(10_000))).err, /^netns-rootless: x{250,}\.\.\.: .+\n$/);
});

test("the network inside is up before the command starts, with our congestion control and sysctls", async (t) => {
  const { out } = await run(
    "sh",
    "-c",
    "ip -br addr show tap0; ip route; ip route show table local; cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
  );
  t.regex(out, /^tap0 +\S+ +10\.0\.2\.100\/24/m);
  t.regex(out, /^default via 10\.0\.2\.2 dev tap0 .*congctl reno/m);
  t.regex(out, /^10\.0\.2\.0\/24 dev tap0 .*congctl reno/m);
  for (const own of ["127.0.0.0/8 dev lo", "127.0.0.1 dev lo", "10.0.2.100 dev tap0"]) {
    t.regex(out, new RegExp(`^local ${own} .*congctl reno`, "m"));
  }
  t.regex(out, /^0$/m);
});

test("so is its IPv6: an address that is no longer tentative, routes with our congestion control, nothing from advertisements", async (t) => {
  const { out } = await run("sh", "-c", "ip -6 -o addr show; ip -6 route; cat /proc/sys/net/ipv6/conf/tap0/accept_ra");
  t.regex(out, /lo +inet6 ::1\/128/);
  t.regex(out, /tap0 +inet6 fd00::100\/64 scope global/);
  t.notRegex(out, /tentative/);
  t.regex(out, /^fd00::\/64 dev tap0 .*congctl reno/m);
  t.regex(out, /^default via fd00::2 dev tap0 .*congctl reno/m);
  t.regex(out, /^0$/m);
});

test("a sandbox of one family has nothing of the other on its interface, only on its loopback", async (t) => {
  const show = "ip -o addr show; ip route; ip -6 route; ping -c1 127.0.0.1 && ping -c1 ::1";
  for (const [option, present, absent] of [
    ["--ipv4-only", /10\.0\.2\.2 dev tap0/, /fe80::|fd00::/],
    ["--ipv6-only", /fd00::2 dev tap0/, /10\.0\.2/],
  ] as const) {
    const { out } = await run(option, "sh", "-c", show);
    t.regex(out, present);
    t.notRegex(out, absent);
    t.regex(out, /1 received.*1 received/s);
  }
});

test("no descriptor of ours reaches the command, and signals have their defaults", async (t) => {
  const { out } = await run("sh", "-c", "ls /proc/self/fd | wc -l; grep -E 'Sig(Ign|Blk)' /proc/self/status");
  t.is(out, "4\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"); // 0, 1, 2 and the one that ls reads
});

test("resolv.conf and hosts are ours inside and untouched outside", async (t) => {
  const before = readFileSync("/etc/hosts", "utf8");
  const { out } = await run("cat", "/etc/resolv.conf", "/etc/hosts");
  t.is(out, "nameserver 10.0.2.3\n127.0.0.1 localhost\n10.0.2.2 host.internal\n");
  t.is(readFileSync("/etc/hosts", "utf8"), before);
});

for (const [kind, change] of [
  ["a symbolic link", "echo x > link-target; ln -s $PWD/link-target etc/resolv.conf"],
  ["a dangling link", "ln -s /run/nowhere/resolv.conf etc/resolv.conf"],
  ["missing", "true"],
] as const) {
  test(`resolv.conf is replaced where it is ${kind}`, async (t) => {
    const script = `set -e; cd $(mktemp -d); cp -a /etc etc 2>/dev/null || true; rm -f etc/resolv.conf; ${change}
      mount --bind etc /etc; ls -A /etc > before; "$@" sh -c 'cat /etc/resolv.conf; ls -A /etc > after; cat /etc/debian_version >/dev/null; id -un >/dev/null'
      sed -i '/^.host-etc$/d;/^resolv.conf$/d' before after; cmp before after; ls -l /etc/resolv.conf 2>/dev/null | wc -l; umount /etc; rm -r $PWD`;
    const given = ["-Urm", "sh", "-c", script, "sh", process.execPath, runner];
    const out = outside("unshare", ...given);
    t.is(out, `nameserver 10.0.2.3\n${kind === "missing" ? 0 : 1}\n`);
  });
}

test("resolv.conf and hosts stay ours when the host renames other files over its own", (t) => {
  const script = `set -e; cd $(mktemp -d); cp -a /etc etc 2>/dev/null || true; mount --bind etc /etc; mkfifo begun renamed
    echo host > /etc/resolv.conf; echo host > /etc/hosts
    { cat begun; for each in resolv.conf hosts; do echo other > /etc/new; mv /etc/new /etc/$each; done; echo > renamed; } &
    "$@" sh -c 'echo > begun; cat renamed /etc/resolv.conf /etc/hosts'; wait; cat /etc/resolv.conf; umount /etc; rm -r $PWD`;
  const out = outside("unshare", "-Urm", "sh", "-c", script, "sh", process.execPath, runner);
  t.is(out, "\n\nnameserver 10.0.2.3\n127.0.0.1 localhost\n10.0.2.2 host.internal\nother\n");
});

test("a launched sandbox tells its TAP, and its sockets are made inside", async (t) => {
  const sandbox = await launch(
    options([
      "python3",
      "-c",
      "import socket; s = socket.create_server(('127.0.0.1', 7)); s.accept()[0].sendall(b'inside')",
    ]),
  );
  t.deepEqual([...sandbox.mac], [0x52, 0x55, 0x0a, 0x00, 0x02, 0x64]);
  t.is(readlinkSync(`/proc/self/fd/${sandbox.taps[0]}`), "/dev/net/tun");
  sandbox.start();
  let answer = "";
  for (const deadline = Date.now() + 10_000; answer === "" && Date.now() < deadline; ) {
    const socket = new Socket({ fd: await sandbox.socket(4, "stream") });
    socket.on("error", () => undefined); // the server is not up yet
    answer = await new Promise((resolve) => {
      socket.on("data", (bytes) => resolve(String(bytes))).on("close", () => resolve(""));
      socket.connect(7, "127.0.0.1");
    });
    socket.destroy();
  }
  t.is(answer, "inside");
  t.deepEqual(await sandbox.exited, { code: 0, signal: null });
  const many = await Promise.all(Array.from({ length: 50 }, () => sandbox.socket(4, "datagram")));
  t.is(new Set(many).size, 50);
  for (const fd of [...many, sandbox.taps[0]]) closeSync(fd);
  await sandbox.release();
  await t.throwsAsync(sandbox.socket(4, "stream"), { instanceOf: NetnsError, message: /has ended/ });
});

test("a TAP has as many queues as wished, each with a descriptor", async (t) => {
  const script = "ip -d link show tap0 | grep -q 'numqueues 3 ' && [ $(cat /proc/sys/net/ipv6/auto_flowlabels) = 0 ]";
  const sandbox = await launch(options(["sh", "-c", script], { network: { ...network, queues: 3 } }));
  t.is(new Set(sandbox.taps).size, 3);
  for (const fd of sandbox.taps) t.is(readlinkSync(`/proc/self/fd/${fd}`), "/dev/net/tun");
  sandbox.start();
  t.is((await sandbox.exited).code, 0);
  for (const fd of sandbox.taps) closeSync(fd);
  await sandbox.release();
});

test("the hostname is the sandbox's own", async (t) => {
  const sandbox = await launch(options(["sh", "-c", '[ "$(hostname)" = box ]'], { hostname: "box" }));
  sandbox.start();
  t.is((await sandbox.exited).code, 0);
  closeSync(sandbox.taps[0]);
  await sandbox.release();
});

/** A running sandbox with a command that has children, one of them a daemon. */
async function family(): Promise<{ child: ChildProcess; members: Record<string, number>; all: number[] }> {
  const script = "sleep 1000 & setsid sleep 1000 & echo up; sleep 1000; true";
  const child = spawn(process.execPath, [runner, "sh", "-c", script], { stdio: ["ignore", "pipe", "ignore"] });
  await once(child.stdout, "data");
  const node = child.pid ?? 0;
  const [launcher = 0] = childrenOf(node);
  const [init = 0] = childrenOf(launcher);
  const [command = 0] = childrenOf(init);
  await until(() => childrenOf(command).length >= 2, 2000);
  return {
    child,
    members: { node, launcher, init, command },
    all: [node, launcher, init, command, ...childrenOf(command)],
  };
}

for (const [victim, code] of [
  ["node", null],
  ["launcher", 125],
  ["init", 137],
  ["command", 137],
] as const) {
  test(`kill -9 of the ${victim} leaves nothing within a second`, async (t) => {
    const { child, members, all } = await family();
    t.true(all.length >= 6 && all.every(isAlive));
    const ended = once(child, "exit");
    process.kill(members[victim] ?? 0, "SIGKILL");
    t.true(await until(() => !all.some(isAlive), 1000));
    t.is((await ended)[0], code);
  });
}

test("what the command left running ends with the release", async (t) => {
  const child = spawn(process.execPath, [runner, "sh", "-c", "setsid sleep 1234.5 & echo $!"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [out, [code]] = await Promise.all([text(child.stdout), once(child, "exit")]);
  t.regex(out, /^\d+\n$/);
  t.is(code, 0);
  t.deepEqual(processesWith("1234.5"), []);
});

for (const [whom, sign] of [
  ["the host program", 1],
  ["the whole process group", -1],
] as const) {
  test(`a signal to ${whom} reaches the command once`, async (t) => {
    const script = 'trap "echo got" TERM; echo up; i=0; while [ $i -lt 8 ]; do sleep 0.1; i=$((i+1)); done';
    const child = spawn(process.execPath, [runner, "bash", "-c", script], {
      stdio: ["ignore", "pipe", "ignore"],
      detached: true,
    });
    const [first] = await once(child.stdout, "data");
    const rest = text(child.stdout);
    process.kill(sign * (child.pid ?? 0), "SIGTERM");
    t.is(`${first}${await rest}`, "up\ngot\n");
  });
}

test("where /proc cannot be mounted, as in many containers, all works without a PID namespace, with a note", async (t) => {
  // A /proc that is covered in part, which is what containers do, must not be mounted anew in a namespace below.
  const command = ["sh", "-c", "setsid sleep 4321.5 & echo here; exit 4"];
  const script = `mount --bind /dev/null /proc/uptime; "$@"; echo $?`;
  const given = ["-Urm", "sh", "-c", script, "sh", process.execPath, runner, ...command];
  const child = spawn("unshare", given, { stdio: ["ignore", "pipe", "pipe"] });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  t.is(out, "here\n4\n");
  t.regex(err, /^this host does not let us mount \/proc \(Operation not permitted\)/);
  t.deepEqual(processesWith("4321.5"), []);
});

test("attach gives a network to a namespace that exists, and ends with it", async (t) => {
  const target = spawn("unshare", ["-Urn", "sh", "-c", "echo up; exec sleep 1000"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(target.stdout, "data");
  const pid = target.pid ?? 0;
  const sandbox = await attach({ pid }, network);
  t.regex(
    outside("nsenter", "-t", String(pid), "-U", "-n", "--preserve-credentials", "ip", "route"),
    /default via 10\.0\.2\.2 dev tap0/,
  );
  target.kill("SIGKILL");
  t.deepEqual(await sandbox.exited, { code: 0, signal: null });
  closeSync(sandbox.taps[0]);
  await sandbox.release();
});

test("attach says why a target cannot be entered", async (t) => {
  await t.throwsAsync(attach({ path: "/nowhere" }, network), {
    instanceOf: NetnsError,
    message: /\/nowhere does not exist/,
  });
  await t.throwsAsync(attach({ path: "/etc/passwd" }, network), { message: /not a network namespace/ });
  await t.throwsAsync(attach({ pid: process.pid }, network), { message: /the network that this command runs in/ });
});

test("a server outside is not reached from inside", async (t) => {
  const server = createServer((socket) => socket.end()).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server has no other
  t.not((await run("python3", "-c", `import socket; socket.create_connection(('127.0.0.1', ${port}), 1)`)).code, 0);
  server.close();
});
