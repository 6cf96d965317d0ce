/**
 * The TCP header (RFC 9293, 3.1) and the two options that we use: maximum segment size and window scale (RFC 7323).
 * Every other option is passed over by its length; one with a wrong length ends the reading of options, not the segment.
 */
import { addWords, checksum, pseudoHeader } from "../wire/checksum.js";
import type { Packet } from "../wire/packet.js";

export const PROTOCOL_TCP = 6;
/** Bytes of a header without options. */
export const HEADER = 20;
/** Bytes of a header with the options of our SYN: MSS (4), no-operation (1), window scale (3). */
export const SYN_HEADER = 28;

/** Where the flags stand in the header. */
export const FLAGS = 13;

export enum Flag {
  Fin = 0x01,
  Syn = 0x02,
  Rst = 0x04,
  Psh = 0x08,
  Ack = 0x10,
}

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
  /** Where the payload lies in the packet's bytes, and how long it is. */
  offset = 0;
  length = 0;
  /** Of a SYN: its maximum segment size, 0 if it named none. */
  mss = 0;
  /** Of a SYN: its window scale, -1 if it offered none. */
  scale = -1;

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
    this.offset = payload;
    this.length = end - payload;
    if (this.flags & Flag.Syn) this.#readOptions(view, transport + HEADER, payload);
    return Malformed.No;
  }

  #readOptions(view: DataView, from: number, to: number): void {
    this.mss = 0;
    this.scale = -1;
    let at = from;
    while (at < to) {
      const kind = view.getUint8(at);
      if (kind === 0) return;
      if (kind === 1) {
        at++;
        continue;
      }
      if (at + 1 >= to) return;
      const length = view.getUint8(at + 1);
      if (length < 2 || at + length > to) return;
      if (kind === 2 && length === 4) this.mss = Math.max(view.getUint16(at + 2), SMALLEST_MSS);
      if (kind === 3 && length === 3) this.scale = Math.min(view.getUint8(at + 2), LARGEST_SCALE);
      at += length;
    }
  }
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

/** Turns a header just written at `at` into one with the options of a SYN. `scale` -1: offer no window scale (then NOPs stand there). */
export function writeSynOptions(view: DataView, at: number, mss: number, scale: number): void {
  view.setUint8(at + 12, SYN_HEADER << 2);
  view.setUint16(at + 20, 0x0204);
  view.setUint16(at + 22, mss);
  view.setUint32(at + 24, scale < 0 ? 0x01010101 : 0x01030300 | scale);
}
