/** Runs of iperf3: a server for each run alone, and a client. */
import { type Bed, SERVER, type Side } from "./bed.js";
import { unusedPort } from "./ports.js";
import { type Shell, servingInside } from "./shell.js";

export interface Load {
  readonly protocol: "tcp" | "udp";
  /** Bytes of a datagram; UDP only. It sends as many as it can. */
  readonly size?: number;
  /** The server sends, the client receives. */
  readonly reverse: boolean;
  /** Connections at once. */
  readonly flows: number;
  /** A whole number. */
  readonly seconds: number;
}

export interface IperfResult {
  /** What the receiver got. */
  readonly bitsPerSecond: number;
  /** Bytes carried in all. */
  readonly bytes: number;
  /** Datagrams sent, and those of them that did not arrive; 0 for TCP. */
  readonly packets: number;
  readonly lost: number;
}

/** A command that runs the client as its last arguments, and the seconds that it may take for itself. */
export interface Wrapper {
  readonly command: readonly string[];
  readonly seconds: number;
}

/** Seconds that a client may take beyond its measuring time. */
const GRACE_SECONDS = 6;

/** The client in a sandbox, the server outside. */
export async function iperfInside(
  bed: Bed,
  inside: Shell,
  address: string,
  load: Load,
  wrapper: Wrapper = { command: [], seconds: 0 },
): Promise<IperfResult> {
  const port = unusedPort();
  return bed.serving("iperf3 -s", ["iperf3", "-s", "-1", "-B", SERVER, "-p", `${port}`], port, async () => {
    const client = [...wrapper.command, ...clientCommand(address, port, load)];
    return parseIperf(await inside.output(client, load.seconds + GRACE_SECONDS + wrapper.seconds));
  });
}

export interface Published {
  readonly client: Side;
  /** Where the client finds the published port. */
  readonly address: string;
  readonly port: number;
}

/** The server in a sandbox, behind a published port; the client outside. */
export async function iperfToPublished(
  bed: Bed,
  inside: Shell,
  { client, address, port }: Published,
  load: Load,
): Promise<IperfResult> {
  const server = ["iperf3", "-s", "-1", "-B", "0.0.0.0", "-p", `${port}`];
  return servingInside(inside, server, port, `${bed.directory}/iperf3-${port}.log`, async () => {
    const ms = (load.seconds + GRACE_SECONDS) * 1000;
    return parseIperf(await bed.capture("iperf3 -c", clientCommand(address, port, load), ms, client));
  });
}

function clientCommand(address: string, port: number, load: Load): string[] {
  const udp = load.protocol === "udp" ? ["-u", "-b", "0", "-l", `${load.size ?? 1400}`] : [];
  const reverse = load.reverse ? ["-R"] : [];
  const what = ["-P", `${load.flows}`, "-t", `${load.seconds}`, ...udp, ...reverse];
  return ["iperf3", "-c", address, "-p", `${port}`, "-J", ...what];
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
  const end = member(report, "end");
  const bytes = intervals(report).reduce<number>(
    (sum, interval) => sum + number(member(member(interval, "sum"), "bytes")),
    0,
  );
  // UDP has all of it in one place; what the sender of TCP has sent is not yet what arrived.
  const received = member(end, "sum_received") ?? member(end, "sum");
  const datagrams = member(member(end, "sum"), "packets") === undefined ? null : member(end, "sum");
  return {
    bitsPerSecond: number(member(received, "bits_per_second")),
    bytes,
    packets: datagrams === null ? 0 : number(member(datagrams, "packets")),
    lost: datagrams === null ? 0 : number(member(datagrams, "lost_packets")),
  };
}

function intervals(report: unknown): unknown[] {
  const list = member(report, "intervals");
  if (!Array.isArray(list)) throw new Error("iperf3: no intervals in the report");
  return list;
}

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function number(value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new Error("iperf3: a figure is missing in the report");
  return value;
}
