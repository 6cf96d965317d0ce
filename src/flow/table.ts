/**
 * One table for the flows of all protocols: from a packet's addresses and ports to a small number.
 *
 * Theory of operation. insert() gives each key an id, the smallest that was free last; a protocol keeps what it knows of a
 * flow in an array of its own at that id. A key is the protocol, the link, and the two endpoints as the sandbox sees them
 * ("inside" is the sandbox's own). Keys lie in `entries`, ten words each at their id. `index` is the hash table: open
 * addressing, linear probing, two words per place, the hash and id + 1 (0: empty). Because the hash is beside the id, a
 * probe that misses touches no entry.
 *
 * IPv4: both addresses are v4-mapped, the family is part of the first word, and so only the last word of each is hashed
 * and compared.
 *
 * Removal closes the gap by moving later entries of the run back (Knuth 6.4, algorithm R), so there are no tombstones and a
 * table that has seen a million flows is as fast as a new one. The index doubles when half full; ids stay what they were.
 *
 * Bounds. At most `limit` flows; insert() then answers -1. The hash is seeded at random, so that a sandbox cannot choose
 * ports and addresses that all fall into one run.
 */
import type { Address, Family } from "../wire/address.js";
import type { Random } from "./clock.js";

/** Words of an entry: [protocol, family and link], ports, inside address (4), outside address (4). */
const ENTRY_WORDS = 10;
const INITIAL_CAPACITY = 256;
const PROTOCOLS = 256;

export interface FlowTableOptions {
  readonly random: Random;
  /** The largest number of flows at once, 1 to 2^22. */
  readonly limit: number;
}

export class FlowTable {
  readonly limit: number;
  readonly #seed: number;
  readonly #seed2: number;
  #index: Int32Array;
  /** Places of the index, a power of two, less one. */
  #mask: number;
  #entries: Int32Array;
  /** Ids below this one have been given out at some time. */
  #used = 0;
  /** Freed ids, the last freed on top. */
  #free: Int32Array;
  #freeCount = 0;
  #size = 0;
  readonly #counts = new Int32Array(PROTOCOLS);

  constructor(options: FlowTableOptions) {
    this.limit = options.limit;
    this.#seed = options.random.uint32() | 0;
    this.#seed2 = options.random.uint32() | 1;
    this.#index = new Int32Array(INITIAL_CAPACITY * 2);
    this.#mask = INITIAL_CAPACITY - 1;
    this.#entries = new Int32Array((INITIAL_CAPACITY / 2) * ENTRY_WORDS);
    this.#free = new Int32Array(INITIAL_CAPACITY / 2);
  }

  /** Flows of all protocols. */
  get size(): number {
    return this.#size;
  }

  /** Flows of one IP protocol number. */
  count(protocol: number): number {
    return this.#counts[protocol & 0xff];
  }

  /**
   * The id of a flow, or -1.
   * @param protocol IP protocol number, 0 to 255
   * @param link link number, 0 to 65535
   */
  find(
    protocol: number,
    link: number,
    family: Family,
    inside: Address,
    insidePort: number,
    outside: Address,
    outsidePort: number,
  ): number {
    const head = headWord(protocol, link, family);
    const ports = (insidePort << 16) | outsidePort;
    const inside3 = word(inside, 12);
    const outside3 = word(outside, 12);
    const hash =
      family === 4
        ? this.#hash4(head, ports, inside3, outside3)
        : this.#hash6(head, ports, inside, outside, inside3, outside3);
    const index = this.#index;
    const entries = this.#entries;
    const mask = this.#mask;
    for (let place = hash & mask; ; place = (place + 1) & mask) {
      const id = index[place * 2 + 1] - 1;
      if (id < 0) return -1;
      if (index[place * 2] !== hash) continue;
      const at = id * ENTRY_WORDS;
      if (
        entries[at] === head &&
        entries[at + 1] === ports &&
        entries[at + 5] === inside3 &&
        entries[at + 9] === outside3 &&
        (family === 4 || (sameStart(entries, at + 2, inside) && sameStart(entries, at + 6, outside)))
      ) {
        return id;
      }
    }
  }

