/** `launcher exec`: one more command in a sandbox that runs. The sandboxes are held ones, without a stack behind the TAP. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, readFileSync, realpathSync } from "node:fs";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { launcherPath } from "../../src/native/binding.js";
import { type LaunchOptions, launch, type Sandbox } from "../../src/sandbox/sandbox.js";
import { childrenOf, isAlive, processesWith, statField, until } from "./processes.js";

const host = fileURLToPath(new URL("hold-and-exec.js", import.meta.url));
const terminal = fileURLToPath(new URL("../../../test/sandbox/terminal.py", import.meta.url));

async function hold(t: ExecutionContext, changes: Partial<LaunchOptions> = {}): Promise<Sandbox> {
  const sandbox = await launch({
    network: {
      ifname: "tap0",
      mac: null,
      mtu: 1400,
      v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
      v6: null,
      congestion: ["reno"],
      queues: 1,
    },
    command: [],
    hold: true,
    env: process.env,
    root: false,
    hostname: "box",
    resolvConf: "nameserver 10.0.2.3\n",
    hosts: "127.0.0.1 localhost\n",
    ...changes,
  });
  t.teardown(async () => {
    for (const fd of sandbox.taps) closeSync(fd);
    await sandbox.release();
  });
  return sandbox;
}

function words({ init }: Sandbox, ...options: string[]): string[] {
  return ["exec", "--pid", String(init?.pid), "--start", String(init?.start), ...options, "--"];
}

interface Outcome {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

async function outcome(child: ChildProcess): Promise<Outcome> {
  const { stdout, stderr } = child;
  const [out, err, [code]] = await Promise.all([
    stdout ? text(stdout) : "",
    stderr ? text(stderr) : "",
    once(child, "exit"),
  ]);
  return { out, err, code };
}

function exec(given: readonly string[], ...command: string[]): Promise<Outcome> {
  return outcome(spawn(launcherPath(), [...given, ...command], { stdio: ["ignore", "pipe", "pipe"] }));
}

/** Becomes its arguments, in a process group of its own which is not orphaned, so that it can be stopped as a job. */
const AS_JOB = "import os, sys; os.setpgid(0, 0); os.execv(sys.argv[1], sys.argv[1:])";

/** A command that has said "up", as a job. */
async function running(t: ExecutionContext, given: readonly string[], script: string) {
  const job = ["-c", AS_JOB, launcherPath(), ...given, "bash", "-c", script];
  const child = spawn("python3", job, { stdio: ["ignore", "pipe", "pipe"] });
  const ended = once(child, "close");
  let said = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    said += part;
  });
  await until(() => said === "up\n", 10_000);
  const caller = child.pid ?? 0;
  t.teardown(() => {
    if (isAlive(caller)) process.kill(-caller, "SIGKILL"); // it may be stopped
  });
  const [keeper = 0] = childrenOf(caller);
  const [command = 0] = childrenOf(keeper);
  return {
    child,
    ended,
    rest: text(child.stdout),
    said: () => said,
    errors: text(child.stderr),
    caller,
    keeper,
    command,
  };
}

test("the exit code is the command's; not found is 127 and not executable 126, each with one line", async (t) => {
  const inside = words(await hold(t));
  t.deepEqual(await exec(inside, "sh", "-c", "echo here; exit 7"), { out: "here\n", err: "", code: 7 });
  t.is((await exec(inside, "sh", "-c", "kill -TERM $$")).code, 143);
  t.deepEqual(await exec(inside, "no-such-program"), {
    out: "",
    err: "netns-rootless: no-such-program: command not found\n",
    code: 127,
  });
  t.deepEqual(await exec(inside, "/etc/passwd"), {
    out: "",
    err: "netns-rootless: /etc/passwd: Permission denied\n",
    code: 126,
  });
});

test("the command sees what the sandbox's own would see, as the same user, where the caller is", async (t) => {
  const sandbox = await hold(t);
  const script = `hostname; id -u; grep CapEff /proc/self/status; pwd; cat /etc/resolv.conf /proc/sys/net/ipv4/ip_unprivileged_port_start
    ip -br addr show tap0 | cut -d/ -f1; ls /proc/self/fd | wc -l; grep -E 'Sig(Ign|Blk)' /proc/self/status; [ $$ -lt 100 ] && echo small`;
  const { out, err } = await exec(words(sandbox), "sh", "-c", script);
  t.is(err, "");
  t.deepEqual(out.trim().split(/\s*\n/), [
    "box",
    String(process.getuid?.()),
    "CapEff:\t0000000000000000",
    realpathSync("."),
    "nameserver 10.0.2.3",
    "0",
    "tap0             UNKNOWN        10.0.2.100",
    "4",
    "SigBlk:\t0000000000000000",
    "SigIgn:\t0000000000000000",
    "small",
  ]);
  t.is((await exec(words(sandbox, "--cwd", "/usr"), "pwd")).out, "/usr\n");
  t.deepEqual(await exec(words(sandbox, "--cwd", "/nowhere"), "pwd"), {
    out: "",
    err: "netns-rootless: the working directory /nowhere cannot be entered inside: No such file or directory\n",
    code: 125,
  });
  t.is((await exec(words(sandbox, "--nofile", "77"), "sh", "-c", "ulimit -Sn")).out, "77\n");
});

