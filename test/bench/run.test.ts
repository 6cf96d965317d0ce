/** The run: which rows meet which tools and setups, and what becomes of failures. Tools and rows are made up here. */
import test from "ava";
import { Bed } from "../../bench/bed.js";
import { type BenchOptions, parseOptions } from "../../bench/options.js";
import type { Row } from "../../bench/rows/row.js";
import { type PlannedSetup, runPlan } from "../../bench/run.js";
import { loopback } from "../../bench/tools/loopback.js";
import type { Tool } from "../../bench/tools/tool.js";

const SETUPS: readonly PlannedSetup[] = [
  { variant: "same", mtu: 1500, congestion: "reno" },
  { variant: "installed", mtu: 1500, congestion: null },
];

function tool(name: string, more: Partial<Tool> = {}): Tool {
  return { ...loopback, name, ...more };
}

function row(id: string, measure: Row["measure"], more: Partial<Row> = {}): Row {
  const metric = { section: "Round trips", unit: "\u00b5s", better: "lower" } as const;
  const metrics = ["p50", "p99"].map((name) => ({ ...metric, id: name, title: `${id} ${name}` }));
  const where = { ability: "network", mtus: [1500], variants: ["same", "installed"], quick: true, length: 1 } as const;
  return { ...where, id, metrics, measure, ...more };
}

async function run(rows: readonly Row[], tools: readonly Tool[], changes: Partial<BenchOptions> = {}) {
  const options = parseOptions([], { rows: [], quickRows: [], tools: [], mtus: [] });
  if (options === null) throw new Error("no options");
  const bed = await Bed.create();
  try {
    return await runPlan({ bed, tools, rows, setups: SETUPS, options: { ...options, ...changes }, progress: () => {} });
  } finally {
    await bed.close();
  }
}

test("in each round every tool has its turn, in another order each time; one that cannot do it has none", async (t) => {
  const order: string[] = [];
  const measured = row("rtt", async (place) => {
    order.push(place.tool.name);
    return { p50: order.length, p99: 9 };
  });
  const tools = [tool("a"), tool("b"), tool("c", { abilities: ["published"] })];
  const { results, complete } = await run([{ ...measured, variants: ["same"] }], tools);
  t.true(complete);
  t.is(order.join(""), "abbaab");
  t.deepEqual(
    results.map(({ tool, metric, congestion, values }) => [tool, metric, congestion, values]),
    [
      ["a", "p50", "reno", [1, 4, 5]],
      ["a", "p99", "reno", [9, 9, 9]],
      ["b", "p50", "reno", [2, 3, 6]],
      ["b", "p99", "reno", [9, 9, 9]],
    ],
  );
});

test("a failure is told once, in one line, and in a fresh sandbox tried once more; the others go on", async (t) => {
  let tries = 0;
  const shells = new Set<unknown>();
  const failing = row("bad", async ({ sandbox }) => {
    tries++;
    shells.add((await sandbox()).shell);
    throw new Error("it fell\nover");
  });
  const rows = [failing, row("good", async () => ({ p50: 1 }))].map((each) => ({
    ...each,
    variants: ["same"] as const,
  }));
  const { results } = await run(rows, [tool("a")]);
  t.is(tries, 2);
  t.is(shells.size, 2);
  t.deepEqual(
    results.map(({ row, metric, values, errors }) => [row, metric, values, errors]),
    [
      ["bad", "p50", [], ["it fell | over", "it fell | over"]],
      ["bad", "p99", [], []],
      ["good", "p50", [1, 1, 1], []],
    ],
  );
});

test("a quick run has each row once, at the usual length; a full one in each of its setups", async (t) => {
  const lengths: number[] = [];
  const long = row("long", async ({ seconds }) => ({ p50: lengths.push(seconds) }), { length: 2 });
  await run([long], [tool("a")], { rounds: 1 });
  t.deepEqual(lengths.splice(0), [2, 2]);
  await run([long], [tool("a")], { rounds: 1, quick: true });
  t.deepEqual(lengths, [1]);
});

test("when time is up nothing more is begun, and the outcome says so", async (t) => {
  const { results, complete } = await run([row("rtt", async () => ({ p50: 1 }))], [tool("a")], { limitMs: -1 });
  t.false(complete);
  t.deepEqual(results, []);
});