  /** Adds a flow that is not in the table and returns its id, or -1 when the table holds `limit` flows. */
  insert(
    protocol: number,
    link: number,
    family: Family,
    inside: Address,
    insidePort: number,
    outside: Address,
    outsidePort: number,
  ): number {
    if (this.#size >= this.limit) return -1;
    if (this.#size * 2 >= this.#mask + 1) this.#grow();
    const id = this.#freeCount > 0 ? this.#free[--this.#freeCount] : this.#used++;
    const entries = this.#entries;
    const at = id * ENTRY_WORDS;
    entries[at] = headWord(protocol, link, family);
    entries[at + 1] = (insidePort << 16) | outsidePort;
    for (let i = 0; i < 4; i++) {
      entries[at + 2 + i] = word(inside, i * 4);
      entries[at + 6 + i] = word(outside, i * 4);
    }
    this.#place(this.#hashEntry(id), id);
    this.#size++;
    this.#counts[protocol & 0xff]++;
    return id;
  }

  /** Removes a flow by the id that insert() gave; the id may be given out again. Throws a RangeError on an id that is not in use. */
  remove(id: number): void {
    const index = this.#index;
    const mask = this.#mask;
    let gap = id >= 0 && id < this.#used ? this.#hashEntry(id) & mask : -1;
    while (gap >= 0 && index[gap * 2 + 1] !== id + 1) {
      if (index[gap * 2 + 1] === 0) gap = -1;
      else gap = (gap + 1) & mask;
    }
    if (gap < 0) throw new RangeError(`no flow has the id ${id}`);
    for (let place = (gap + 1) & mask; index[place * 2 + 1] !== 0; place = (place + 1) & mask) {
      // An entry may fill the gap unless its own first place lies behind the gap, that is, cyclically in (gap, place].
      const home = index[place * 2] & mask;
      if (((place - home) & mask) < ((place - gap) & mask)) continue;
      index[gap * 2] = index[place * 2];
      index[gap * 2 + 1] = index[place * 2 + 1];
      gap = place;
    }
    index[gap * 2 + 1] = 0;
    this.#counts[this.#entries[id * ENTRY_WORDS] & 0xff]--;
    this.#free[this.#freeCount++] = id;
    this.#size--;
  }

  /** Doubles the index and the entries. */
  #grow(): void {
    const capacity = (this.#mask + 1) * 2;
    const former = this.#index;
    this.#index = new Int32Array(capacity * 2);
    this.#mask = capacity - 1;
    for (let at = 0; at < former.length; at += 2) {
      if (former[at + 1] !== 0) this.#place(former[at], former[at + 1] - 1);
    }
    this.#entries = copyInto(new Int32Array((capacity / 2) * ENTRY_WORDS), this.#entries);
    this.#free = copyInto(new Int32Array(capacity / 2), this.#free);
  }

  #place(hash: number, id: number): void {
    const index = this.#index;
    const mask = this.#mask;
    let place = hash & mask;
    while (index[place * 2 + 1] !== 0) place = (place + 1) & mask;
    index[place * 2] = hash;
    index[place * 2 + 1] = id + 1;
  }

  #hashEntry(id: number): number {
    const entries = this.#entries;
    const at = id * ENTRY_WORDS;
    let hash = mix(this.#seed, this.#seed2, entries[at], entries[at + 1]);
    if (entries[at] & V6) {
      hash = mix(hash, this.#seed2, entries[at + 2], entries[at + 3]);
      hash = mix(hash, this.#seed2, entries[at + 4], entries[at + 6]);
      hash = mix(hash, this.#seed2, entries[at + 7], entries[at + 8]);
    }
    return mix(hash, this.#seed2, entries[at + 5], entries[at + 9]);
  }

  #hash4(head: number, ports: number, inside: number, outside: number): number {
    return mix(mix(this.#seed, this.#seed2, head, ports), this.#seed2, inside, outside);
  }

  #hash6(head: number, ports: number, inside: Address, outside: Address, inside3: number, outside3: number): number {
    let hash = mix(this.#seed, this.#seed2, head, ports);
    hash = mix(hash, this.#seed2, word(inside, 0), word(inside, 4));
    hash = mix(hash, this.#seed2, word(inside, 8), word(outside, 0));
    hash = mix(hash, this.#seed2, word(outside, 4), word(outside, 8));
    return mix(hash, this.#seed2, inside3, outside3);
  }
}

/** The bit of the first word that says IPv6. */
const V6 = 0x100;

function headWord(protocol: number, link: number, family: Family): number {
  return (protocol & 0xff) | (family === 6 ? V6 : 0) | (link << 16);
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
}

function sameStart(entries: Int32Array, at: number, address: Address): boolean {
  return (
    entries[at] === word(address, 0) && entries[at + 1] === word(address, 4) && entries[at + 2] === word(address, 8)
  );
}

/** Mixes two words into a hash: two multiplications by odd numbers, one of them secret, and shifts between. */
function mix(hash: number, secret: number, a: number, b: number): number {
  let mixed = Math.imul(hash ^ a, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15) ^ b, secret);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0x85ebca6b);
  return mixed ^ (mixed >>> 16);
}

function copyInto(target: Int32Array, source: Int32Array): Int32Array {
  target.set(source);
  return target;
}
