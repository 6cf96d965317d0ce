/**
 * The blocks of a pcapng file (draft-ietf-opsawg-pcapng), little-endian, for Ethernet and times in nanoseconds:
 *
 *     section header · (interface description, once for each · enhanced packets)* · interface statistics
 *
 * A block is its type, its length (again at its end), and a body that is padded to 32 bits; an option is its code, its length,
 * and a padded value. An interface's number is its place among the descriptions.
 */
import { Direction } from "../link/capture.js";

enum Block {
  InterfaceDescription = 1,
  InterfaceStatistics = 5,
  EnhancedPacket = 6,
  SectionHeader = 0x0a0d0d0a,
}

const END_OF_OPTIONS = 0;

enum SectionOption {
  Application = 4,
}

enum InterfaceOption {
  Name = 2,
  TimeResolution = 9,
  Filter = 11,
}

enum PacketOption {
  Flags = 2,
}

enum StatisticsOption {
  StartTime = 2,
  EndTime = 3,
  Received = 4,
  Dropped = 5,
  Accepted = 6,
}

const BYTE_ORDER = 0x1a2b3c4d;
const LINKTYPE_ETHERNET = 1;
/** Times are in units of 10^-9 s. */
const NANOSECONDS = 9;
/** Bytes before the packet, and after it and its padding. */
const PACKET_HEADER = 28;
const PACKET_TRAILER = 16;

/** Bytes of the block of a packet of which `captured` bytes are kept. */
export function packetBlock(captured: number): number {
  return PACKET_HEADER + padded(captured) + PACKET_TRAILER;
}

/** Where a packet's bytes stand in its block. */
export const PACKET_BYTES = PACKET_HEADER;

/** The first block. `application`: who writes it. */
export function sectionHeader(application: string): Uint8Array {
  const body = new DataView(new ArrayBuffer(16));
  body.setUint32(0, BYTE_ORDER, true);
  body.setUint16(4, 1, true);
  body.setBigInt64(8, -1n, true); // the section's length: not known
  return block(Block.SectionHeader, body, [[SectionOption.Application, text(application)]]);
}

/** `snapLength`: the most bytes of a packet that are kept; 0: all. `filter`: in words; empty: none. */
export function interfaceDescription(name: string, snapLength: number, filter: string): Uint8Array {
  const body = new DataView(new ArrayBuffer(8));
  body.setUint16(0, LINKTYPE_ETHERNET, true);
  body.setUint32(4, snapLength, true);
  const options: [InterfaceOption, Uint8Array][] = [
    [InterfaceOption.Name, text(name)],
    [InterfaceOption.TimeResolution, Uint8Array.of(NANOSECONDS)],
  ];
  // The first byte says that it is a text.
  if (filter !== "") options.push([InterfaceOption.Filter, text(`\0${filter}`)]);
  return block(Block.InterfaceDescription, body, options);
}

export interface Statistics {
  /** Nanoseconds since 1970. */
  readonly start: bigint;
  readonly end: bigint;
  /** Packets that were seen, those that the filter let through, and those of the latter that were lost. */
  readonly seen: number;
  readonly accepted: number;
  readonly dropped: number;
}

export function interfaceStatistics(number: number, statistics: Statistics): Uint8Array {
  const { start, end, seen, accepted, dropped } = statistics;
  const body = new DataView(new ArrayBuffer(12));
  body.setUint32(0, number, true);
  body.setUint32(4, Number(end >> 32n), true);
  body.setUint32(8, Number(end & 0xffffffffn), true);
  return block(Block.InterfaceStatistics, body, [
    [StatisticsOption.StartTime, time(start)],
    [StatisticsOption.EndTime, time(end)],
    [StatisticsOption.Received, count(seen)],
    [StatisticsOption.Accepted, count(accepted)],
    [StatisticsOption.Dropped, count(dropped)],
  ]);
}

/**
 * Writes the block of a packet at `at`, around the `captured` bytes that stand at `at + PACKET_BYTES` already.
 * Returns the block's length, packetBlock(captured).
 * @param original bytes that the packet had
 */
export function writePacketBlock(
  view: DataView,
  at: number,
  interfaceNumber: number,
  timeHigh: number,
  timeLow: number,
  captured: number,
  original: number,
  direction: Direction,
): number {
  const length = packetBlock(captured);
  view.setUint32(at, Block.EnhancedPacket, true);
  view.setUint32(at + 4, length, true);
  view.setUint32(at + 8, interfaceNumber, true);
  view.setUint32(at + 12, timeHigh, true);
  view.setUint32(at + 16, timeLow, true);
  view.setUint32(at + 20, captured, true);
  view.setUint32(at + 24, original, true);
  for (let pad = at + PACKET_HEADER + captured; pad < at + PACKET_HEADER + padded(captured); pad++)
    view.setUint8(pad, 0);
  const options = at + PACKET_HEADER + padded(captured);
  view.setUint16(options, PacketOption.Flags, true);
  view.setUint16(options + 2, 4, true);
  view.setUint32(options + 4, direction === Direction.In ? 1 : 2, true);
  view.setUint32(options + 8, END_OF_OPTIONS, true);
  view.setUint32(options + 12, length, true);
  return length;
}

function block(type: Block, body: DataView, options: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  const size = options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4);
  const length = 12 + body.byteLength + size;
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, type, true);
  view.setUint32(4, length, true);
  bytes.set(new Uint8Array(body.buffer), 8);
  let at = 8 + body.byteLength;
  for (const [code, value] of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    bytes.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  view.setUint32(length - 4, length, true); // the end of the options before it is zeros
  return bytes;
}

function padded(length: number): number {
  return (length + 3) & ~3;
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function count(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
}

/** A time in an option: its high half first. */
function time(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, Number(value >> 32n), true);
  view.setUint32(4, Number(value & 0xffffffffn), true);
  return bytes;
}
