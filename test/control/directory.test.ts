/** Where the servers of a user are found, and who is found there. */
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import test, { type ExecutionContext } from "ava";
import { connectServer, findSandbox, inventory } from "../../src/control/directory.js";
import { Listener, type Operation } from "../../src/control/listener.js";
import type { NetworkInfo, SandboxInfo } from "../../src/control/messages.js";
import { checkName, nearest } from "../../src/control/names.js";
import { inParallel } from "../../src/control/parallel.js";
import { tellSandboxes } from "../../src/control/parts.js";
import { type RuntimeDirectory, runtimeDirectory } from "../../src/control/runtime.js";
import { native } from "../../src/native/binding.js";

const USER = process.geteuid?.() ?? 0;

function place(t: ExecutionContext): { base: string; runtime: RuntimeDirectory } {
  const base = mkdtempSync("/tmp/netns-rootless-test-");
  t.teardown(() => rmSync(base, { recursive: true, force: true }));
  return { base, runtime: runtimeDirectory({ env: { XDG_RUNTIME_DIR: base }, user: USER }) };
}

function serve(t: ExecutionContext, file: string, names: readonly string[], info?: Operation): Listener {
  const sandbox = (name: string) => ({ name, ports: [], addresses: [] }) as unknown as SandboxInfo; // what is looked at
  const answer: Operation = (_, peer) => {
    tellSandboxes(peer, names.map(sandbox));
    return { name: "x", claims: [] } as unknown as NetworkInfo;
  };
  const listener = new Listener(new Map<string, Operation>([["info", info ?? answer]]));
  t.is(listener.listen(file), 0);
  t.teardown(() => listener.close());
  return listener;
}

test("the directory is made for its owner alone, and one that others may enter is closed to them", (t) => {
  const { base, runtime } = place(t);
  t.is(runtime.path, path.join(base, "netns-rootless"));
  t.is(lstatSync(runtime.path).mode & 0o777, 0o700);
  chmodSync(runtime.path, 0o755);
  runtimeDirectory({ env: { XDG_RUNTIME_DIR: base }, user: USER });
  t.is(lstatSync(runtime.path).mode & 0o777, 0o700);
});

test("somebody else's directory, a file or a link in its place are refused with the fix", (t) => {
  const { base } = place(t);
  const link = path.join(base, "link");
  mkdirSync(link);
  symlinkSync("/tmp", path.join(link, "netns-rootless"));
  const file = path.join(base, "file");
  mkdirSync(file);
  writeFileSync(path.join(file, "netns-rootless"), "");
  for (const each of [link, file]) {
    const error = t.throws(() => runtimeDirectory({ env: { XDG_RUNTIME_DIR: each }, user: USER }));
    t.regex(error?.message ?? "", /it is not a directory: remove it, or set XDG_RUNTIME_DIR/);
  }
});

test("where XDG_RUNTIME_DIR is not set, not absolute or not ours, another place is taken", (t) => {
  const other = 4_000_000_000; // nobody is that, and nothing is theirs
  for (const env of [{}, { XDG_RUNTIME_DIR: "here" }, { XDG_RUNTIME_DIR: "/tmp" }, { XDG_RUNTIME_DIR: "/no/such" }]) {
    // It is made by us, so that its owner is not the one that was asked for: it is refused, and the message says which it is.
    const error = t.throws(() => runtimeDirectory({ env, user: other }));
    t.regex(error?.message ?? "", /^\/tmp\/netns-rootless-4000000000: .* belongs to somebody else/);
  }
  rmSync(`/tmp/netns-rootless-${other}`, { recursive: true });
});

test("a name whose socket's path no kernel takes is told", (t) => {
  const { runtime } = place(t);
  t.throws(() => runtime.socket("sandbox", "x".repeat(90)), { message: /longer than 107 bytes/ });
});

