import test from "ava";
import { parseOptions } from "../../bench/options.js";

const KNOWN = {
  rows: ["tcp-out", "tcp-in", "tcp-in-32"],
  quickRows: ["tcp-out", "tcp-in"],
  tools: ["netns-rootless", "pasta"],
  mtus: [1500, 65520],
};

test("without options everything is measured three times, as installed and with the same congestion control", (t) => {
  const options = parseOptions([], KNOWN);
  t.deepEqual(options?.rows, KNOWN.rows);
  t.deepEqual(options?.tools, KNOWN.tools);
  t.deepEqual(options?.mtus, KNOWN.mtus);
  t.deepEqual(options?.variants, ["same", "installed"]);
  t.is(options?.rounds, 3);
  t.is(options?.seconds, 1);
  t.true((options?.limitMs ?? Infinity) < 900_000);
  t.false(options?.writeDocs);
  t.false(options?.containers);
});

test("--quick keeps to three minutes, and to the main rows unless others are named", (t) => {
  const options = parseOptions(["--quick"], KNOWN);
  t.deepEqual(options?.rows, KNOWN.quickRows);
  t.deepEqual(parseOptions(["--quick", "--rows", "tcp-in-32"], KNOWN)?.rows, ["tcp-in-32"]);
  t.true((options?.limitMs ?? Infinity) < 180_000);
});

test("lists choose, in the order of the table", (t) => {
  const options = parseOptions(["--tools", "pasta", "--rows=tcp-in,tcp-out", "--mtu", "65520"], KNOWN);
  t.deepEqual([options?.tools, options?.rows, options?.mtus], [["pasta"], ["tcp-out", "tcp-in"], [65520]]);
});

test("what is not understood is refused in one line that says what was expected", (t) => {
  const refused: [string[], RegExp][] = [
    [["--tools", "vpnkit"], /^--tools vpnkit: expected one or more of netns-rootless,pasta$/],
    [["--mtu", "9000"], /^--mtu 9000: expected one or more of 1500,65520$/],
    [["--rounds", "0"], /^--rounds 0: expected a whole number from 1 to 99$/],
    [["--rounds", "many"], /^--rounds many: expected/],
    [["--seconds", "0.5"], /^--seconds 0.5: expected a whole number from 1 to 60$/],
    [["--shards", "1"], /^--shards 1: expected a whole number from 2 to 16/],
    [["--congestion", "x; reboot"], /^--congestion x; reboot: expected a name/],
    [["--frobnicate"], /frobnicate/],
  ];
  for (const [args, message] of refused) t.throws(() => parseOptions(args, KNOWN), { message });
});

test("--help is no run", (t) => {
  t.is(parseOptions(["--help"], KNOWN), null);
});
