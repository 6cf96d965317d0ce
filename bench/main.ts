/** The bench: one command that compares us with our peers on this machine. `npm run bench -- --help` says how. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { Bed } from "./bed.js";
import { availableCongestion, describeMachine } from "./machine.js";
import { type BenchOptions, parseOptions, USAGE } from "./options.js";
import { firstLine } from "./processes.js";
import { renderDocument, renderMachine, renderTables } from "./report.js";
import type { Report } from "./results.js";
import type { Row } from "./rows/row.js";
import { tcpIn, tcpOut } from "./rows/tcp-throughput.js";
import { runPlan } from "./run.js";
import { loopback } from "./tools/loopback.js";
import { ours } from "./tools/ours.js";
import { pasta } from "./tools/pasta.js";
import { slirp4netns } from "./tools/slirp4netns.js";
import type { Setup, Tool } from "./tools/tool.js";

const TOOLS: readonly Tool[] = [ours, slirp4netns, pasta, loopback];
const ROWS: readonly Row[] = [tcpOut, tcpIn];
const MTUS = [1500, 65520];
const DOCUMENT = fileURLToPath(new URL("../../docs/benchmarks.md", import.meta.url));
/** Programs that the bed and the rows need, and the Debian packages that have them. */
const PROGRAMS = [
  ["iperf3", "iperf3"],
  ["ip", "iproute2"],
  ["nsenter", "util-linux"],
  ["setpriv", "util-linux"],
] as const;

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function checkHost(): Promise<void> {
  if (process.getuid?.() === 0)
    throw new Error("the bench measures what an ordinary user gets; run it as one, not as root");
  for (const [program, debian] of PROGRAMS) {
    if ((await firstLine(program, ["-V"])) === null && (await firstLine(program, ["--version"])) === null) {
      throw new Error(`${program} is missing; on Debian: apt-get install ${debian}`);
    }
  }
}

/** The tools that are here, with their versions. Those that are not are named on stderr and left out. */
async function findTools(names: readonly string[]): Promise<{ tool: Tool; version: string }[]> {
  const found = [];
  for (const tool of TOOLS.filter((tool) => names.includes(tool.name))) {
    try {
      found.push({ tool, version: await tool.version() });
    } catch (error) {
      say(`left out: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (found.length === 0) throw new Error("there is nothing to measure");
  return found;
}

function planSetups(options: BenchOptions): Setup[] {
  const available = availableCongestion();
  const same = options.congestion ?? ["cubic", "reno"].find((name) => available.includes(name)) ?? "reno";
  if (!available.includes(same)) throw new Error(`--congestion ${same}: this kernel has ${available.join(", ")}`);
  return options.variants.flatMap((variant) =>
    options.mtus.map((mtu) => ({ mtu, congestion: variant === "same" ? same : null })),
  );
}

async function main(args: readonly string[]): Promise<void> {
  const known = { rows: ROWS.map((row) => row.id), tools: TOOLS.map((tool) => tool.name), mtus: MTUS };
  const options = parseOptions(args, known);
  if (options === null) {
    process.stdout.write(`${USAGE.replace("ROWS", known.rows.join(",")).replace("TOOLS", known.tools.join(","))}\n`);
    return;
  }
  await checkHost();
  const found = await findTools(options.tools);
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
      schema: 1,
      date: new Date().toISOString(),
      command: ["npm run bench --", ...args].join(" "),
      machine,
      tools: found.map(({ tool, version }) => ({ name: tool.name, version })),
      rounds: options.rounds,
      seconds: options.seconds,
      warmUp: options.warmUp,
      ...outcome,
    };
    process.stdout.write(`${renderMachine(report)}\n\n${renderTables(report)}\n`);
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    if (options.writeDocs) {
      mkdirSync(dirname(DOCUMENT), { recursive: true });
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
