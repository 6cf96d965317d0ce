/**
 * `npm test`: installs (on a fresh clone), builds, lints, runs every test with ava, and ends with one line `N passed, N failed`.
 * The integration tests run a second time with `--shards 2`, and most of those with the offloads of every sandbox off and all that
 * enters and leaves it captured; then tshark says whether anything of it is wrong. Arguments are handed to ava:
 * `npm test -- dist/test/policy/*.test.js`; `npm test -- --captured` is the captured run alone. Uses nothing but Node itself until
 * `npm ci` has run.
 */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { judge } from "./captures.mjs";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
process.chdir(root);

/** Programs that the tests call, and Debian's packages that have them. */
const TOOLS = {
  buildah: "buildah",
  busybox: "busybox-static",
  curl: "curl",
  dig: "dnsutils",
  dnsmasq: "dnsmasq-base",
  dumpcap: "wireshark-common",
  ethtool: "ethtool",
  expect: "expect",
  gcc: "build-essential",
  git: "git",
  hostname: "hostname",
  ip: "iproute2",
  iperf3: "iperf3",
  make: "build-essential",
  mergecap: "wireshark-common",
  nc: "netcat-openbsd",
  nginx: "nginx-light",
  nsenter: "util-linux",
  ping: "iputils-ping",
  podman: "podman",
  ps: "procps",
  python3: "python3",
  rootlessctl: "rootlesskit",
  rootlesskit: "rootlesskit",
  runc: "runc",
  socat: "socat",
  ss: "iproute2",
  tcpdump: "tcpdump",
  tshark: "tshark",
  unshare: "util-linux",
};

/** Where a program is looked for: PATH, and the places for administrators that an ordinary user's PATH may lack. */
const places = [...new Set([...(process.env.PATH ?? "").split(":"), "/usr/local/sbin", "/usr/sbin", "/sbin"])];

function have(program) {
  return places.some((place) => {
    try {
      accessSync(path.join(place, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function finish(passed, failed) {
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(passed > 0 && failed === 0 ? 0 : 1);
}

function succeeds(name, command, ...args) {
  console.log(`# ${name}`);
  const { status, error } = spawnSync(command, args, { stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0) return true;
  console.log(`# ${name} failed${error ? `: ${error.message}` : ""}`);
  return false;
}

const missing = Object.keys(TOOLS).filter((program) => !have(program));
if (missing.length > 0) {
  const packages = [...new Set(missing.map((program) => TOOLS[program]))].join(" ");
  console.log(`# the tests need ${missing.join(", ")}, not found on PATH: apt-get install ${packages}`);
  finish(0, 1);
}
process.env.PATH = places.join(":");

const npmCi = [
  "ci",
  "--ignore-scripts",
  "--include=dev",
  "--prefer-offline",
  "--no-audit",
  "--no-fund",
  "--loglevel=error",
];
if (!existsSync("node_modules/.package-lock.json") && !succeeds("npm ci", "npm", ...npmCi)) finish(0, 1);
if (!succeeds("build", process.execPath, "scripts/build.mjs")) finish(0, 1);

let passed = 0;
let failed = 0;
// Does not keep the tests from running, but counts as one of them.
if (!succeeds("biome check", "node_modules/.bin/biome", "check", "--max-diagnostics=100", ".")) failed++;

/** Runs ava, and adds what it found to the count. */
async function runAva(title, args, env = {}) {
  console.log(`# ${title}`);
  const before = failed;
  const ava = spawn(process.execPath, ["node_modules/ava/entrypoints/cli.mjs", "--tap", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...env },
  });
  // Every test is one line `ok N - title` or `not ok N - title`; what crashed outside of a test is a `not ok` too.
  for await (const line of createInterface({ input: ava.stdout })) {
    console.log(line);
    if (/^not ok /.test(line)) failed++;
    else if (/^ok .*# (SKIP|TODO)\b/.test(line)) failed++;
    else if (/^ok /.test(line)) passed++;
  }
  const status = await new Promise((resolve) => {
    if (ava.exitCode !== null || ava.signalCode !== null) resolve(ava.exitCode);
    else ava.once("exit", resolve);
  });
  // ava found a fault that it has no line for (no test files, a timeout).
  if (status !== 0 && failed === before) failed++;
}

const compiled = (name) => `dist/test/integration/${name}.test.js`;
const SHARDED = { NETNS_ROOTLESS_TEST_SHARDS: "2" };

async function runCaptured() {
  const directory = mkdtempSync(path.join(root, "dist/captures-"));
  const args = [...[...TOO_MUCH, ...LOOKS].flatMap((title) => ["--match", `!${title}`]), ...CAPTURED.map(compiled)];
  const before = failed;
  await runAva("ava, in two shards, every sandbox captured and without offloads", args, {
    ...SHARDED,
    NETNS_ROOTLESS_TEST_CAPTURE: directory,
  });
  const isRight = await judge(directory).catch((error) => console.log(`# ${error.message}`));
  if (isRight) passed++;
  else failed++;
  if (failed === before) rmSync(directory, { recursive: true });
  else console.log(`# the captures are in ${directory}`);
}

/** What the captured run leaves out, in two shards. */
async function runSharded() {
  const names = readdirSync("dist/test/integration")
    .filter((name) => name.endsWith(".test.js"))
    .map((name) => name.slice(0, -".test.js".length))
    .filter((name) => !ANY_SHARDS.includes(name) && !CAPTURED.includes(name));
  await runAva("ava, every network in two shards", names.map(compiled), SHARDED);
  const much = TOO_MUCH.flatMap((title) => ["--match", title]);
  await runAva("ava, in two shards, what is too much for a capture", [...much, ...CAPTURED.map(compiled)], SHARDED);
}

/** What has nothing to do with the number of shards, or chooses it itself, and is not captured either. */
const ANY_SHARDS = ["bed", "doctor", "examples", "pcap", "segmentation", "servers", "shards", "start", "tap"];

/**
 * Every way of bytes in and out of a sandbox. What is left out: what looks at processes, memory, files or interfaces, and what sends what is
 * malformed.
 */
const CAPTURED = [
  "attach",
  "autoconfiguration",
  "dhcp",
  "dns",
  "families",
  "isolation",
  "joining",
  "listening",
  "many",
  "members",
  "multicast",
  "names",
  "networks",
  "outbound",
  "path",
  "publish",
  "reach",
  "resolvers",
  "slirp4netns/buildah",
  "slirp4netns/podman",
  "slirp4netns/rootlesskit",
  "tcp",
  "udp",
  "uplink",
  "vxlan",
  "watching",
];
/** Of those, what says no more in a capture for being much: streams of hundreds of megabytes. */
const TOO_MUCH = ["*1 GB*", "*100 MB each way*", "*stops for 5 s*", "*iperf3*", "*carries everything all the same*"];
/**
 * Of those, what looks at the interface or at the command, which are not the test's own in a capture, and what sends what is malformed (its own
 * frames; what the kernel inside quotes of datagrams of its loopback, whose checksums are open).
 */
const LOOKS = [
  "*create, ls, exec, inspect and rm*",
  "*exec: exit codes*",
  "*a detached server: published*",
  "*a whole network in a file*",
  "*raw frames with any destination*",
  "*routes that root of the sandbox makes*",
];

const chosen = process.argv.slice(2);
if (chosen[0] === "--captured") {
  await runCaptured();
  finish(passed, failed);
}
await runAva("ava", chosen);
if (chosen.length === 0) {
  await runSharded();
  await runCaptured();
}
finish(passed, failed);
