/**
 * Segments that arrived before their turn, kept as copies until the gap in front of them is filled.
 *
 * Bounded three ways: bytes per flow, bytes of all flows together (`ReassemblyBudget`), and pieces per flow, so that many
 * tiny segments cost little. What does not fit is dropped, and the sandbox sends it again. What is kept is never given up, so that
 * it may be acknowledged selectively (RFC 2018).
 */
import { MAX_BLOCKS } from "./segment.js";
import { after, distance } from "./sequence.js";

/** Bytes that all flows together may keep. */
export class ReassemblyBudget {
  readonly limit: number;
  used = 0;

  constructor(limit: number) {
    this.limit = limit;
  }
}

interface Piece {
  readonly seq: number;
  readonly bytes: Uint8Array;
}

const MAX_PIECES = 128;

export class Reassembly {
  readonly #budget: ReassemblyBudget;
  readonly #limit: number;
  /** In the order of their first byte. */
  readonly #pieces: Piece[] = [];
  #bytes = 0;
  /** The first byte of the last pieces that came, the latest first. */
  readonly #latest = new Int32Array(MAX_BLOCKS + 1);
  #latestCount = 0;

  constructor(budget: ReassemblyBudget, limit: number) {
    this.#budget = budget;
    this.#limit = limit;
  }

  /** Bytes that are kept. */
  get size(): number {
    return this.#bytes;
  }

  /** Keeps a copy of `bytes`, which begin at `seq`. False if there is no room for it. */
  keep(seq: number, bytes: Uint8Array): boolean {
    const kept = this.#add(seq, bytes);
    if (kept) this.#note(seq);
    return kept;
  }

  /**
   * Fills `edges` with the ranges that a selective acknowledgement names, and returns their number: that of the latest piece
   * first, then those of the pieces before it (RFC 2018, 4). `next`: the sequence number that is waited for.
   */
  blocks(edges: Int32Array, next: number): number {
    const latest = this.#latest;
    let count = 0;
    for (let i = 0; i < this.#latestCount && count < MAX_BLOCKS; i++) {
      if (this.#range(latest[i], edges, count) && after(edges[2 * count], next)) count++;
    }
    // One entry for each range: the next piece shall not push out others than the oldest.
    for (let i = 0; i < count; i++) latest[i] = edges[2 * i];
    this.#latestCount = count;
    return count;
  }

  /** Writes the range around `seq` as the block of this index. False where one before it is the same, or `seq` is not kept any more. */
  #range(seq: number, edges: Int32Array, index: number): boolean {
    let start = 0;
    let end = 0;
    let found = false;
    for (const piece of this.#pieces) {
      const behind = (piece.seq + piece.bytes.length) | 0;
      if (start !== end && !after(piece.seq, end)) {
        if (after(behind, end)) end = behind;
      } else if (found) {
        break;
      } else {
        start = piece.seq;
        end = behind;
      }
      found ||= !after(start, seq) && after(end, seq);
    }
    if (!found) return false;
    for (let i = 0; i < index; i++) if (edges[2 * i] === start) return false;
    edges[2 * index] = start;
    edges[2 * index + 1] = end;
    return true;
  }

  #note(seq: number): void {
    const latest = this.#latest;
    latest.copyWithin(1, 0);
    latest[0] = seq;
    this.#latestCount = Math.min(this.#latestCount + 1, latest.length);
  }

  #add(seq: number, bytes: Uint8Array): boolean {
    let at = this.#pieces.length;
    while (at > 0 && after(this.#pieces[at - 1].seq, seq)) at--;
    for (const piece of this.#pieces) {
      const start = distance(piece.seq, seq);
      if (start >= 0 && start + bytes.length <= piece.bytes.length) return true;
    }
    if (this.#pieces.length >= MAX_PIECES || this.#bytes + bytes.length > this.#limit) return false;
    if (this.#budget.used + bytes.length > this.#budget.limit) return false;
    this.#pieces.splice(at, 0, { seq, bytes: bytes.slice() });
    this.#bytes += bytes.length;
    this.#budget.used += bytes.length;
    return true;
  }

  /** The bytes that follow in the stream at `seq`, or null. Pieces that lie before it are forgotten. They stay until taken(). */
  next(seq: number): Uint8Array | null {
    for (let first = this.#pieces[0]; first !== undefined; first = this.#pieces[0]) {
      if (after(first.seq, seq)) return null;
      const old = distance(first.seq, seq);
      if (old < first.bytes.length) return first.bytes.subarray(old);
      this.taken();
    }
    return null;
  }

  /** Forgets the first piece. */
  taken(): void {
    const first = this.#pieces.shift();
    if (first === undefined) return;
    this.#bytes -= first.bytes.length;
    this.#budget.used -= first.bytes.length;
  }

  clear(): void {
    while (this.#pieces.length > 0) this.taken();
    this.#latestCount = 0;
  }
}
