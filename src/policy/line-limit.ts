/** Bounds what a log is told of things that whoever is inside can have happen as often as it likes. */
export const LINES_PER_SECOND = 20;

export class LineLimit {
  readonly #now: () => number;
  readonly #leftOut: (lines: number) => void;
  #second = 0;
  #lines = 0;

  /**
   * @param now milliseconds, of any beginning
   * @param leftOut is told, with the next line, of how many were not in the second before
   */
  constructor(now: () => number, leftOut: (lines: number) => void) {
    this.#now = now;
    this.#leftOut = leftOut;
  }

  /** True where one more line may be written in this second. */
  mayTell(): boolean {
    const second = Math.floor(this.#now() / 1000);
    if (second !== this.#second) {
      const leftOut = this.#lines - LINES_PER_SECOND;
      this.#second = second;
      this.#lines = 0;
      if (leftOut > 0) this.#leftOut(leftOut);
    }
    this.#lines++;
    return this.#lines <= LINES_PER_SECOND;
  }
}
