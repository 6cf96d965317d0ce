/** One line of the comparison: something that is measured in each tool's sandbox. */
import type { Bed } from "../bed.js";
import type { Sandbox } from "../tools/tool.js";

export interface Place {
  readonly bed: Bed;
  readonly sandbox: Sandbox;
  /** Seconds that one measurement lasts, and seconds before them that do not count. Whole numbers. */
  readonly seconds: number;
  readonly warmUp: number;
}

export interface Sample {
  /** In the row's unit. */
  readonly value: number;
  /** Processor seconds of the tool per 10⁹ bytes carried; null where there is no tool, or no bytes. */
  readonly cpuPerGb: number | null;
}

export interface Row {
  /** As in `--rows`. */
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "higher" | "lower";
  /** The MTUs at which it is measured. */
  readonly mtus: readonly number[];
  measure(place: Place): Promise<Sample>;
}
