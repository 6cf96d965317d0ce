/** The program as it is installed: scripts/bin, the bundle and its code cache. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import test from "ava";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const BUNDLE = path.join(ROOT, "dist/bundle/netns-rootless.cjs");
const run = promisify(execFile);

/** A symbolic link to the program, as npm makes one. */
function installed(teardown: (undo: () => void) => void): string {
  const directory = mkdtempSync(path.join(tmpdir(), "netns-rootless-bin-"));
  teardown(() => rmSync(directory, { recursive: true, force: true }));
  const link = path.join(directory, "netns-rootless");
  symlinkSync(path.join(ROOT, "scripts/bin"), link);
  return link;
}

test("npm's link to it starts the version of the package", async (t) => {
  const { version } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8"));
  const { stdout, stderr } = await run(installed(t.teardown), ["--version"]);
  t.is(stdout, `${version}\n`);
  t.is(stderr, "");
});

test("a caller that ignores the end of its children hears how the command ended all the same", async (t) => {
  const launcher = path.join(ROOT, "native/build/Release/launcher");
  const words = [launcher, "front", process.execPath, path.join(ROOT, "dist/src/cli/start.cjs"), "run", "--"];
  const script = `import os, signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(${JSON.stringify(launcher)}, ${JSON.stringify([...words, "sh", "-c", "exit 3"])})`;
  const error = await t.throwsAsync(run("python3", ["-c", script], { timeout: 20_000 }));
  t.like(error, { code: 3 });
});

test("a wrong option ends it with 2 and one line", async (t) => {
  const error = await t.throwsAsync(run(installed(t.teardown), ["run", "--mtu", "9", "true"]));
  t.like(error, { code: 2, stdout: "" });
  t.regex(String(error && "stderr" in error && error.stderr), /^netns-rootless: --mtu 9: .*\n$/);
});

test("a reader that went away does not end it", async (t) => {
  const script = '{ "$0" --help; echo "ended with $?" >&2; } | true';
  const { stderr } = await run("sh", ["-c", script, installed(t.teardown)]);
  t.is(stderr, "ended with 0\n");
});

test("while it starts, V8 looks through its heap for nothing: the slab is no load on it", async (t) => {
  const program = installed(t.teardown);
  const node = path.join(path.dirname(program), "node");
  writeFileSync(node, `#!/bin/sh\nexec ${process.execPath} --trace-gc --trace-incremental-marking "$@"\n`, {
    mode: 0o755,
  });
  const { stdout } = await run(program, ["run", "--", "true"], { env: { ...process.env, NODE: node } });
  t.notRegex(stdout, /Mark-Compact|IncrementalMarking/);
});

test("the command has the certificates for Node, our own Node does not read them", async (t) => {
  const print = 'echo "$NODE_EXTRA_CA_CERTS"; env | grep -c EXTRA_CA_CERTS';
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: "/nowhere/certificates.pem" };
  const { stdout, stderr } = await run(installed(t.teardown), ["run", "--", "sh", "-c", print], { env });
  t.is(stdout, "/nowhere/certificates.pem\n1\n");
  t.is(stderr, "", "Node warns of a file that is not there");
});

test("the command has the caller's number of heaps, and no variable of ours", async (t) => {
  const print = 'echo "$MALLOC_ARENA_MAX"; env | grep -c "NETNS_ROOTLESS\\|MALLOC"';
  const { MALLOC_ARENA_MAX: _, ...env } = process.env;
  const program = installed(t.teardown);
  const ask = async (more: NodeJS.ProcessEnv) => {
    // grep finds nothing in the first, and says so by its status.
    const { stdout } = await run(program, ["run", "--", "sh", "-c", `${print}; true`], { env: { ...env, ...more } });
    return stdout;
  };
  t.is(await ask({}), "\n0\n");
  t.is(await ask({ MALLOC_ARENA_MAX: "3" }), "3\n1\n");
});

test("our own Node opens no io_uring, whatever the caller wishes; the command has that wish", async (t) => {
  const program = installed(t.teardown);
  const { UV_USE_IO_URING: _, ...env } = process.env;
  const ask = (more: NodeJS.ProcessEnv) =>
    run(program, ["run", "-v", "--", "sh", "-c", 'echo "$UV_USE_IO_URING"'], { env: { ...env, ...more } });
  const plain = await ask({});
  const wished = await ask({ UV_USE_IO_URING: "1" });
  t.is(plain.stdout, "\n");
  t.is(wished.stdout, "1\n");
  t.notRegex(plain.stderr + wished.stderr, /not confined/);
});

test("the launcher that was forked before Node is the one that runs the command, with the caller's limits", async (t) => {
  const script = 'exec 2>&1; tr "\\0" " " </proc/1/cmdline; echo; ulimit -Sn; ls /proc/self/fd | tr "\\n" " "';
  const limited = ["-c", 'ulimit -Sn 64; exec "$0" run -- sh -c "$1"', installed(t.teardown), script];
  const { stdout } = await run("sh", limited);
  const [init = "", ...rest] = stdout.split("\n");
  t.regex(init, /launcher front \S+ \S+start\.cjs run -- sh -c/);
  t.deepEqual(rest, ["64", "0 1 2 3 "]);
});

test("it starts with a standard descriptor closed, too", async (t) => {
  const { stdout } = await run("sh", ["-c", '"$0" run -- echo up <&-', installed(t.teardown)]);
  t.is(stdout, "up\n");
});

test("V8 takes the code cache that the build made", (t) => {
  const ask = `
    const { readFileSync } = require("node:fs");
    const [filename] = process.argv.slice(1);
    const cachedData = readFileSync(filename + ".cache");
    const script = new (require("node:vm").Script)(readFileSync(filename, "latin1"), { filename, cachedData });
    console.log(script.cachedDataRejected);`;
  const { NODE_OPTIONS: _, ...env } = process.env;
  t.is(execFileSync(process.execPath, ["-e", ask, BUNDLE], { env, encoding: "utf8" }), "false\n");
});

test("the bundle is ASCII, as start.cts reads it", (t) => {
  t.true(readFileSync(BUNDLE).every((byte) => byte < 0x80));
});
