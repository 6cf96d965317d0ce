/** The filter of native/engine/confine.cc, in processes of their own: what each class of calls is answered. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { constants, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import type { Call } from "./confined.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const run = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "confine-"));
const addon = path.join(folder, "calls.node");
const secret = path.join(folder, "secret.txt");
const { EACCES, EPERM, ENOSYS, EBUSY } = constants.errno;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const CLASSIC = process.arch === "x64";

test.before(() => {
  const include = path.join(path.dirname(path.dirname(process.execPath)), "include/node");
  const flags = ["-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", `-I${include}`];
  execFileSync("gcc", [...flags, path.join(root, "test/native/calls.c"), "-o", addon]);
  writeFileSync(secret, "secret");
});
test.after.always(() => rmSync(folder, { recursive: true }));

interface Outcome {
  /** 0, or what confine() said. */
  readonly confined: number;
  /** One for each call that returned. */
  readonly results: readonly number[];
  readonly done: boolean;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** Makes these calls in a confined process. */
async function make(calls: readonly Call[], more: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  const env = {
    ...process.env,
    CONFINED_CALLS: JSON.stringify(calls),
    CONFINED_ADDON: addon,
    CONFINED_FILE: secret,
    ...more,
  };
  // The process that ends by a signal leaves its child behind, in its group: so that goes with it.
  const child = spawn(process.execPath, [program("confined.js")], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let out = "";
  let stderr = "";
  child.stdout.on("data", (chunk) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  const [, signal] = await once(child, "close");
  try {
    process.kill(-(child.pid ?? 0), "SIGKILL");
  } catch {
    // Nothing is left of it.
  }
  const [confined = -1, ...results] = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const done = results.at(-1) === "done";
  return { confined, results: done ? results.slice(0, -1) : results, done, signal, stderr };
}

/** All of these calls return `expected`. */
async function allReturn(t: ExecutionContext, calls: readonly Call[], expected: number): Promise<void> {
  const { confined, results, done, signal, stderr } = await make(calls);
  t.is(confined, 0);
  t.deepEqual(
    calls.map((call, i) => [call.join(" "), results[i]]),
    calls.map((call) => [call.join(" "), expected]),
    `${signal} ${stderr}`,
  );
  t.true(done);
}

const PATHS: Call[] = [
  ["openat", AT_FDCWD, secret, 0],
  ["openat", AT_FDCWD, secret, 0o2000000 /* O_PATH | O_CLOEXEC */],
  ["openat", "@directory", "etc/passwd", 0],
  ["openat2", AT_FDCWD, secret, "", 24],
  ["unlinkat", AT_FDCWD, secret, 0],
  ["renameat2", AT_FDCWD, secret, AT_FDCWD, `${secret}.other`, 0],
  ["mkdirat", AT_FDCWD, `${secret}.d`, 0o777],
  ["linkat", AT_FDCWD, secret, AT_FDCWD, `${secret}.other`, 0],
  ["symlinkat", secret, AT_FDCWD, `${secret}.other`],
  ["mknodat", AT_FDCWD, `${secret}.p`, 0o010600, 0],
  ["fchmodat", AT_FDCWD, secret, 0o777],
  ["fchmodat2", AT_FDCWD, secret, 0o777, 0],
  ["fchownat", AT_FDCWD, secret, 0, 0, 0],
  ["truncate", secret, 0],
  ["utimensat", AT_FDCWD, secret, 0, 0],
  ["faccessat", AT_FDCWD, secret, 0],
  ["faccessat2", AT_FDCWD, secret, 0, 0],
  ["readlinkat", AT_FDCWD, "/proc/self/exe", "", 4096],
  ["statfs", "/", ""],
  ["chdir", "/"],
  ["fchdir", "@directory"],
  ["getdents64", "@directory", "", 4096],
  ["setxattr", secret, "user.x", "y", 1, 0],
  ["getxattr", secret, "user.x", "", 10],
  ["listxattr", secret, "", 10],
  ["name_to_handle_at", AT_FDCWD, secret, "", "", 0],
  ["inotify_add_watch", -1, secret, 0xfff],
  ["newfstatat", AT_FDCWD, secret, "", 0],
  ["newfstatat", AT_FDCWD, secret, "", AT_EMPTY_PATH],
  ["newfstatat", "@directory", "etc/passwd", "", AT_EMPTY_PATH],
  ["newfstatat", "@file", "", "", 0],
  ...(CLASSIC
    ? ([
        ["open", secret, 0],
        ["creat", secret, 0o600],
        ["unlink", secret],
        ["rename", secret, `${secret}.other`],
        ["mkdir", `${secret}.d`, 0o777],
        ["rmdir", folder],
        ["link", secret, `${secret}.other`],
        ["symlink", secret, `${secret}.other`],
        ["chmod", secret, 0o777],
        ["chown", secret, 0, 0],
        ["stat", secret, ""],
        ["lstat", secret, ""],
        ["access", secret, 0],
        ["readlink", "/proc/self/exe", "", 4096],
      ] satisfies Call[])
    : []),
  // Sockets of the file system, of the kernel's own protocols, and raw ones
  ["socket", 1, 1, 0],
  ["socket", 1, 2, 0],
  ["socket", 16, 3, 0],
  ["socket", 17, 3, 0],
  ["socket", 40, 1, 0],
  ["socket", 38, 5, 0],
  ["socket", 2, 3, 1],
  ["socket", 2, 1, 262],
  ["socketpair", 1, 2, 0, ""],
  ["socketpair", 2, 1, 0, ""],
  ["bind", "@socket", "\x01\x00/tmp/a-file-that-nobody-wants", 110],
];

test.serial("a path is EACCES, whoever takes one; so is a socket that is none of the internet's", async (t) => {
  await allReturn(t, PATHS, -EACCES);
  t.is(readFileSync(secret, "utf8"), "secret");
});

const SOL_TCP = 6;
const F_SETOWN = 8;
const F_SETSIG = 10;
const TIOCSTI = 0x5412;
const TUNSETIFF = 0x400454ca;
const SIOCSIFFLAGS = 0x8914;

test.serial(
  "what is somebody else's is EPERM: signals, limits, users, a terminal's input, interfaces, netfilter",
  async (t) => {
    const calls: Call[] = [
      ["kill", "@child", 0],
      ["kill", "@child", 18],
      ["kill", 1, 0],
      ["kill", -1, 0],
      ["kill", 0, 0],
      ["tgkill", "@child", "@child", 0],
      ["tkill", "@child", 0],
      ["rt_sigqueueinfo", "@child", 0, ""],
      ["rt_tgsigqueueinfo", "@child", "@child", 0, ""],
      ["pidfd_open", "@child", 0],
      ["pidfd_send_signal", "@file", 0, 0, 0],
      ["pidfd_getfd", "@file", 0, 0],
      ["fcntl", "@socket", F_SETOWN, "@child"],
      ["fcntl", "@socket", F_SETSIG, 9],
      ["prlimit64", "@child", 7, 0, ""],
      ["setpriority", 0, "@child", 19],
      ["setpriority", 2, 0, 19],
      ["sched_setaffinity", "@child", 8, ""],
      ["setuid", 0],
      ["setresuid", 0, 0, 0],
      ["setgid", 0],
      ["setgroups", 0, ""],
      ["setsid"],
      ["setpgid", 0, 0],
      ["capset", "", ""],
      ["fchmod", "@file", 0o777],
      ["fchown", "@file", 0, 0],
      ["prctl", 22 /* PR_SET_SECCOMP */, 1, 0, 0, 0],
      ["prctl", 38 /* PR_SET_NO_NEW_PRIVS */, 0, 0, 0, 0],
      ["prctl", 0x59616d61 /* PR_SET_PTRACER */, 1, 0, 0, 0],
      ["ioctl", 0, TIOCSTI, "x"],
      ["ioctl", "@file", TUNSETIFF, ""],
      ["ioctl", "@socket", SIOCSIFFLAGS, ""],
      ["ioctl", "@socket", 0x8902 /* SIOCSPGRP */, ""],
      ["setsockopt", "@socket", 0, 64 /* IPT_SO_SET_REPLACE */, "", 100],
      ["setsockopt", "@socket6", 41, 64 /* IP6T_SO_SET_REPLACE */, "", 100],
      ["setsockopt", "@socket", 1, 26 /* SO_ATTACH_FILTER */, "", 16],
      ["setsockopt", "@socket", SOL_TCP, 31 /* TCP_ULP */, "tls", 3],
      ["setsockopt", "@socket", SOL_TCP, 19 /* TCP_REPAIR */, "", 4],
      ["setsockopt", "@udp", 17, 100 /* UDP_ENCAP */, "", 4],
      ["setsockopt", "@socket", 0, 16 /* IP_IPSEC_POLICY */, "", 4],
      ["setsockopt", "@socket6", 41, 34 /* IPV6_IPSEC_POLICY */, "", 4],
      ["setsockopt", "@socket", 263 /* SOL_PACKET */, 1, "", 4],
      ["getsockopt", "@socket", 0, 64 /* IPT_SO_GET_INFO */, "", ""],
    ];
    await allReturn(t, calls, -EPERM);
  },
);

test.serial(
  "what no filter can look into, and what is not known, is ENOSYS, so that libraries do without",
  async (t) => {
    const calls: Call[] = [
      ["io_uring_setup", 8, ""],
      ["io_uring_enter", 0, 1, 0, 0, 0, 0],
      ["io_uring_register", 0, 0, 0, 0],
      ["clone3", "", 64],
      ["seccomp", 1, 0, ""],
      ["memfd_create", "x", 0],
      ["mq_open", "/x", 0o100, 0o600, 0],
      ["shmget", 0, 4096, 0o1600],
      ["landlock_create_ruleset", 0, 0, 1],
      ["sendfile", 1, "@file", 0, 1],
      ["vmsplice", 1, "", 0, 0],
      ["of_the_future"],
    ];
    await allReturn(t, calls, -ENOSYS);
  },
);

const KILLED: Call[] = [
  ["execve", "/bin/true", 0, 0],
  ["execveat", "@file", "", 0, 0, AT_EMPTY_PATH],
  ["clone", 17, 0, 0, 0, 0],
  ["clone", 0x10000000 | 17, 0, 0, 0, 0],
  ["clone", 0x10000 | 0x800 | 0x100 | 0x40000000, 0, 0, 0, 0],
  ...[
    ...[
      "ptrace",
      "process_vm_readv",
      "process_vm_writev",
      "kcmp",
      "mount",
      "umount2",
      "pivot_root",
      "chroot",
      "unshare",
    ],
    ...["setns", "open_by_handle_at", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"],
    ...["mount_setattr", "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "kexec_load"],
    ...[
      "init_module",
      "finit_module",
      "delete_module",
      "personality",
      "reboot",
      "swapon",
      "swapoff",
      "acct",
      "quotactl",
    ],
    ...["sethostname", "setdomainname", "settimeofday", "clock_settime", "adjtimex", "syslog", "vhangup"],
    ...(CLASSIC ? ["fork", "vfork", "iopl", "ioperm", "modify_ldt", "x32_read"] : []),
    // -1 is no valid value of any of their arguments.
  ].map((name): Call => [name, -1, -1, -1, -1, -1]),
];

test.serial("what no helper of a network ever does ends the process by SIGSYS", async (t) => {
  const outcomes: [string, Outcome][] = [];
  const left = [...KILLED];
  // Two at a time, each a process.
  const work = async () => {
    for (let call = left.shift(); call !== undefined; call = left.shift()) {
      outcomes.push([call.join(" "), await make([["getpid"], call])]);
    }
  };
  await Promise.all([work(), work()]);
  t.is(outcomes.length, KILLED.length);
  for (const [call, { confined, results, signal }] of outcomes) {
    t.is(confined, 0, call);
    t.is(results.length, 1, `${call}: getpid() has returned, and this has not`);
    t.is(signal, "SIGSYS", call);
  }
});

if (CLASSIC) {
  test.serial("a system call of another kind ends the process", async (t) => {
    const { results, signal } = await make([["int80"]]);
    t.deepEqual(results, []);
    t.true(signal === "SIGSYS" || signal === "SIGSEGV", `${signal}`); // the latter where the kernel has none
  });
}

test.serial("what a network's process needs goes on, by the same numbers", async (t) => {
  const { results, signal } = await make([
    ["kill", "@self", 0],
    ["tgkill", "@self", "@self", 0],
    ["prlimit64", 0, 7, 0, ""],
    ["setsockopt", "@socket", SOL_TCP, 1 /* TCP_NODELAY */, "\x01\x01\x01\x01", 4],
    ["setsockopt", "@socket", 1, 9 /* SO_KEEPALIVE */, "\x01\x01\x01\x01", 4],
    ["setsockopt", "@socket", 0, 2 /* IP_TTL */, "\x40", 1],
    ["setsockopt", "@socket6", 41, 67 /* IPV6_TCLASS */, "\x01", 4],
    ["newfstatat", "@file", "", "", AT_EMPTY_PATH],
    ["ioctl", "@socket", 0x541b /* FIONREAD */, ""],
    ["prctl", 15 /* PR_SET_NAME */, "name", 0, 0, 0],
  ]);
  t.is(signal, null);
  t.deepEqual(results.slice(0, 3), [0, 0, 0]);
  t.false(
    results.some((result) => [-EACCES, -ENOSYS].includes(result)),
    `${results}`,
  );
  t.is(results[7], 0, "fstat(), as some C libraries spell it");
  t.is(results[9], 0);
});

test.serial("a process with a ring, which no filter sees, is told that it cannot be confined", async (t) => {
  const plain = await make([["io_uring_setup", 8, "\0".repeat(200)]], { CONFINED_RING: "1" });
  t.is(plain.confined, -EBUSY);
  t.true(plain.done);
});

/** confined-node.ts, with an environment of its own. */
async function useNode(name: string, more: NodeJS.ProcessEnv = {}) {
  const file = path.join(folder, `socket-${name}`);
  const server = net.createServer((socket) => socket.end("reached")).listen(file);
  await once(server, "listening");
  const output = path.join(folder, `output-${name}`);
  const env = { ...process.env, ...more, CONFINED_FILE: secret, CONFINED_SOCKET: file, CONFINED_OUTPUT: output };
  const { stdout, stderr } = await run(process.execPath, [program("confined-node.js")], { env, timeout: 60_000 });
  server.close();
  return { results: JSON.parse(stdout), stderr, output: readFileSync(output, "utf8") };
}

const FROM_NODE = {
  read: "EACCES",
  "read in the pool": "EACCES",
  write: "EACCES",
  append: "EACCES",
  look: "EACCES",
  exists: false,
  list: "EACCES",
  unlink: "EACCES",
  rename: "EACCES",
  mkdir: "EACCES",
  chmod: "EACCES",
  import: "refused",
  "socket file": "EACCES",
  "signal to another": "EPERM",
  "signal to all": "EPERM",
  "signal to the group": "EPERM",
  "another user": "EPERM",
  "early thread": "EACCES",
  "late thread": "EACCES",
  tcp: "hello",
  udp: "ping",
  time: "slept",
  memory: "collected",
  "threads' end": 1,
  "a child's end": 7,
  "an open file": 7,
  "the kind of an open file": true,
  "a signal to itself": "came",
  interface: 1,
  "an engine": "made",
};

test.serial("Node itself, its pool and its threads can do no more than that, and go on working", async (t) => {
  const { results, stderr, output } = await useNode("ordinary");
  t.deepEqual(results, FROM_NODE);
  t.is(stderr, "");
  t.is(output, "written");
  t.is(readFileSync(secret, "utf8"), "secret");
});

test.serial("the same under the sanitizers", async (t) => {
  execFileSync(process.execPath, [path.join(root, "scripts/build.mjs"), "--sanitize"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const { results, stderr } = await useNode("sanitized", {
    LD_PRELOAD: execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim(),
    ASAN_OPTIONS: "detect_leaks=0:abort_on_error=0:exitcode=99",
    UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
    NETNS_ROOTLESS_NATIVE: path.join(root, "native/build-asan"),
  });
  t.false(/Sanitizer|runtime error/.test(stderr), stderr);
  t.deepEqual(results, FROM_NODE);
});

test.serial("spawning a program ends the process, and the program does not run", async (t) => {
  const mark = path.join(folder, "mark");
  const script = `import(${JSON.stringify(program("../../src/native/binding.js"))}).then(async (m) => {
    const { spawnSync } = await import("node:child_process");
    m.native().confine();
    spawnSync("touch", [${JSON.stringify(mark)}]);
  })`;
  const child = spawn(process.execPath, ["-e", script], { stdio: "ignore" });
  const [, signal] = await once(child, "exit");
  t.is(signal, "SIGSYS");
  t.throws(() => readFileSync(mark), { code: "ENOENT" });
});

test.serial("a SIGSYS that somebody sends ends it as ever, and an error is told with its stack", async (t) => {
  const begin = `import(${JSON.stringify(program("../../src/native/binding.js"))}).then((m) => { m.native().confine();`;
  const waiting = spawn(process.execPath, ["-e", `${begin} console.log("up"); setInterval(() => {}, 1000) })`]);
  await once(waiting.stdout, "data");
  waiting.kill("SIGSYS");
  t.is((await once(waiting, "exit"))[1], "SIGSYS");
  const failing = run(process.execPath, [
    "-e",
    `${begin} setImmediate(function fails() { throw new Error("the reason") }) })`,
  ]);
  const { stderr } = (await t.throwsAsync(failing)) as Error & { stderr: string };
  t.regex(stderr, /Error: the reason\n +at \S*fails/);
});
