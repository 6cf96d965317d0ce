/**
 * `npm test`: installs (on a fresh clone), builds, lints, runs every test with ava, and ends with one line `N passed, N failed`.
 * The integration tests run a second time with `--shards 2`.
 * Arguments are handed to ava: `npm test -- dist/test/policy/*.test.js`. Uses nothing but Node itself until `npm ci` has run.
 */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
process.chdir(root);

/** Programs that the tests call, and Debian's packages that have them. */
const TOOLS = {
  curl: "curl",
  dig: "dnsutils",
  dnsmasq: "dnsmasq-base",
  ethtool: "ethtool",
  expect: "expect",
  gcc: "build-essential",
  git: "git",
  ip: "iproute2",
  iperf3: "iperf3",
  make: "build-essential",
  nc: "netcat-openbsd",
  nginx: "nginx-light",
  nsenter: "util-linux",
  ping: "iputils-ping",
  ps: "procps",
  python3: "python3",
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

/** What has nothing to do with the number of shards, or chooses it itself. */
const ANY_SHARDS = ["bed.test.js", "doctor.test.js", "shards.test.js", "start.test.js"];

const chosen = process.argv.slice(2);
await runAva("ava", chosen);
if (chosen.length === 0) {
  const files = readdirSync("dist/test/integration").filter(
    (name) => name.endsWith(".test.js") && !ANY_SHARDS.includes(name),
  );
  await runAva(
    "ava, every network in two shards",
    files.map((name) => `dist/test/integration/${name}`),
    { NETNS_ROOTLESS_TEST_SHARDS: "2" },
  );
}
finish(passed, failed);
