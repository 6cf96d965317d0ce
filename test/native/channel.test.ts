/**
 * Channels and listeners (native/engine/channel.cc, listener.cc), a lock and execve (execute.cc), with the ordinary build and with
 * sanitizers. Python is the other side wherever there is one.
 */
import { execFile, execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test from "ava";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const program = fileURLToPath(new URL("channels.js", import.meta.url));
const run = promisify(execFile);

/** What the program in channels.ts checks, in its order. */
const SCENES = [
  "packets of up to 64 KiB pass with descriptors, which stay the sender's",
  "a longer packet is refused, and one that comes ends the channel without a descriptor left",
  "a peer that does not read is told to the sender, and when it reads again",
  "a listener's file is 0600 in any umask, and tells who connected",
  "a path that is taken, stale, missing or too long is told by its errno",
  "a full backlog is told to who connects",
  "without a descriptor left accepting pauses, and goes on",
  "a lock is held by one",
  "wrong arguments are refused",
  "all descriptors are closed at the end",
  "execute: a program that is not there leaves all as it was",
  "execute: the program gets arguments, environment, three descriptors and no signal of ours",
];

async function scenes(env: NodeJS.ProcessEnv): Promise<{ lines: string[]; stderr: string }> {
  const { stdout, stderr } = await run(process.execPath, [program], { env, timeout: 120_000 });
  return { lines: stdout.trim().split("\n"), stderr };
}

test("channels, listeners, a lock and execve do what they say", async (t) => {
  const { lines } = await scenes(process.env);
  t.deepEqual(lines, SCENES);
});

test("and under the sanitizers, which find nothing to say", async (t) => {
  execFileSync(process.execPath, [path.join(root, "scripts/build.mjs"), "--sanitize"], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  const library = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
  const native = path.join(root, "native/build-asan");
  t.true(existsSync(path.join(native, "engine.node")));
  const { lines, stderr } = await scenes({
    ...process.env,
    LD_PRELOAD: library,
    ASAN_OPTIONS: "detect_leaks=0:abort_on_error=0:exitcode=99",
    UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
    NETNS_ROOTLESS_NATIVE: native,
  });
  t.false(/Sanitizer|runtime error/.test(stderr), stderr);
  t.deepEqual(lines, SCENES);
});
