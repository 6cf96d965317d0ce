/**
 * Segments that arrived before their turn, kept as copies until the gap in front of them is filled.
 *
 * Bounded three ways: bytes per flow, bytes of all flows together (`ReassemblyBudget`), and pieces per flow, so that many
 * tiny segments cost little. What does not fit is dropped, and the sandbox sends it again.
 */
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
  }
}
