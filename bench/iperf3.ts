/** One run of iperf3: a server in the bed for this run alone, the client in a tool's sandbox. */
import { type Bed, SERVER } from "./bed.js";
import { within } from "./processes.js";
import type { Shell } from "./shell.js";

export interface IperfOptions {
  /** `out`: the sandbox sends. `in`: it receives. */
  readonly direction: "out" | "in";
  /** TCP connections at once. */
  readonly flows: number;
  /** Seconds measured, and seconds before them that do not count. Whole numbers. */
  readonly seconds: number;
  readonly warmUp: number;
}

export interface IperfResult {
  /** What the receiver got, without the warm-up. */
  readonly bitsPerSecond: number;
  /** Bytes carried in all, the warm-up included. */
  readonly bytes: number;
}

/** Seconds that a client may take beyond its measuring time. */
const GRACE_SECONDS = 6;
let nextPort = 5201;

export async function runIperf(bed: Bed, inside: Shell, options: IperfOptions): Promise<IperfResult> {
  const port = nextPort++;
  const server = bed.start("iperf3 -s", ["iperf3", "-s", "-1", "-B", SERVER, "-p", `${port}`, "--forceflush"]);
  try {
    await server.says("Server listening", 5000);
    const limit = options.seconds + options.warmUp + GRACE_SECONDS;
    const script = [
      // Ends with the shell, however that ends.
      `setpriv --pdeathsig TERM timeout --foreground -k 1 ${limit} iperf3 -c ${SERVER} -p ${port} -J -P ${options.flows} -t ${options.seconds}`,
      options.warmUp > 0 ? `-O ${options.warmUp}` : "",
      options.direction === "in" ? "-R" : "",
    ].join(" ");
    const { status, stdout } = await inside.run(script, (limit + 3) * 1000);
    if (status === 124 || status === 137) throw new Error(`iperf3 hung for ${limit} s`);
    return parseIperf(stdout);
  } finally {
    await within(500, server.exited);
    await bed.stop(server);
  }
}

/** Reads the client's JSON report. Rejects a report of an error with iperf3's own words. */
export function parseIperf(text: string): IperfResult {
  let report: unknown;
  try {
    report = JSON.parse(text);
  } catch (cause) {
    throw new Error(`iperf3 printed no JSON: ${text.trim().slice(0, 200)}`, { cause });
  }
  const error = member(report, "error");
  if (typeof error === "string") throw new Error(`iperf3: ${error}`);
  const bitsPerSecond = number(member(member(member(report, "end"), "sum_received"), "bits_per_second"));
  const intervals = member(report, "intervals");
  if (!Array.isArray(intervals)) throw new Error("iperf3: no intervals in the report");
  const bytes = intervals.reduce((sum: number, interval) => sum + number(member(member(interval, "sum"), "bytes")), 0);
  return { bitsPerSecond, bytes };
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function number(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new Error("iperf3: a figure is missing in the report");
  return value;
}
