/** The report as text: Markdown tables, aligned so that they read well in a terminal too. */
import { type Comparison, compare, type Report } from "./results.js";
import type { Summary } from "./statistics.js";

export function renderTables(report: Report): string {
  const comparisons = compare(report.results);
  const sections = [...new Set(comparisons.map((line) => line.section))];
  const errors = report.results.flatMap((result) =>
    result.errors.map((error) => `- ${result.tool}, ${result.title}, MTU ${result.mtu}: ${error}`),
  );
  return [
    `Median of ${report.rounds} (lowest–highest), ${report.seconds} s each (TCP with 1 flow: ${report.longest} s), all in one run, interleaved.`,
    ...sections.map((section) => {
      const lines = comparisons.filter((line) => line.section === section);
      return `### ${section}\n\n${renderSection(lines, toolsOf(report, lines))}`;
    }),
    ...(errors.length === 0 ? [] : [`Failed measurements:\n\n${errors.join("\n")}`]),
    ...(report.complete ? [] : ["Time ran out: some rounds were not made, so some medians are of fewer values."]),
  ].join("\n\n");
}

/** The tools that have a part in any of the lines, in the order of the report. */
function toolsOf(report: Report, lines: readonly Comparison[]): string[] {
  return report.tools.map((tool) => tool.name).filter((name) => lines.some((line) => line.summaries.has(name)));
}

function renderSection(lines: readonly Comparison[], tools: readonly string[]): string {
  return table(
    ["measurement", "congestion control", "unit", ...tools, "÷ best peer", "÷ loopback"],
    lines.map((line) => [
      `${line.title}, MTU ${line.mtu}`,
      line.congestion === null ? "as installed" : `${line.congestion} everywhere`,
      line.unit,
      ...tools.map((tool) => showSummary(line.summaries.get(tool))),
      line.toBestPeer === null ? "–" : `${showNumber(line.toBestPeer)}× ${line.bestPeer}`,
      showRatio(line.toLimit),
    ]),
  );
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
(\`--quick\` for a first look; \`--help\` for the rest). It wants an ordinary user, iperf3, wrk, nginx, python3, and the tools that it compares.

![Each tool beside the best peer](benchmarks.svg)

## What was measured

Every tool makes its sandbox in one and the same network namespace, the bed. No wire and no other machine is involved, so the
figures are those of the tools. *Out* is from the sandbox to the bed, *in* is to the sandbox. *Loopback* is the same within the
bed, without a sandbox: no tool can beat it.

| rows | measured with |
| --- | --- |
| TCP throughput, and the tool's processor time for it | iperf3; *in* is \`iperf3 -R\` |
| published ports | iperf3 -s in the sandbox; the client on the bed's 127.0.0.1, or in a namespace beside it, "another machine" |
| round trips | one byte there and back, one at a time, to a server in the bed |
| connect, request, close | one connection after the other, a byte there, a byte back, the server closes |
| HTTP | wrk in the sandbox, nginx with one worker in the bed |
| UDP | iperf3 -u -b 0: one datagram per system call, as many as go. With UDP_SEGMENT: up to 45 per call, as QUIC programs do |
| start | the median of 5 starts of the tool with the command \`true\`: set up alike, and as it is without any option, when pasta looks for ports to forward, in IPv6 too |
| memory, processor time, wake-ups | of the tool's own processes, in a sandbox that does nothing, and after the other rows |
| between two members | iperf3 from one sandbox of a network to another; beside it, two namespaces of the bed that a pair of veth joins |
| a capture | iperf3 before, while \`capture\` writes every packet to /dev/null, and after |
| idle flows | iperf3 beside 10,000 connections that do nothing, and alone before and after |
| the stack alone | frames in bursts of 64 through the TypeScript stack on an engine that moves nothing; what a frame leaves on the heap, one measurement's noise included |

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

/** Null: it failed. Undefined: it does not apply. */
function showSummary(summary: Summary | null | undefined): string {
  if (summary === undefined) return "–";
  if (summary === null) return "failed";
  return `${showNumber(summary.median)} (${showNumber(summary.min)}–${showNumber(summary.max)})`;
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
