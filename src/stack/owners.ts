/**
 * Who owns which address of a segment: a table from 128 bits to a small number.
 *
 * Theory of operation. Open addressing with linear probing, five words per place: the address, and its owner + 1 (0: empty).
 * Hardware addresses and IPv4 addresses are held as words of the same shape (stack/guard.ts). Removal closes the gap by moving
 * later entries of the run back (Knuth 6.4, algorithm R). The table doubles when half full. Nothing is allocated by a look-up.
 *
 * Bounds: what its user puts in.
 */
import type { Random } from "../flow/clock.js";

export const NOBODY = -1;

const STRIDE = 5;
const OWNER = 4;
const INITIAL_CAPACITY = 64;

export class Owners {
  readonly #seed: number;
  #table = new Int32Array(INITIAL_CAPACITY * STRIDE);
  #mask = INITIAL_CAPACITY - 1;
  #size = 0;

  constructor(random: Random) {
    this.#seed = random.uint32() | 0;
  }

  get size(): number {
    return this.#size;
  }

  /** The owner of an address, or NOBODY. */
  find(a: number, b: number, c: number, d: number): number {
    const table = this.#table;
    for (let place = this.#home(a, b, c, d); ; place = (place + 1) & this.#mask) {
      const at = place * STRIDE;
      if (table[at + OWNER] === 0) return NOBODY;
      if (table[at + 3] === d && table[at + 2] === c && table[at + 1] === b && table[at] === a)
        return table[at + OWNER] - 1;
    }
  }

  /** Gives an address to an owner (0 or more), whoever had it before. */
  put(a: number, b: number, c: number, d: number, owner: number): void {
    if ((this.#size + 1) * 2 > this.#mask + 1) this.#grow();
    const table = this.#table;
    for (let place = this.#home(a, b, c, d); ; place = (place + 1) & this.#mask) {
      const at = place * STRIDE;
      const isEmpty = table[at + OWNER] === 0;
      if (!isEmpty && !(table[at] === a && table[at + 1] === b && table[at + 2] === c && table[at + 3] === d)) continue;
      table[at] = a;
      table[at + 1] = b;
      table[at + 2] = c;
      table[at + 3] = d;
      table[at + OWNER] = owner + 1;
      if (isEmpty) this.#size++;
      return;
    }
  }

  /** Takes an address from an owner; where it is another's, it stays so. */
  remove(a: number, b: number, c: number, d: number, owner: number): void {
    const table = this.#table;
    const mask = this.#mask;
    let gap = this.#home(a, b, c, d);
    for (; ; gap = (gap + 1) & mask) {
      const at = gap * STRIDE;
      if (table[at + OWNER] === 0) return;
      if (table[at] === a && table[at + 1] === b && table[at + 2] === c && table[at + 3] === d) break;
    }
    if (table[gap * STRIDE + OWNER] !== owner + 1) return;
    for (let place = (gap + 1) & mask; table[place * STRIDE + OWNER] !== 0; place = (place + 1) & mask) {
      const at = place * STRIDE;
      const home = this.#home(table[at], table[at + 1], table[at + 2], table[at + 3]);
      // An entry may fill the gap unless its own first place lies behind the gap, that is, cyclically in (gap, place].
      if (((place - home) & mask) < ((place - gap) & mask)) continue;
      table.copyWithin(gap * STRIDE, at, at + STRIDE);
      gap = place;
    }
    table[gap * STRIDE + OWNER] = 0;
    this.#size--;
  }

  #grow(): void {
    const former = this.#table;
    this.#mask = this.#mask * 2 + 1;
    this.#table = new Int32Array((this.#mask + 1) * STRIDE);
    this.#size = 0;
    for (let at = 0; at < former.length; at += STRIDE) {
      if (former[at + OWNER] === 0) continue;
      this.put(former[at], former[at + 1], former[at + 2], former[at + 3], former[at + OWNER] - 1);
    }
  }

  /** The place where an address is looked for first. */
  #home(a: number, b: number, c: number, d: number): number {
    let mixed = Math.imul(this.#seed ^ a, 0x9e3779b1) ^ b;
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b) ^ c;
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35) ^ d;
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x27d4eb2f);
    return (mixed ^ (mixed >>> 15)) & this.#mask;
  }
}
