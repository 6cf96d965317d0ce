/** The bench: one command that compares us with our peers on this machine. `npm run bench -- --help` says how. */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Bed } from "./bed.js";
import { availableCongestion, describeMachine } from "./machine.js";
import { type BenchOptions, parseOptions, USAGE } from "./options.js";
import { renderPlot } from "./plot.js";
import { renderDocument, renderMachine, renderTables } from "./report.js";
import type { Report } from "./results.js";
import { ROWS } from "./rows/all.js";
import { type PlannedSetup, runPlan } from "./run.js";
import { containers } from "./tools/containers.js";
import { loopback } from "./tools/loopback.js";
import { ours, oursWithShards } from "./tools/ours.js";
import { pasta } from "./tools/pasta.js";
import { rootlesskit } from "./tools/rootlesskit.js";
import { slirp4netns } from "./tools/slirp4netns.js";
import type { Tool } from "./tools/tool.js";

const TOOLS: readonly Tool[] = [ours, slirp4netns, pasta, rootlesskit, loopback];
const MTUS = [1500, 65520];
const DOCUMENT = fileURLToPath(new URL("../../docs/benchmarks.md", import.meta.url));
const PLOT = fileURLToPath(new URL("../../docs/benchmarks.svg", import.meta.url));
/** Programs that the bed and the rows need, and the Debian packages that have them. */
const PROGRAMS = [
  ["iperf3", "iperf3"],
  ["wrk", "wrk"],
  ["nginx", "nginx-light"],
  ["python3", "python3"],
  ["ip", "iproute2"],
  ["nsenter", "util-linux"],
  ["setpriv", "util-linux"],
] as const;

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function checkHost(): void {
  if (process.getuid?.() === 0)
    throw new Error("the bench measures what an ordinary user gets; run it as one, not as root");
  // Debian's users do not have nginx' place in their PATH.
  const places = [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/sbin"];
  process.env.PATH = places.join(":");
  for (const [program, debian] of PROGRAMS) {
    if (!places.some((place) => existsSync(join(place, program)))) {
      throw new Error(`${program} is missing; on Debian: apt-get install ${debian}`);
    }
  }
}

/** The tools that are here, with their versions. Those that are not are named on stderr and left out. */
async function findTools({
  tools: names,
  shards,
  containers: more,
}: BenchOptions): Promise<{ tool: Tool; version: string }[]> {
  const found = [];
  const tools = TOOLS.filter((tool) => names.includes(tool.name));
  if (shards !== null) tools.splice(1, 0, oursWithShards(shards));
  if (more) tools.push(...containers);
  for (const tool of tools) {
    try {
      found.push({ tool, version: await tool.version() });
    } catch (error) {
      say(`left out: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (found.length === 0) throw new Error("there is nothing to measure");
  return found;
}

function planSetups(options: BenchOptions): PlannedSetup[] {
  const available = availableCongestion();
  const same = options.congestion ?? ["cubic", "reno"].find((name) => available.includes(name)) ?? "reno";
  if (!available.includes(same)) throw new Error(`--congestion ${same}: this kernel has ${available.join(", ")}`);
  return options.variants.flatMap((variant) =>
    options.mtus.map((mtu) => ({ variant, mtu, congestion: variant === "same" ? same : null })),
  );
}

async function main(args: readonly string[]): Promise<void> {
  const quickRows = ROWS.filter((row) => row.quick).map((row) => row.id);
  const known = { rows: ROWS.map((row) => row.id), quickRows, tools: TOOLS.map((tool) => tool.name), mtus: MTUS };
  const options = parseOptions(args, known);
  if (options === null) {
    process.stdout.write(`${USAGE.replace("ROWS", known.rows.join(",")).replace("TOOLS", known.tools.join(","))}\n`);
    return;
  }
  checkHost();
  const found = await findTools(options);
  const setups = planSetups(options);
  const machine = describeMachine();
  const bed = await Bed.create();
  // Everything in the bed goes when we do (see bed.ts); this only makes it orderly.
  for (const [signal, status] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.once(signal, () => void bed.close().finally(() => process.exit(status)));
  }
  try {
    const outcome = await runPlan({
      bed,
      tools: found.map(({ tool }) => tool),
      rows: ROWS.filter((row) => options.rows.includes(row.id)),
      setups,
      options,
      progress: say,
    });
    const report: Report = {
      schema: 2,
      date: new Date().toISOString(),
      command: ["npm run bench --", ...args].join(" "),
      machine,
      tools: found.map(({ tool, version }) => ({ name: tool.name, version })),
      rounds: options.rounds,
      seconds: options.seconds,
      longest: options.quick ? options.seconds : 2 * options.seconds,
      ...outcome,
    };
    process.stdout.write(`${renderMachine(report)}\n\n${renderTables(report)}\n`);
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    if (options.svg !== null) writeFileSync(options.svg, renderPlot(report));
    if (options.writeDocs) {
      mkdirSync(dirname(DOCUMENT), { recursive: true });
      writeFileSync(PLOT, renderPlot(report));
      writeFileSync(DOCUMENT, renderDocument(report));
    }
    if (report.results.some((result) => result.errors.length > 0)) process.exitCode = 1;
  } finally {
    await bed.close();
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  say(`bench: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
