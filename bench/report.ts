/** The report as text: Markdown tables, aligned so that they read well in a terminal too. */
import { type Comparison, compare, type Report } from "./results.js";
import type { Summary } from "./statistics.js";

export function renderTables(report: Report): string {
  const tools = report.tools.map((tool) => tool.name);
  const comparisons = compare(report.results);
  const measured = ["measurement", "congestion control", "unit", ...tools, "÷ best peer", "÷ loopback"];
  const figures = comparisons.map((line) => [
    `${line.title}, MTU ${line.mtu}`,
    line.congestion === null ? "as installed" : `${line.congestion} everywhere`,
    line.unit,
    ...tools.map((tool) => showSummary(line.summaries.get(tool) ?? null)),
    line.toBestPeer === null ? "–" : `${showNumber(line.toBestPeer)}× ${line.bestPeer}`,
    showRatio(line.toLimit),
  ]);
  const withCpu = tools.filter((tool) => comparisons.some((line) => (line.cpuPerGb.get(tool) ?? null) !== null));
  const cpu = comparisons
    .filter(hasCpu)
    .map((line) => [
      `${line.title}, MTU ${line.mtu}`,
      line.congestion === null ? "as installed" : `${line.congestion} everywhere`,
      ...withCpu.map((tool) => showNullable(line.cpuPerGb.get(tool) ?? null)),
    ]);
  const errors = report.results.flatMap((result) =>
    result.errors.map((error) => `- ${result.tool}, ${result.title}, MTU ${result.mtu}: ${error}`),
  );
  return [
    `Median of ${report.rounds} (lowest–highest), ${report.seconds} s each after ${report.warmUp} s of warm-up, all in one run, interleaved.`,
    table(measured, figures),
    ...(cpu.length === 0
      ? []
      : [
          "Processor seconds per GB carried, the tool's own processes (median):",
          table(["measurement", "congestion control", ...withCpu], cpu),
        ]),
    ...(errors.length === 0 ? [] : [`Failed measurements:\n\n${errors.join("\n")}`]),
    ...(report.complete ? [] : ["Time ran out: some rounds were not made, so some medians are of fewer values."]),
  ].join("\n\n");
}

export function renderMachine({ machine, tools }: Report): string {
  return [
    `- Linux ${machine.kernel}, ${machine.cpus} × ${machine.cpu}, ${machine.memoryGb} GB, Node ${machine.node}`,
    `- the host's own congestion control: ${machine.congestion}; load average before the run: ${machine.load}`,
    ...tools.map((tool) => `- ${tool.name} ${tool.version}`),
  ].join("\n");
}

/** The text of docs/benchmarks.md. */
export function renderDocument(report: Report): string {
  return `# Benchmarks

Written by \`${report.command}\` on ${report.date.slice(0, 10)}; do not edit. Measure your own machine with \`npm run bench\`
(\`--quick\` for a first look; \`--help\` for the rest). It wants an ordinary user, iperf3, and the tools that it compares.

## What was measured

Every tool makes its sandbox in one and the same network namespace, the bed, and iperf3 runs between the sandbox and the bed:
*out* is from the sandbox, *in* is to it. No wire and no other machine is involved, so the figures are those of the tools.
*Loopback* is the same transfer within the bed, without a sandbox: no tool can beat it.

*As installed* leaves the congestion control as each tool and the host have it. In the other lines every route that has a
part in it, inside and in the bed, for every tool, has the same one. A paced control (BBR) on the host limits loopback and
thus everybody.

The ratios are of the medians; above 1 means that netns-rootless is better. Look at the spread before you believe one: where it
is wide, the machine was busy or the tool is erratic. Loopback as installed can be slower than a sandbox, where the host's
control paces and the sandbox's does not.

${renderMachine(report)}

## Results

${renderTables(report)}
`;
}

function hasCpu(line: Comparison): boolean {
  return [...line.cpuPerGb.values()].some((value) => value !== null);
}

function showSummary(summary: Summary | null): string {
  if (summary === null) return "failed";
  return `${showNumber(summary.median)} (${showNumber(summary.min)}–${showNumber(summary.max)})`;
}

function showNullable(value: number | null): string {
  return value === null ? "–" : showNumber(value);
}

function showRatio(value: number | null): string {
  return value === null ? "–" : `${showNumber(value)}×`;
}

/** Three significant digits, without an exponent. */
export function showNumber(value: number): string {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 4));
}

/** A Markdown table, every column as wide as its widest cell. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}
