import test from "ava";
import { renderPlot } from "../../bench/plot.js";
import { renderDocument, renderTables, showNumber, table } from "../../bench/report.js";
import { compare, type Report, type Result } from "../../bench/results.js";

function result(tool: string, role: Result["role"], values: number[], more: Partial<Result> = {}): Result {
  const title = { row: "tcp-out", metric: "throughput", section: "TCP throughput" as const, title: "TCP out, 1 flow" };
  const what = { ...title, unit: "Gbit/s", better: "higher" as const };
  return { ...what, mtu: 1500, congestion: null, tool, role, values, errors: [], ...more };
}

function report(results: Result[], complete = true): Report {
  return {
    schema: 2,
    date: "2026-01-02T03:04:05.000Z",
    command: "npm run bench --",
    machine: { kernel: "6.1.0", cpu: "A CPU", cpus: 2, memoryGb: 8, node: "v20.19.0", congestion: "cubic", load: 0.25 },
    tools: [...new Set(results.map(({ tool }) => tool))].map((name) => ({ name, version: "1.0" })),
    rounds: 3,
    seconds: 1,
    longest: 2,
    complete,
    results,
  };
}

const FIGURES = [
  result("netns-rootless", "ours", [40, 38, 10]),
  result("slirp4netns", "peer", [1.2, 1.3, 1.25]),
  result("pasta", "peer", [100, 2, 2]),
  result("loopback", "limit", [76, 70, 80]),
];

test("ratios are of medians, to the peer with the best median and to the limit", (t) => {
  const [line, ...others] = compare(FIGURES);
  t.is(others.length, 0);
  t.is(line?.bestPeer, "pasta");
  t.is(line?.toBestPeer, 19);
  t.is(line?.toLimit, 0.5);
  t.deepEqual(line?.summaries.get("netns-rootless"), { median: 38, min: 10, max: 40 });
});

test("where less is better the best peer is the one with the least", (t) => {
  const lower = { better: "lower" as const, unit: "µs" };
  const [line] = compare([
    result("netns-rootless", "ours", [30], lower),
    result("slirp4netns", "peer", [90], lower),
    result("pasta", "peer", [75], lower),
  ]);
  t.is(line?.bestPeer, "pasta");
  t.is(line?.toBestPeer, 2.5);
  t.is(line?.toLimit, null);
});

test("p50 and p99 of one row are lines of their own", (t) => {
  const lines = compare(["p50", "p99"].flatMap((metric) => FIGURES.map((figure) => ({ ...figure, metric }))));
  t.deepEqual(
    lines.map(({ metric }) => metric),
    ["p50", "p99"],
  );
});

test("each MTU and each congestion control is a line of its own", (t) => {
  const lines = compare([
    ...FIGURES,
    ...FIGURES.map((figure) => ({ ...figure, mtu: 65520 })),
    ...FIGURES.map((figure) => ({ ...figure, congestion: "reno" })),
  ]);
  t.deepEqual(
    lines.map(({ mtu, congestion }) => [mtu, congestion]),
    [
      [1500, null],
      [65520, null],
      [1500, "reno"],
    ],
  );
});

test("the table shows median, spread and ratios of every tool", (t) => {
  const text = renderTables(report(FIGURES));
  t.regex(text, /^\| measurement +\| congestion control \| unit +\| netns-rootless +\| slirp4netns +\| pasta/m);
  t.regex(
    text,
    /^\| TCP out, 1 flow, MTU 1500 \| as installed +\| Gbit\/s \| 38\.0 \(10\.0–40\.0\) +\| 1\.25 \(1\.20–1\.30\)/m,
  );
  t.regex(text, /\| 19\.0× pasta +\| 0\.500× +\|$/m);
  t.notRegex(text, /Failed|Time ran out/);
});

test("a failed measurement and a run that was cut short are told", (t) => {
  const text = renderTables(
    report([result("netns-rootless", "ours", [], { errors: ["it fell over"] }), result("pasta", "peer", [2])], false),
  );
  t.regex(text, /\| failed +\|/);
  t.true(text.includes("- netns-rootless, TCP out, 1 flow, MTU 1500: it fell over"));
  t.true(text.includes("Time ran out"));
});

test("a tool that a row does not apply to has not failed in it", (t) => {
  const published = { row: "published", section: "Published ports" as const, title: "published" };
  const text = renderTables(report([...FIGURES, result("rootlesskit", "peer", [31], published)]));
  const [throughput, ports] = text.split("### ").slice(1);
  t.notRegex(throughput ?? "", /rootlesskit/);
  t.regex(ports ?? "", /^Published ports\n\n\| measurement +\| congestion control +\| unit +\| rootlesskit/);
  t.notRegex(text, /failed/);
});

test("in the plot a mark further right is better, whichever way the unit runs", (t) => {
  const lower = { row: "rtt", better: "lower" as const, title: "round trip <p50>" };
  const plot = renderPlot(
    report([
      result("netns-rootless", "ours", [40]),
      result("pasta", "peer", [4]),
      result("netns-rootless", "ours", [30], lower),
      result("pasta", "peer", [60], lower),
      result("netns-rootless", "ours", [30], { row: "alone" }),
    ]),
  );
  const marks = [...plot.matchAll(/<circle cx="([\d.]+)"[^>]*><title>(\S+): ([^:]+).*: ([\d.]+×)/g)];
  t.deepEqual(
    marks.map(([, , tool, , ratio]) => [tool, ratio]),
    [
      ["netns-rootless", "10.0×"],
      ["pasta", "1.00×"],
      ["netns-rootless", "2.00×"],
      ["pasta", "1.00×"],
    ],
  );
  const [far, one, near, oneAgain] = marks.map(([, x]) => Number(x));
  t.is(one, oneAgain);
  t.true((one ?? 0) < (near ?? 0) && (near ?? 0) < (far ?? 0));
  t.true(plot.includes("round trip &lt;p50&gt;") && !plot.includes("<p50>"));
});

test("the document names the machine, the versions and the date", (t) => {
  const text = renderDocument(report(FIGURES));
  for (const part of [
    "Linux 6.1.0, 2 × A CPU, 8 GB, Node v20.19.0",
    "- pasta 1.0",
    "load average before the run: 0.25",
    "npm run bench --",
    "2026-01-02",
    "38.0 (10.0–40.0)",
  ]) {
    t.true(text.includes(part), part);
  }
});

test("numbers have three significant digits and never an exponent", (t) => {
  t.deepEqual([38.123, 1.255, 0.2, 0.00001, 12345.6, 0].map(showNumber), [
    "38.1",
    "1.25",
    "0.200",
    "0.0000",
    "12346",
    "0",
  ]);
});

test("the columns of a table are as wide as their widest cell", (t) => {
  t.is(table(["a", "long"], [["wide", "x"]]), "| a    | long |\n| ---- | ---- |\n| wide | x    |");
});
