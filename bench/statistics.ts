/** What a handful of repeated measurements says: figures are reported as medians, with the extremes as their spread. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle value, or the mean of the two middle ones. Null for no values. */
export function median(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)];
  const lower = sorted[Math.floor((sorted.length - 1) / 2)];
  return upper === undefined || lower === undefined ? null : (lower + upper) / 2;
}

/** Null for no values. */
export function summarize(values: readonly number[]): Summary | null {
  const middle = median(values);
  return middle === null ? null : { median: middle, min: Math.min(...values), max: Math.max(...values) };
}

/** How many times better `ours` is than `theirs`: above 1 is better, whichever way the unit runs. Null where one is missing or 0. */
export function advantage(ours: number | null, theirs: number | null, better: "higher" | "lower"): number | null {
  if (ours === null || theirs === null || ours <= 0 || theirs <= 0) return null;
  return better === "higher" ? ours / theirs : theirs / ours;
}
