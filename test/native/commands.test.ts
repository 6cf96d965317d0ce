import { execFile, execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test from "ava";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const program = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const run = promisify(execFile);

/** The environment in which Node loads the build with sanitizers. */
function sanitized(): NodeJS.ProcessEnv {
  const build = existsSync(path.join(root, "scripts/build.mjs")) ? path.join(root, "scripts/build.mjs") : null;
  if (build) execFileSync(process.execPath, [build, "--sanitize"], { stdio: ["ignore", "ignore", "inherit"] });
  const library = execFileSync("gcc", ["-print-file-name=libasan.so"], { encoding: "utf8" }).trim();
  return {
    ...process.env,
    LD_PRELOAD: library,
    ASAN_OPTIONS: "detect_leaks=0:abort_on_error=0:exitcode=99",
    UBSAN_OPTIONS: "print_stacktrace=1:halt_on_error=1",
    NETNS_ROOTLESS_NATIVE: path.join(root, "native/build-asan"),
  };
}

function refusals(stdout: string): { name: string; message: string }[] {
  return stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { name: string; message: string });
}

test("every bad command and argument is refused, by the ordinary build", async (t) => {
  const { stdout } = await run(process.execPath, [program("bad-commands.js")], { timeout: 60_000 });
  const all = refusals(stdout);
  t.true(all.length > 150, `${all.length} cases`);
  t.deepEqual(
    all.filter(({ message }) => message === ""),
    [],
  );
});

test("and by the build with sanitizers, which finds nothing to say", async (t) => {
  const env = sanitized();
  const { stdout, stderr } = await run(process.execPath, [program("bad-commands.js")], { env, timeout: 120_000 });
  t.false(/Sanitizer|runtime error/.test(stderr), stderr);
  t.deepEqual(
    refusals(stdout).filter(({ message }) => message === ""),
    [],
  );
});

test("traffic of every kind passes under the sanitizers", async (t) => {
  const env = sanitized();
  const { stderr } = await run(process.execPath, [program("traffic.js")], { env, timeout: 120_000 });
  t.false(/Sanitizer|runtime error/.test(stderr), stderr);
});

test("a missing addon is one line that says what to do", async (t) => {
  const empty = mkdtempSync(path.join(os.tmpdir(), "netns-rootless-"));
  const script = `import(${JSON.stringify(program("../../src/native/binding.js"))}).then((m) => m.createEngine()).catch((e) => console.log(e.code + " " + e.message))`;
  const env = { ...process.env, NETNS_ROOTLESS_NATIVE: empty };
  const { stdout } = await run(process.execPath, ["-e", script], { env });
  rmSync(empty, { recursive: true });
  t.regex(stdout, /^NATIVE cannot load the native part \(.*\): build it with `npm ci`.*\n$/);
});
