/**
 * The IPv4 header (RFC 791):
 *
 *     0  version 4, words of header    6  flags (3 bits), fragment offset    10  header checksum
 *     2  total length                  8  TTL                                12  source
 *     4  identification                9  protocol                           16  destination
 */
import { type Address, isIPv4 } from "./address.js";

/** A header without options; what the stack writes. */
export const IPV4_HEADER = 20;
/** The longest packet, header included. */
export const IPV4_MAX = 65535;

export enum Protocol {
  Icmp = 1,
  Tcp = 6,
  Udp = 17,
  Icmpv6 = 58,
}

/** Bits of the word at 6. */
export const DONT_FRAGMENT = 0x4000;
export const MORE_FRAGMENTS = 0x2000;
/** In units of 8 bytes. */
export const FRAGMENT_OFFSET = 0x1fff;

export const ipVersion = (view: DataView, at: number): number => view.getUint8(at) >>> 4;
/** Bytes of the header with its options, as the packet says: 0 to 60. */
export const ipv4HeaderLength = (view: DataView, at: number): number => (view.getUint8(at) & 15) << 2;
export const ipv4TotalLength = (view: DataView, at: number): number => view.getUint16(at + 2);
export const ipv4Id = (view: DataView, at: number): number => view.getUint16(at + 4);
export const ipv4Fragment = (view: DataView, at: number): number => view.getUint16(at + 6);
export const ipv4Ttl = (view: DataView, at: number): number => view.getUint8(at + 8);
export const ipv4Protocol = (view: DataView, at: number): number => view.getUint8(at + 9);
/** Addresses as 32-bit integers, for comparisons. */
export const ipv4Source = (view: DataView, at: number): number => view.getInt32(at + 12);
export const ipv4Destination = (view: DataView, at: number): number => view.getInt32(at + 16);

/** An IPv4 address in its 16-byte form as a 32-bit integer. */
export function ipv4Word(address: Address, at = 0): number {
  return (address[at + 12] << 24) | (address[at + 13] << 16) | (address[at + 14] << 8) | address[at + 15];
}

/** Writes the 16-byte form of a 32-bit address. */
export function setIpv4Address(out: Address, word: number): void {
  for (let i = 0; i < 10; i++) out[i] = 0;
  out[10] = 0xff;
  out[11] = 0xff;
  out[12] = word >>> 24;
  out[13] = (word >>> 16) & 0xff;
  out[14] = (word >>> 8) & 0xff;
  out[15] = word & 0xff;
}

/** The 16-byte form of a 32-bit address. */
export function ipv4Address(word: number): Address {
  const out = new Uint8Array(16);
  setIpv4Address(out, word);
  return out;
}

/** The network mask of a prefix of 0 to 32 bits. */
export function prefixMask(prefix: number): number {
  return prefix === 0 ? 0 : (-1 << (32 - prefix)) | 0;
}

/** 224.0.0.0/4. */
export function isMulticastWord(word: number): boolean {
  return word >>> 28 === 14;
}

/** True where an address may be the source of a packet: not 0.0.0.0/8, 127.0.0.0/8, multicast, 240.0.0.0/4 or broadcast. */
export function isUnicastWord(word: number): boolean {
  const first = word >>> 24;
  return first !== 0 && first !== 127 && first < 224;
}

/** True for an IPv4 address that an ICMP error may be sent to and about. */
export function isUnicastIPv4(address: Address): boolean {
  return isIPv4(address) && isUnicastWord(ipv4Word(address));
}

/**
 * Writes a header without options, checksum included.
 * @param fragment flags and offset, the word at 6
 */
export function writeIPv4(
  view: DataView,
  at: number,
  totalLength: number,
  id: number,
  fragment: number,
  ttl: number,
  protocol: number,
  source: number,
  destination: number,
): void {
  view.setUint16(at, 0x4500);
  view.setUint16(at + 2, totalLength);
  view.setUint16(at + 4, id);
  view.setUint16(at + 6, fragment);
  view.setUint16(at + 8, (ttl << 8) | protocol);
  view.setInt32(at + 12, source);
  view.setInt32(at + 16, destination);
  let sum = 0x4500 + totalLength + id + fragment + ((ttl << 8) | protocol);
  sum += (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(at + 10, ~sum & 0xffff);
}