test("a dead socket is taken away by who looks, one that listens is not", async (t) => {
  const { runtime } = place(t);
  const dead = runtime.socket("network", "dead");
  const listening = native().listenChannel(dead, () => {});
  if (typeof listening === "number") throw new Error(`${listening}`);
  listening.close();
  t.true(existsSync(dead));
  serve(t, runtime.socket("network", "alive"), ["red"]);
  const { found, silent } = await inventory(runtime);
  t.deepEqual(
    found.map(({ name }) => name),
    ["alive"],
  );
  t.deepEqual(silent, []);
  t.false(existsSync(dead));
  t.is(await connectServer(runtime, "network", "never"), null);
});

test("who is there and says nothing, or nonsense, is silent and not gone", async (t) => {
  const { runtime } = place(t);
  serve(t, runtime.socket("network", "mute"), [], (_, peer) => peer.gone);
  serve(t, runtime.socket("network", "failing"), [], () => {
    throw new TypeError("a bug");
  });
  serve(t, runtime.socket("sandbox", "web"), ["web"]);
  const { found, silent } = await inventory(runtime);
  t.deepEqual(
    found.map(({ name }) => name),
    ["web"],
  );
  t.deepEqual(
    silent.map(({ name }) => name),
    ["failing", "mute"],
  );
});

test("what cannot be connected to for another reason is an error, and never taken for gone", async (t) => {
  const { runtime } = place(t);
  const file = runtime.socket("network", "stream");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(file, resolve));
  t.teardown(() => server.close());
  await t.throwsAsync(inventory(runtime), { code: "HOST_LACKS", message: /cannot connect to .*EPROTOTYPE/ });
  t.true(existsSync(file));
});

test("an unknown name is told with the one that is like it", async (t) => {
  const { runtime } = place(t);
  await t.throwsAsync(findSandbox(runtime, "web"), { code: "NOT_FOUND", message: /there is no sandbox now/ });
  serve(t, runtime.socket("network", "demo"), ["web-server", "blue"]);
  await t.throwsAsync(findSandbox(runtime, "web-sever"), { message: /did you mean web-server\?/ });
  await t.throwsAsync(findSandbox(runtime, "zzzzz"), { message: /see netns-rootless ls$/ });
  const { sandbox, client } = await findSandbox(runtime, "blue");
  client.close();
  t.is(sandbox.name, "blue");
});

test("the lock lets one in at a time, and is free again after a failure", async (t) => {
  const { runtime } = place(t);
  let inside = 0;
  let most = 0;
  const enter = () =>
    runtime.locked(async () => {
      most = Math.max(most, ++inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside--;
    });
  await Promise.all(Array.from({ length: 10 }, enter));
  t.is(most, 1);
  await t.throwsAsync(
    runtime.locked(() => Promise.reject(new Error("no"))),
    { message: "no" },
  );
  await enter();
});

test("names are labels of a domain name", (t) => {
  for (const name of ["a", "web-1", "0", "x".repeat(63)]) t.is(checkName("create", name), name);
  for (const name of ["", "Web", "a_b", "-a", "a-", "a.b", "../x", "ä", "x".repeat(64), "a\n", "localhost", "host"]) {
    t.throws(() => checkName("create", name), { code: "USAGE" }, JSON.stringify(name));
  }
  t.is(nearest("blu", ["red", "blue"]), "blue");
  t.is(nearest("green", ["red", "blue"]), null);
});

test("no more than so many at a time, all of them once", async (t) => {
  let under = 0;
  let most = 0;
  const done: number[] = [];
  await inParallel(
    Array.from({ length: 100 }, (_, i) => i),
    7,
    async (item) => {
      most = Math.max(most, ++under);
      await new Promise((resolve) => setImmediate(resolve));
      under--;
      done.push(item);
    },
  );
  t.is(most, 7);
  t.is(new Set(done).size, 100);
  await inParallel([], 7, () => Promise.reject(new Error("nobody")));
  await t.throwsAsync(
    inParallel([1], 7, () => Promise.reject(new Error("no"))),
    { message: "no" },
  );
});
