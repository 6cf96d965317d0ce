/**
 * Frames for tests: built and read in a plain way that shares no code with src/, so that both must agree with the RFCs.
 */
import ipaddr from "ipaddr.js";

export const OUR_MAC = [0x52, 0x55, 0x0a, 0x00, 0x02, 0x02];
export const SANDBOX_MAC = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
/** What RFC 4291, appendix A, makes of OUR_MAC. */
export const OUR_LINK_LOCAL = "fe80::5055:aff:fe00:202";
export const SANDBOX_V6 = "fd00::100";
export const BROADCAST_MAC = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

export interface Vnet {
  flags?: number;
  gso?: number;
  headers?: number;
  size?: number;
  start?: number;
  offset?: number;
}

export interface Ip {
  source?: string;
  destination?: string;
  protocol: number;
  ttl?: number;
  id?: number;
  /** Word at 6: flags and fragment offset. */
  fragment?: number;
  options?: number[];
  payload: ArrayLike<number>;
}

export interface Ipv6 {
  source?: string;
  destination?: string;
  hops?: number;
  /** Extension headers, each with what its first byte says of the next, and the type of the first of them. */
  extensions?: ArrayLike<number>;
  /** What the header names: the first extension's type, or the payload's protocol. */
  next: number;
  payload: ArrayLike<number>;
}

export function sum(bytes: ArrayLike<number>): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += bytes[i] * 256 + (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total % 65536) + Math.floor(total / 65536);
  return 0xffff - total;
}

export const u16 = (value: number): number[] => [value >>> 8, value & 0xff];
export const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];
export const ip4 = (text: string): number[] => text.split(".").map(Number);
const known6 = new Map<string, readonly number[]>();
export function ip6(text: string): readonly number[] {
  const known = known6.get(text) ?? ipaddr.parse(text).toByteArray();
  known6.set(text, known);
  return known;
}
/** Of the pseudo header (RFC 9293, 3.1; RFC 8200, 8.1). */
export const pseudoHeader = (source: string, destination: string, protocol: number, length: number): number[] =>
  destination.includes(":")
    ? [...ip6(source), ...ip6(destination), ...u32(length), 0, 0, 0, protocol]
    : [...ip4(source), ...ip4(destination), 0, protocol, ...u16(length)];

export function vnetHeader({ flags = 0, gso = 0, headers = 0, size = 0, start = 0, offset = 0 }: Vnet = {}): number[] {
  const little = (value: number) => [value & 0xff, value >>> 8];
  return [flags, gso, ...little(headers), ...little(size), ...little(start), ...little(offset), 0, 0];
}

/** A frame with its vnet header. */
export function frame(
  type: number,
  payload: ArrayLike<number>,
  to = OUR_MAC,
  from = SANDBOX_MAC,
  vnet?: Vnet,
): Uint8Array {
  const header = [...vnetHeader(vnet), ...to, ...from, ...u16(type)];
  const out = new Uint8Array(header.length + payload.length);
  out.set(header);
  out.set(payload, header.length);
  return out;
}

export function ipv4(ip: Ip): Uint8Array {
  const { source = "10.0.2.100", destination = "198.51.100.7", protocol, ttl = 64, id = 7, fragment = 0 } = ip;
  const { options = [], payload } = ip;
  const words = 5 + options.length / 4;
  const header = [0x40 + words, 0, ...u16(words * 4 + payload.length), ...u16(id), ...u16(fragment), ttl, protocol];
  header.push(0, 0, ...ip4(source), ...ip4(destination), ...options);
  header.splice(10, 2, ...u16(sum(header)));
  const out = new Uint8Array(header.length + payload.length);
  out.set(header);
  out.set(payload, header.length);
  return out;
}

export function ipv6(ip: Ipv6): Uint8Array {
  const { source = SANDBOX_V6, destination = "2001:db8::7", hops = 64, extensions = [], next, payload } = ip;
  const length = extensions.length + payload.length;
  const header = [0x60, 0, 0, 0, ...u16(length), next, hops, ...ip6(source), ...ip6(destination)];
  const out = new Uint8Array(40 + length);
  out.set(header);
  out.set(extensions, 40);
  out.set(payload, 40 + extensions.length);
  return out;
}

/** An ICMPv6 message with its checksum; `body` follows the checksum. */
export function icmp6(
  type: number,
  code: number,
  body: ArrayLike<number>,
  source = SANDBOX_V6,
  destination = "2001:db8::7",
): Uint8Array {
  const out = Uint8Array.from([type, code, 0, 0, ...Array.from(body)]);
  out.set(u16(sum([...pseudoHeader(source, destination, 58, out.length), ...out])), 2);
  return out;
}

export function echo6(
  type: number,
  id: number,
  sequence: number,
  payload: ArrayLike<number>,
  source = SANDBOX_V6,
  destination = "2001:db8::7",
): Uint8Array {
  return icmp6(type, 0, [...u16(id), ...u16(sequence), ...Array.from(payload)], source, destination);
}

