/** The bench's command line. */
import { parseArgs } from "node:util";

export interface BenchOptions {
  readonly rows: readonly string[];
  readonly tools: readonly string[];
  readonly mtus: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  readonly warmUp: number;
  /** Milliseconds after which no further measurement is begun. */
  readonly limitMs: number;
  /** Congestion control of the second half; null: the first of `cubic`, `reno` that the kernel has. */
  readonly congestion: string | null;
  readonly variants: readonly Variant[];
  readonly json: string | null;
  readonly writeDocs: boolean;
}

export type Variant = "installed" | "same";

export const USAGE = `Usage: npm run bench -- [options]

  --quick             1 s per measurement instead of 3
  --rows A,B          only these measurements: ROWS
  --tools A,B         only these tools: TOOLS
  --mtu A,B           only these MTUs (1500,65520)
  --variants A,B      installed: congestion control as it is; same: one for all (both)
  --congestion NAME   the one for all (cubic, else reno)
  --rounds N          measurements of each, 1 to 99 (3)
  --json FILE         write every value to FILE
  --write-docs        write docs/benchmarks.md
  --help`;

export interface Known {
  readonly rows: readonly string[];
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
      json: { type: "string" },
      "write-docs": { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1 || rounds > 99) {
    throw new Error(`--rounds ${values.rounds}: expected a whole number from 1 to 99`);
  }
  if (values.congestion !== undefined && !/^[a-z0-9_-]{1,15}$/.test(values.congestion)) {
    throw new Error(`--congestion ${values.congestion}: expected a name such as cubic or reno`);
  }
  const variants: readonly Variant[] = ["installed", "same"];
  return {
    rows: choose("--rows", values.rows, known.rows),
    tools: choose("--tools", values.tools, known.tools),
    mtus: choose("--mtu", values.mtu, known.mtus),
    rounds,
    seconds: values.quick ? 1 : 3,
    warmUp: values.quick ? 0 : 1,
    limitMs: (values.quick ? 170 : 840) * 1000,
    congestion: values.congestion ?? null,
    variants: choose("--variants", values.variants, variants),
    json: values.json ?? null,
    writeDocs: values["write-docs"],
  };
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
