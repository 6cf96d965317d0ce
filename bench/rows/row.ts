/** Something that is measured for each tool: one or more lines of the comparison. */
import type { Bed } from "../bed.js";
import type { Variant } from "../options.js";
import type { Ability, Sandbox, Setup, Tool } from "../tools/tool.js";

export interface Place {
  readonly bed: Bed;
  readonly tool: Tool;
  readonly setup: Setup;
  /** Seconds that one measurement lasts. A whole number. */
  readonly seconds: number;
  /** The tool's sandbox for this setup, in which all rows are measured; it is made when it is first asked for. */
  sandbox(): Promise<Sandbox>;
}

/** One line of the comparison. */
export interface Metric {
  /** Unique in its row. */
  readonly id: string;
  readonly section: Section;
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
}

export type Section =
  | "TCP throughput"
  | "Processor seconds of the tool's own processes per GB carried"
  | "Published ports"
  | "Round trips"
  | "Connections and HTTP requests"
  | "UDP"
  | "Start, memory, idle flows"
  | "Networks of several sandboxes"
  | "The stack alone, per frame";

/** By the metrics' ids; one that is missing does not apply to this tool. */
export type Sample = Readonly<Partial<Record<string, number>>>;

export interface Row {
  /** As in `--rows`. */
  readonly id: string;
  readonly metrics: readonly Metric[];
  /** Tools without it are not measured. */
  readonly ability: Ability;
  /** The setups in which it is measured; the first of each is what `--quick` measures. */
  readonly mtus: readonly number[];
  readonly variants: readonly Variant[];
  /** A row that `--quick` has too. */
  readonly quick: boolean;
  /** How long one measurement lasts, as a multiple of the usual time. */
  readonly length: 1 | 2;
  measure(place: Place): Promise<Sample>;
}
