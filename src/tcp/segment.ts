/**
 * The TCP header (RFC 9293, 3.1) and the options that we use: maximum segment size, window scale (RFC 7323), and selective
 * acknowledgement (RFC 2018). Every other option is passed over by its length (docs/decisions/tcp-options.md); one with a wrong
 * length ends the reading of options, not the segment. The flags of ECN are not read, and never set.
 */
import { addWords, checksum, pseudoHeader } from "../wire/checksum.js";
import type { Packet } from "../wire/packet.js";

export const PROTOCOL_TCP = 6;
/** Bytes of a header without options. */
export const HEADER = 20;
/** Bytes of a header with the options of our SYN: MSS (4), two no-operations and "SACK permitted" (4), no-operation and window scale (4). */
export const SYN_HEADER = 32;
/** The most blocks that fit the options of a segment, and bytes of a header with so many. */
export const MAX_BLOCKS = 4;
export const sackHeader = (blocks: number): number => HEADER + 4 + 8 * blocks;

/** Where the flags stand in the header. */
export const FLAGS = 13;

export enum Flag {
  Fin = 0x01,
  Syn = 0x02,
  Rst = 0x04,
  Psh = 0x08,
  Ack = 0x10,
}

enum OptionKind {
  End = 0,
  NoOperation = 1,
  MaximumSegmentSize = 2,
  WindowScale = 3,
  SackPermitted = 4,
  Sack = 5,
}
/** Options as they stand in our headers: kinds and lengths, aligned by no-operations. */
const NOTHING = 0x01010101;
const OFFER_SACK = 0x01010402;
const OFFER_SCALE = 0x01030300;
const SACK = 0x01010500;

/** The largest shift that RFC 7323, 2.3, permits. */
const LARGEST_SCALE = 14;
/** Smaller offers are raised to this: segments of a few bytes would only serve to make us work. */
const SMALLEST_MSS = 64;

export enum Malformed {
  No = 0,
  Length = 1,
  Checksum = 2,
  Port = 3,
}

/** What one segment says. One object per stack, filled again for each segment. */
export class Segment {
  sourcePort = 0;
  destinationPort = 0;
  seq = 0;
  ack = 0;
  flags = 0;
  /** As it stands in the header, not scaled. */
  window = 0;
  /** Where the options begin, and the payload lies, in the packet's bytes, and how long that is. */
  options = 0;
  offset = 0;
  length = 0;
  /** Of a SYN: its maximum segment size, 0 if it named none. */
  mss = 0;
  /** Of a SYN: its window scale, -1 if it offered none. */
  scale = -1;
  /** Of a SYN: it permits selective acknowledgements. */
  sack = false;

  /** Fills this from a packet whose bytes from `transport` to `end` exist. */
  read(packet: Packet): Malformed {
    const { view, transport, end } = packet;
    if (end - transport < HEADER) return Malformed.Length;
    const payload = transport + (view.getUint8(transport + 12) >>> 4) * 4;
    if (payload < transport + HEADER || payload > end) return Malformed.Length;
    if (!packet.partialChecksum && !correct(packet)) return Malformed.Checksum;
    this.sourcePort = view.getUint16(transport);
    this.destinationPort = view.getUint16(transport + 2);
    if (this.sourcePort === 0 || this.destinationPort === 0) return Malformed.Port;
    this.seq = view.getInt32(transport + 4);
    this.ack = view.getInt32(transport + 8);
    this.flags = view.getUint8(transport + FLAGS) & 0x1f;
    this.window = view.getUint16(transport + 14);
    this.options = transport + HEADER;
    this.offset = payload;
    this.length = end - payload;
    if (this.flags & Flag.Syn) this.#readOffers(view);
    return Malformed.No;
  }

  #readOffers(view: DataView): void {
    this.mss = 0;
    this.scale = -1;
    this.sack = false;
    for (let at = nextOption(view, this.options, this.offset); at >= 0; ) {
      const kind = view.getUint8(at);
      const length = view.getUint8(at + 1);
      if (kind === OptionKind.MaximumSegmentSize && length === 4)
        this.mss = Math.max(view.getUint16(at + 2), SMALLEST_MSS);
      if (kind === OptionKind.WindowScale && length === 3) this.scale = Math.min(view.getUint8(at + 2), LARGEST_SCALE);
      if (kind === OptionKind.SackPermitted && length === 2) this.sack = true;
      at = nextOption(view, at + length, this.offset);
    }
  }

  /** Where the blocks of a selective acknowledgement begin: `blockCount()` pairs of sequence numbers. -1: there is none. */
  blocks(view: DataView): number {
    for (let at = nextOption(view, this.options, this.offset); at >= 0; ) {
      const length = view.getUint8(at + 1);
      if (view.getUint8(at) === OptionKind.Sack) return length >= 10 && (length & 7) === 2 ? at + 2 : -1;
      at = nextOption(view, at + length, this.offset);
    }
    return -1;
  }
}

/** How many blocks begin at `at`, which came from blocks(). */
export function blockCount(view: DataView, at: number): number {
  return view.getUint8(at - 1) >>> 3;
}

/** The first option from `at` on whose kind and length lie before `to`, with all that it claims; -1 where there is none. */
function nextOption(view: DataView, from: number, to: number): number {
  let at = from;
  while (at < to && view.getUint8(at) === OptionKind.NoOperation) at++;
  if (at + 1 >= to || view.getUint8(at) === OptionKind.End) return -1;
  const length = view.getUint8(at + 1);
  return length < 2 || at + length > to ? -1 : at;
}

function correct(packet: Packet): boolean {
  const { view, transport, end } = packet;
  const pseudo = pseudoHeader(packet.source, packet.destination, PROTOCOL_TCP, end - transport);
  return checksum(addWords(view, transport, end, pseudo)) === 0;
}

/** Writes a header without options at `at`. The checksum is left to the layer below. */
export function writeHeader(
  view: DataView,
  at: number,
  sourcePort: number,
  destinationPort: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
): void {
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destinationPort);
  view.setInt32(at + 4, seq);
  view.setInt32(at + 8, ack);
  view.setUint16(at + 12, (HEADER << 10) | flags);
  view.setUint16(at + 14, window);
  view.setUint32(at + 16, 0);
}

/**
 * Turns a header just written at `at` into one with the options of a SYN. `scale` -1: offer no window scale; without `sack`, no
 * selective acknowledgements either (then NOPs stand there).
 */
export function writeSynOptions(view: DataView, at: number, mss: number, scale: number, sack: boolean): void {
  view.setUint8(at + 12, SYN_HEADER << 2);
  view.setUint16(at + 20, 0x0204);
  view.setUint16(at + 22, mss);
  view.setUint32(at + 24, sack ? OFFER_SACK : NOTHING);
  view.setUint32(at + 28, scale < 0 ? NOTHING : OFFER_SCALE | scale);
}

/** Turns a header just written at `at` into one that acknowledges `count` (1 to MAX_BLOCKS) blocks, pairs in `edges`. */
export function writeBlocks(view: DataView, at: number, edges: Int32Array, count: number): void {
  view.setUint8(at + 12, sackHeader(count) << 2);
  view.setUint32(at + HEADER, SACK | (2 + 8 * count));
  for (let i = 0; i < 2 * count; i++) view.setInt32(at + HEADER + 4 + 4 * i, edges[i]);
}
