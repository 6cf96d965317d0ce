import { closeSync, openSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "ava";
import { native } from "../../src/native/binding.js";

/** Starts a shell with a file as its descriptor 3, and gives back its end. */
function shell(
  script: string,
  env: readonly string[] = [],
  file = path.join(tmpdir(), `system-${process.pid}`),
): number {
  const fd = openSync(file, "w");
  try {
    return native().reap(native().spawn("/bin/sh", ["sh", "-c", script], env, fd));
  } finally {
    closeSync(fd);
  }
}

test("a child has its arguments, its environment and its descriptor 3, and its exit code is told", (t) => {
  const file = path.join(tmpdir(), `system-child-${process.pid}`);
  t.is(shell('echo "$NAME" >&3; exit 7', ["NAME=a value"], file), 7);
  t.is(readFileSync(file, "utf8"), "a value\n");
});

test("the signal that ended a child is told", (t) => {
  t.is(shell("kill -9 $$"), -9);
});

test("what cannot be started is an error with a code", (t) => {
  t.throws(() => native().spawn("/nowhere/sh", ["sh"], [], 3), { code: "ENOENT" });
  t.throws(() => native().spawn("/bin/sh", ["sh", "a\0b"], [], 3), { code: "EINVAL" });
  t.throws(() => native().spawn("/bin/sh", ["sh"], ["A=\0"], 3), { code: "EINVAL" });
  t.throws(() => native().spawn("/bin/sh", ["sh"], [], 2), { code: "EINVAL" });
  t.throws(() => native().spawn("/bin/sh", ["sh", "x".repeat(1 << 20)], [], 3), { code: "E2BIG" });
});

test("random bytes fill all of what is given, and nothing else", (t) => {
  const all = new Uint8Array(4096);
  native().fillRandom(all.subarray(1000, 3000));
  t.true(all.subarray(0, 1000).every((byte) => byte === 0));
  t.true(all.subarray(3000).every((byte) => byte === 0));
  t.true(new Set(all.subarray(1000, 3000)).size > 200);
  // @ts-expect-error: a caller without types
  t.throws(() => native().fillRandom("text"), { instanceOf: TypeError });
});
