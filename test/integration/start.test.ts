/**
 * The first minute of somebody new: a fresh clone and the README's first command, nothing else. It runs on the real host,
 * not in a bed, since `npm ci` asks the registry (or npm's cache).
 */
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import test from "ava";
import { eventually, ROOT } from "../bed/bed.js";

const run = promisify(execFile);

/** A TCP port of the loopback that nobody uses now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

test("on a fresh clone, the README's first command alone leads to an answer from inside", async (t) => {
  t.timeout(180_000);
  const readme = await readFile(`${ROOT}/README.md`, "utf8");
  const [, command = ""] = readme.match(/^\s*(?:\$ )?(scripts\/netns-rootless run --publish 6000:8080 .*)$/m) ?? [];
  t.is(command, "scripts/netns-rootless run --publish 6000:8080 -- python3 -m http.server 8080");

  const directory = await mkdtemp(path.join(tmpdir(), "netns-rootless-clone-"));
  t.teardown(() => rm(directory, { recursive: true, force: true }));
  const clone = path.join(directory, "clone");
  // The clone may belong to another user than the checkout.
  const env = { ...process.env, GIT_CONFIG_COUNT: "1", GIT_CONFIG_KEY_0: "safe.directory", GIT_CONFIG_VALUE_0: "*" };
  await run("git", ["clone", "--quiet", "--no-local", ROOT, clone], { env });

  // Another host port than the README's, which somebody may use on this machine.
  const port = await freePort();
  const words = command.replace("6000:", `127.0.0.1:${port}:`).split(" ");
  const program = spawn(words[0] ?? "", words.slice(1), {
    cwd: clone,
    env: { ...process.env, npm_config_prefer_offline: "true", PYTHONUNBUFFERED: "1" },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  let printed = "";
  for (const stream of [program.stdout, program.stderr])
    stream.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  const ended = new Promise<void>((resolve) => program.once("close", () => resolve()));
  t.teardown(async () => {
    if (program.exitCode === null && program.signalCode === null && program.pid !== undefined)
      process.kill(-program.pid, "SIGKILL");
    await ended;
  });
  await eventually(170_000, "no server inside", () => {
    if (program.exitCode !== null) throw new Error(`ended with ${program.exitCode}:\n${printed}`);
    return /Serving HTTP/.test(printed);
  });
  const { stdout } = await run("curl", ["-sS", "--max-time", "5", `http://127.0.0.1:${port}/package.json`]);
  t.is(stdout, await readFile(`${clone}/package.json`, "utf8"));
  program.kill("SIGTERM");
  await ended;
  t.is(program.exitCode, 143);

  // The second start installs and builds nothing.
  const start = Date.now();
  const { stdout: version, stderr } = await run(path.join(clone, "scripts/netns-rootless"), ["--version"], {
    cwd: tmpdir(),
  });
  t.regex(version, /^\d+\.\d+\.\d+\n$/);
  t.is(stderr, "");
  t.true(Date.now() - start < 2000);
});
