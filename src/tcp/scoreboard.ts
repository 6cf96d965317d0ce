/**
 * What the sandbox has beyond the acknowledged: the blocks of its selective acknowledgements (RFC 2018), put together.
 *
 * Ranges of sequence numbers, disjoint and in order, in one array that is made once: a connection that loses nothing has none,
 * and an acknowledgement allocates nothing. At most MAX_RANGES: one that does not fit takes the place of the highest, if it lies
 * below it, else it is forgotten. What is forgotten is sent again in vain, no more.
 */
import { after, before, distance } from "./sequence.js";

export const MAX_RANGES = 32;
/** Ranges above a gap after which it is a loss, as three duplicate acknowledgements are (RFC 6675, 2). */
const DUPLICATES = 3;

export class Scoreboard {
  /** First and next sequence number of each range. */
  readonly #edges = new Int32Array(2 * (MAX_RANGES + 1));
  #count = 0;

  get size(): number {
    return this.#count;
  }

  /** Adds [start, end), which is not empty. True where some of it is new. */
  add(start: number, end: number): boolean {
    const edges = this.#edges;
    let from = 0;
    while (from < this.#count && before(edges[2 * from + 1], start)) from++;
    let to = from;
    while (to < this.#count && !after(edges[2 * to], end)) to++;
    if (to === from) {
      if (this.#count === MAX_RANGES) {
        if (from === MAX_RANGES) return false;
        this.#count--;
      }
      edges.copyWithin(2 * from + 2, 2 * from, 2 * this.#count);
      edges[2 * from] = start;
      edges[2 * from + 1] = end;
      this.#count++;
      return true;
    }
    const first = edges[2 * from];
    const last = edges[2 * to - 1];
    if (to === from + 1 && !before(start, first) && !after(end, last)) return false;
    edges[2 * from] = before(start, first) ? start : first;
    edges[2 * from + 1] = after(end, last) ? end : last;
    edges.copyWithin(2 * from + 2, 2 * to, 2 * this.#count);
    this.#count -= to - from - 1;
    return true;
  }

  /** Everything before `una` is acknowledged: ranges that lie before it are of no more interest. */
  forget(una: number): void {
    const edges = this.#edges;
    let gone = 0;
    while (gone < this.#count && !after(edges[2 * gone + 1], una)) gone++;
    if (gone === 0) return;
    edges.copyWithin(0, 2 * gone, 2 * this.#count);
    this.#count -= gone;
  }

  clear(): void {
    this.#count = 0;
  }

  /** The first sequence number from `at` on that is in no range. */
  skip(at: number): number {
    const edges = this.#edges;
    for (let i = 0; i < this.#count; i++) {
      if (after(edges[2 * i], at)) return at;
      if (after(edges[2 * i + 1], at)) return edges[2 * i + 1];
    }
    return at;
  }

  /** Where the next range from `at` on begins, but not beyond `limit`. `at` is in no range. */
  gapEnd(at: number, limit: number): number {
    const edges = this.#edges;
    for (let i = 0; i < this.#count; i++) {
      const start = edges[2 * i];
      if (!before(start, at)) return before(start, limit) ? start : limit;
    }
    return limit;
  }

  /** How many sequence numbers of [from, to) are in no range. */
  missing(from: number, to: number): number {
    const edges = this.#edges;
    let count = Math.max(0, distance(from, to));
    for (let i = 0; i < this.#count && count > 0; i++) {
      const start = before(edges[2 * i], from) ? from : edges[2 * i];
      const end = after(edges[2 * i + 1], to) ? to : edges[2 * i + 1];
      count -= Math.max(0, distance(start, end));
    }
    return count;
  }

  /**
   * What is in no range before this sequence number is lost: DUPLICATES ranges lie above it, or more than DUPLICATES - 1 segments
   * (IsLost() of RFC 6675, 4). `una`: where nothing is known to be lost.
   */
  lostTo(una: number, mss: number): number {
    const edges = this.#edges;
    let bytes = 0;
    for (let i = this.#count - 1; i >= 0; i--) {
      bytes += distance(edges[2 * i], edges[2 * i + 1]);
      if (this.#count - i >= DUPLICATES || bytes > (DUPLICATES - 1) * mss) return edges[2 * i];
    }
    return una;
  }
}