test("in a sandbox of root it is root", async (t) => {
  const { out } = await exec(
    words(await hold(t, { root: true })),
    "sh",
    "-c",
    "id -u; ip link set tap0 down && echo down",
  );
  t.is(out, "0\ndown\n");
});

test("a number that another process has now, or none, is not entered", async (t) => {
  const sandbox = await hold(t);
  const { pid = 0, start = "" } = sandbox.init ?? {};
  const ended = { out: "", err: "netns-rootless: the sandbox has ended\n", code: 125 };
  const target = (id: number, since: string) => ["exec", "--pid", String(id), "--start", since, "--"];
  t.is(statField(pid, 22), start);
  t.deepEqual(await exec(target(pid, String(Number(start) + 1)), "echo", "entered"), ended);
  t.deepEqual(await exec(target(process.pid, start), "echo", "entered"), ended);
  await sandbox.release();
  t.deepEqual(await exec(target(pid, start), "echo", "entered"), ended);
});

test("a process that is nobody's to enter is told as such", async (t) => {
  const start = statField(1, 22) ?? "";
  const { err, code } = await exec(["exec", "--pid", "1", "--start", start, "--"], "true");
  t.regex(err, /^netns-rootless: the sandbox cannot be entered: .*Permission denied\n$/);
  t.is(code, 125);
});

for (const [whom, sign] of [
  ["exec", 1],
  ["its whole process group", -1],
] as const) {
  test(`a signal to ${whom} reaches the command once`, async (t) => {
    const script =
      'trap "echo got" TERM; trap "end=1" USR1; echo up; while [ -z "$end" ]; do sleep 0.05; done; echo ends';
    const { said, caller, ended } = await running(t, words(await hold(t)), script);
    process.kill(sign * caller, "SIGTERM");
    t.true(await until(() => said() === "up\ngot\n", 10_000));
    process.kill(sign * caller, "SIGUSR1"); // a second SIGTERM would be told before
    t.is((await ended)[0], 0);
    t.is(said(), "up\ngot\nends\n");
  });
}

test("a signal that ends the command is told as a shell would", async (t) => {
  const { caller, ended } = await running(t, words(await hold(t)), "echo up; exec sleep 1000");
  process.kill(caller, "SIGHUP");
  t.is((await ended)[0], 129);
});

for (const victim of ["caller", "keeper"] as const) {
  test(`kill -9 of the ${victim} ends the command`, async (t) => {
    const sandbox = await hold(t);
    const it = await running(t, words(sandbox), "echo up; exec sleep 1000");
    t.true(it.command > 0 && isAlive(it.command));
    process.kill(it[victim], "SIGKILL");
    t.true(await until(() => ![it.caller, it.keeper, it.command].some(isAlive), 1000));
    t.deepEqual(await it.ended, victim === "caller" ? [null, "SIGKILL"] : [125, null]);
    t.is(await it.errors, victim === "caller" ? "" : "netns-rootless: exec was ended by signal 9\n");
    t.true(isAlive(sandbox.init?.pid ?? 0));
  });
}

test("a signal that comes as the command ends does not hide how it ended", async (t) => {
  const script = "trap 'exit 3' USR2; echo up; while :; do sleep 0.02; done";
  const { caller, keeper, command, ended } = await running(t, words(await hold(t)), script);
  // The keeper finds both at once: that the command has ended, and a signal for it, which it leaves unread.
  process.kill(keeper, "SIGSTOP");
  t.true(await until(() => statField(keeper, 3) === "T", 2000));
  process.kill(command, "SIGUSR2");
  t.true(await until(() => statField(command, 3) === "Z", 2000));
  process.kill(caller, "SIGUSR1");
  await new Promise((resolve) => setTimeout(resolve, 200));
  process.kill(caller, "SIGSTOP");
  t.true(await until(() => statField(caller, 3) === "T", 2000));
  process.kill(keeper, "SIGCONT");
  t.true(await until(() => statField(keeper, 3) === "Z", 2000));
  process.kill(caller, "SIGCONT");
  t.deepEqual(await ended, [3, null]);
});

test("what a command left running stays in the sandbox until that ends", async (t) => {
  const sandbox = await hold(t);
  const { code } = await exec(words(sandbox), "sh", "-c", "setsid sleep 2345.6 >/dev/null 2>&1 &");
  t.is(code, 0);
  const [left = 0] = processesWith("2345.6");
  t.is(statField(left, 4), String(sandbox.init?.pid));
  await sandbox.release();
  t.deepEqual(processesWith("2345.6"), []);
});

