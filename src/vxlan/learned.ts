/**
 * Behind which remote a hardware address is: learned from the frames that come (RFC 7348, 4.1).
 *
 * An address that moves is learned anew by its next frame. One that says nothing for AGEING_MS is forgotten, when somebody asks for
 * it or room is wanted; as Linux has it. Bounds: MOST addresses; one more is not learned, so that frames for it go to all remotes.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";

export const AGEING_MS = 300_000;
export const MOST = 4096;
/** While the table is full, how often old addresses are looked for. */
const CLEANING_MS = 1000;

interface Entry {
  remote: number;
  /** When it last spoke. */
  heard: number;
}

export class Learned {
  readonly #clock: Clock;
  readonly #counters: Counters;
  readonly #entries = new Map<number, Entry>();
  #cleanedAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock, counters: Counters) {
    this.#clock = clock;
    this.#counters = counters;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** A frame from an address came from a remote. Addresses as in wire/ethernet. */
  learn(high: number, low: number, remote: number): void {
    const now = this.#clock.now();
    const key = keyOf(high, low);
    const known = this.#entries.get(key);
    if (known !== undefined) {
      if (known.remote !== remote) this.#counters.add("vxlan.moved");
      known.remote = remote;
      known.heard = now;
      return;
    }
    if (this.#entries.size >= MOST) this.#clean(now);
    if (this.#entries.size >= MOST) this.#counters.add("vxlan.not_learned");
    else this.#entries.set(key, { remote, heard: now });
  }

  /** The remote behind which an address is, or -1. */
  find(high: number, low: number): number {
    const key = keyOf(high, low);
    const known = this.#entries.get(key);
    if (known === undefined) return -1;
    if (this.#clock.now() - known.heard < AGEING_MS) return known.remote;
    this.#entries.delete(key);
    return -1;
  }

  #clean(now: number): void {
    if (now - this.#cleanedAt < CLEANING_MS) return;
    this.#cleanedAt = now;
    for (const [key, { heard }] of this.#entries) if (now - heard >= AGEING_MS) this.#entries.delete(key);
  }
}

/** 48 bits, which a number holds. */
function keyOf(high: number, low: number): number {
  return (high >>> 0) * 0x10000 + low;
}
