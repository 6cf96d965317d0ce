/** Counters by name: every drop, refusal and limit has one, so that `--verbose` and tests can ask where something went. */
export class Counters {
  readonly #values = new Map<string, number>();

  /** Adds to a counter. Names are `room.what`, for example `tcp.syn_limit`. Not for the path of ordinary packets. */
  add(name: string, amount = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + amount);
  }

  get(name: string): number {
    return this.#values.get(name) ?? 0;
  }

  snapshot(): Record<string, number> {
    return Object.fromEntries([...this.#values].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