/** A UDP datagram with its checksum. */
export function udp(
  sourcePort: number,
  destinationPort: number,
  payload: ArrayLike<number>,
  source = "10.0.2.100",
  destination = "198.51.100.7",
): Uint8Array {
  const length = 8 + payload.length;
  const out = new Uint8Array(length);
  out.set([...u16(sourcePort), ...u16(destinationPort), ...u16(length), 0, 0]);
  out.set(payload, 8);
  const pseudo = pseudoHeader(source, destination, 17, length);
  const covered = new Uint8Array(pseudo.length + length);
  covered.set(pseudo);
  covered.set(out, pseudo.length);
  out.set(u16(sum(covered) || 0xffff), 6);
  return out;
}

export function echo(type: number, id: number, sequence: number, payload: ArrayLike<number>): Uint8Array {
  const out = new Uint8Array(8 + payload.length);
  out.set([type, 0, 0, 0, ...u16(id), ...u16(sequence)]);
  out.set(payload, 8);
  out.set(u16(sum(out)), 2);
  return out;
}

export interface Parsed {
  vnet: { flags: number; gso: number; headers: number; size: number; start: number; offset: number };
  to: string;
  from: string;
  type: number;
  /** Of IP only, as are the next six. */
  source: string;
  destination: string;
  protocol: number;
  id: number;
  /** TTL or hop limit. */
  ttl: number;
  /** The word with flags and offset, of an IPv6 fragment header too. */
  fragment: number;
  headerValid: boolean;
  /** What follows the IP header (and fragment header), or Ethernet's where it is not IP. */
  payload: Uint8Array;
  ip: Uint8Array;
}

const hex = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
const dotted = (bytes: Uint8Array) => Array.from(bytes).join(".");

export function parse(bytes: Uint8Array): Parsed {
  const word = (at: number) => bytes[at] * 256 + bytes[at + 1];
  const little = (at: number) => bytes[at] + bytes[at + 1] * 256;
  const vnet = {
    flags: bytes[0],
    gso: bytes[1],
    headers: little(2),
    size: little(4),
    start: little(6),
    offset: little(8),
  };
  const type = word(24);
  if (type === 0x86dd) return parseV6(bytes, vnet);
  const isIp = type === 0x0800;
  const header = isIp ? (bytes[26] & 15) * 4 : 0;
  return {
    vnet,
    to: hex(bytes.subarray(12, 18)),
    from: hex(bytes.subarray(18, 24)),
    type,
    source: isIp ? dotted(bytes.subarray(38, 42)) : "",
    destination: isIp ? dotted(bytes.subarray(42, 46)) : "",
    protocol: isIp ? bytes[35] : 0,
    id: isIp ? word(30) : 0,
    ttl: isIp ? bytes[34] : 0,
    fragment: isIp ? word(32) : 0,
    headerValid: isIp && sum(bytes.subarray(26, 26 + header)) === 0 && word(28) === bytes.length - 26,
    payload: bytes.subarray(26 + header),
    ip: bytes.subarray(26),
  };
}

function parseV6(bytes: Uint8Array, vnet: Parsed["vnet"]): Parsed {
  const word = (at: number) => bytes[at] * 256 + bytes[at + 1];
  const text = (at: number) => ipaddr.fromByteArray(Array.from(bytes.subarray(at, at + 16))).toString();
  const isFragment = bytes[32] === 44;
  return {
    vnet,
    to: hex(bytes.subarray(12, 18)),
    from: hex(bytes.subarray(18, 24)),
    type: 0x86dd,
    source: text(34),
    destination: text(50),
    protocol: isFragment ? bytes[66] : bytes[32],
    id: isFragment ? word(70) * 65536 + word(72) : 0,
    ttl: bytes[33],
    fragment: isFragment ? word(68) : 0,
    headerValid: word(26) === 0x6000 && word(28) === 0 && word(30) === bytes.length - 66,
    payload: bytes.subarray(isFragment ? 74 : 66),
    ip: bytes.subarray(26),
  };
}

/** The pseudo header's sum as NEEDS_CSUM wants it in the checksum field. */
export function partialChecksum(parsed: Parsed): number {
  return 0xffff - sum(pseudoHeader(parsed.source, parsed.destination, parsed.protocol, parsed.payload.length));
}

/** True where a complete UDP checksum is right. */
export function udpChecksumValid(source: string, destination: string, datagram: Uint8Array): boolean {
  return sum([...pseudoHeader(source, destination, 17, datagram.length), ...datagram]) === 0;
}

/** The same for a complete ICMPv6 message. */
export function icmp6ChecksumValid(source: string, destination: string, message: Uint8Array): boolean {
  return sum([...pseudoHeader(source, destination, 58, message.length), ...message]) === 0;
}
