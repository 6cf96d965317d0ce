/** The bench's command line. */
import { parseArgs } from "node:util";

export interface BenchOptions {
  /** Each row only at the first of its MTUs and variants, and no measurement longer than the usual time. */
  readonly quick: boolean;
  readonly rows: readonly string[];
  readonly tools: readonly string[];
  readonly mtus: readonly number[];
  readonly rounds: number;
  /** Of one measurement; some rows take twice as long. */
  readonly seconds: number;
  /** Milliseconds after which no further measurement is begun. */
  readonly limitMs: number;
  /** Congestion control of the second half; null: the first of `cubic`, `reno` that the kernel has. */
  readonly congestion: string | null;
  readonly variants: readonly Variant[];
  /** Measures ours with so many shards too; null: not. */
  readonly shards: number | null;
  /** Measures podman and RootlessKit too, over slirp4netns and over ours in its place. */
  readonly containers: boolean;
  readonly json: string | null;
  readonly svg: string | null;
  readonly writeDocs: boolean;
}

export type Variant = "installed" | "same";

export const USAGE = `Usage: npm run bench -- [options]

  --quick             the main rows only, each at one MTU: under 3 minutes. All of them: under 15
  --rows A,B          only these: ROWS
  --tools A,B         only these tools: TOOLS
  --mtu A,B           only these MTUs (1500,65520)
  --variants A,B      same: one congestion control for all; installed: as it is (both)
  --congestion NAME   the one for all (cubic, else reno)
  --rounds N          measurements of each, 1 to 99 (3)
  --seconds N         of a measurement, 1 to 60 (1); the rows with one flow take twice as long
  --shards N          measure netns-rootless with N shards too, 2 to 16
  --containers        measure podman and RootlessKit too, each over slirp4netns and over ours in its place
  --json FILE         write every value to FILE
  --svg FILE          write the plot to FILE
  --write-docs        write docs/benchmarks.md and docs/benchmarks.svg
  --help`;

export interface Known {
  readonly rows: readonly string[];
  /** Those of them that `--quick` has when none are named. */
  readonly quickRows: readonly string[];
  readonly tools: readonly string[];
  readonly mtus: readonly number[];
}

/** Null when help was asked for. Throws an error of one line for what it does not understand. */
export function parseOptions(args: readonly string[], known: Known): BenchOptions | null {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      rows: { type: "string" },
      tools: { type: "string" },
      mtu: { type: "string" },
      variants: { type: "string" },
      congestion: { type: "string" },
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "1" },
      shards: { type: "string" },
      containers: { type: "boolean", default: false },
      json: { type: "string" },
      svg: { type: "string" },
      "write-docs": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const rounds = wholeNumber("--rounds", values.rounds, 99);
  const seconds = wholeNumber("--seconds", values.seconds, 60);
  if (values.congestion !== undefined && !/^[a-z0-9_-]{1,15}$/.test(values.congestion)) {
    throw new Error(`--congestion ${values.congestion}: expected a name such as cubic or reno`);
  }
  const variants: readonly Variant[] = ["same", "installed"];
  return {
    quick: values.quick,
    rows: values.quick && values.rows === undefined ? known.quickRows : choose("--rows", values.rows, known.rows),
    tools: choose("--tools", values.tools, known.tools),
    mtus: choose("--mtu", values.mtu, known.mtus),
    rounds,
    seconds,
    limitMs: (values.quick ? 170 : 840) * 1000,
    congestion: values.congestion ?? null,
    variants: choose("--variants", values.variants, variants),
    shards: values.shards === undefined ? null : wholeNumber("--shards", values.shards, 16, 2),
    containers: values.containers,
    json: values.json ?? null,
    svg: values.svg ?? null,
    writeDocs: values["write-docs"],
  };
}

function wholeNumber(option: string, text: string, most: number, least = 1): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Error(`${option} ${text}: expected a whole number from ${least} to ${most}`);
}

/** The known values that a comma-separated list names, in their own order; all of them for no list. */
function choose<T extends string | number>(
  option: string,
  list: string | undefined,
  known: readonly T[],
): readonly T[] {
  if (list === undefined) return known;
  const names = list.split(",");
  const unknown = names.find((name) => !known.some((value) => `${value}` === name));
  if (unknown !== undefined) throw new Error(`${option} ${unknown}: expected one or more of ${known.join(",")}`);
  return known.filter((value) => names.includes(`${value}`));
}
