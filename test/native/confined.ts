/**
 * A program for confine.test.ts: confines itself and makes system calls, CONFINED_CALLS in JSON (`[name, argument...]` each); prints a
 * line of JSON for each as it has returned: the result or -errno. Arguments in words: what is there since before, see `before`.
 * Run with the ordinary build and with ASan and UBSan.
 */
import { spawn } from "node:child_process";
import { openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { native } from "../../src/native/binding.js";

export type Argument = number | string;
export type Call = readonly [name: string, ...given: Argument[]];

interface Calls {
  call(name: string, ...given: Argument[]): number;
  call32?(): number;
}

const { CONFINED_CALLS = "[]", CONFINED_ADDON = "", CONFINED_FILE = "" } = process.env;
const { call, call32 } = createRequire(import.meta.url)(CONFINED_ADDON) as Calls;
const child = spawn("sleep", ["1000"], { stdio: "ignore" });
const before: Record<string, number> = {
  "@file": openSync(CONFINED_FILE, "r"),
  "@directory": openSync("/", "r"),
  "@socket": call("socket", 2, 1, 0),
  "@socket6": call("socket", 10, 1, 0),
  "@udp": call("socket", 2, 2, 0),
  "@self": process.pid,
  "@child": child.pid ?? 0,
};
if (process.env.CONFINED_RING) call("io_uring_setup", 8, "\0".repeat(200));
const result = native().confine();
writeSync(1, `${JSON.stringify(result)}\n`);
for (const [name, ...given] of JSON.parse(CONFINED_CALLS) as Call[]) {
  const value = name === "int80" ? call32?.() : call(name, ...given.map((each) => before[each] ?? each));
  writeSync(1, `${JSON.stringify(value)}\n`);
}
writeSync(1, '"done"\n');
if (result !== 0) child.kill();
process.exit(0);