test("the end of the sandbox ends the command", async (t) => {
  const sandbox = await hold(t);
  const { ended } = await running(t, words(sandbox), "echo up; exec sleep 1000");
  await sandbox.release();
  t.is((await ended)[0], 137);
});

test("a stopped exec does not hold up the end of its sandbox", async (t) => {
  const sandbox = await hold(t);
  const { caller, ended } = await running(t, words(sandbox), "echo up; exec sleep 1000");
  process.kill(-caller, "SIGTSTP");
  t.true(await until(() => statField(caller, 3) === "T", 2000));
  await sandbox.release();
  t.false(isAlive(sandbox.init?.pid ?? 0), "nobody gave up waiting for it");
  process.kill(-caller, "SIGCONT");
  t.is((await ended)[0], 137);
});

test("nor, for long, one that was stopped in a way that nobody can resist", async (t) => {
  const sandbox = await hold(t);
  const { caller, keeper, ended } = await running(t, words(sandbox), "echo up; exec sleep 1000");
  process.kill(-caller, "SIGSTOP");
  t.true(await until(() => statField(keeper, 3) === "T", 2000));
  await sandbox.release();
  t.true(isAlive(sandbox.init?.pid ?? 0), "it waits for a parent that is stopped");
  process.kill(-caller, "SIGCONT");
  t.is((await ended)[0], 137);
  t.true(await until(() => !isAlive(sandbox.init?.pid ?? 0), 1000));
});

test("where /proc cannot be mounted, as in many containers, exec works without a PID namespace", async (t) => {
  const inContainer = async (...command: string[]) => {
    const script = `mount --bind /dev/null /proc/uptime; "$@"; echo $?`;
    const given = ["-Urm", "sh", "-c", script, "sh", process.execPath, host, ...command];
    const { out, err } = await outcome(spawn("unshare", given, { stdio: ["ignore", "pipe", "pipe"] }));
    t.regex(err, /^this host does not let us mount \/proc/);
    return out;
  };
  const show = "setsid sleep 8765.4 >/dev/null & ip -br addr show tap0 | grep -o '10[.0-9]*/24'; exit 4";
  t.is(await inContainer("sh", "-c", show), "10.0.2.100/24\n4\n");
  t.deepEqual(processesWith("8765.4"), [], "what it left, which nobody else would end");
  t.is(
    await inContainer("--release", "sh", "-c", "setsid sleep 8765.3 >/dev/null & echo up; sleep 8765.3"),
    "up\n137\n",
  );
  t.deepEqual(processesWith("8765.3"), []);
  const forks = "setsid sleep 8765.2 >/dev/null & echo up; sleep 8765.2";
  t.is(await inContainer("--kill", "sh", "-c", forks), "up\n0\n");
  t.true(
    await until(() => processesWith("8765.2").length === 0, 2000),
    "kill -9 of exec ends what its command has forked",
  );
});

test("a terminal works in it as outside", async (t) => {
  const sandbox = await hold(t);
  const runner = [launcherPath(), ...words(sandbox)].join(" ");
  const { out, err } = await outcome(spawn("python3", [terminal, runner], { stdio: ["ignore", "pipe", "pipe"] }));
  t.is(err, "");
  t.is(out, "all answered\n");
});

test("what is not understood is told in a line", async (t) => {
  const wrong: [string[], RegExp][] = [
    [[], /--pid, --start and a command are wanted/],
    [["--pid", "1", "--start", "1"], /--pid, --start and a command are wanted/],
    [["--pid", "1", "--", "true"], /--pid, --start and a command are wanted/],
    [["--pid", "0", "--start", "1", "--", "true"], /--pid wants a number from 1, not 0/],
    [["--pid", "-1", "--start", "1", "--", "true"], /--pid wants a number from 1, not -1/],
    [["--pid", "1x", "--start", "1", "--", "true"], /--pid wants a number from 1, not 1x/],
    [["--pid", "99999999999999999999", "--start", "1", "--", "true"], /--pid wants a number/],
    [["--pid", "1", "--start", "99999999999999999999999", "--", "true"], /--start wants a number/],
    [["--nosuch"], /unknown or incomplete option: --nosuch/],
    [["--pid"], /unknown or incomplete option: --pid/],
  ];
  for (const [given, message] of wrong) {
    const { out, err, code } = await exec(["exec", ...given]);
    t.deepEqual([out, code], ["", 125]);
    t.regex(err, message);
    t.regex(err, /^netns-rootless: [^\n]+\n$/);
  }
});

test("a sandbox's two processes take little memory", async (t) => {
  const { init } = await hold(t);
  const pids = [init?.pid ?? 0, Number(statField(init?.pid ?? 0, 4))];
  // With a shared C library, where there is no other, it is some more.
  const shared = readFileSync(`/proc/${init?.pid}/maps`, "utf8").includes("/libc.");
  const resident = (process: number) =>
    Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${process}/status`, "utf8"))?.[1]);
  for (const pid of pids) t.true(await until(() => resident(pid) < (shared ? 1000 : 600), 2000), `${resident(pid)} kB`);
});
