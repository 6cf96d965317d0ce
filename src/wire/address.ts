/**
 * Addresses and endpoints as bytes.
 *
 * An address is 16 bytes for both families; an IPv4 address is held in its v4-mapped form ::ffff:a.b.c.d (RFC 4291,
 * 2.5.5.2), so that keys, tables and comparisons know one shape only. An endpoint is 24 bytes:
 *
 *     0  family: 4, 6, or 0 for none      4  scope id (uint32, little-endian)
 *     2  port (uint16, big-endian)        8  address (16 bytes)
 */
import { parseUnusualAddress } from "./unusual-address.js";

export type Address = Uint8Array;
export const ADDRESS_LENGTH = 16;
export type Endpoint = Uint8Array;
export const ENDPOINT_LENGTH = 24;
export type Family = 4 | 6;

/** Parses dotted IPv4 or any IPv6 text. Throws a RangeError on anything else. */
export function parseAddress(text: string): Address {
  const address = parsePlainIPv4(text) ?? parsePlainIPv6(text) ?? parseUnusualAddress(text);
  if (address === null) throw new RangeError(`not an IP address: ${text}`);
  return address;
}

/** `10.0.2.3`. */
function parsePlainIPv4(text: string): Address | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const address = new Uint8Array(ADDRESS_LENGTH);
  address[10] = address[11] = 0xff;
  for (let i = 0; i < 4; i++) {
    const value = Number(parts[i]);
    if (String(value) !== parts[i] || !(value >= 0 && value <= 255) || !Number.isInteger(value)) return null;
    address[12 + i] = value;
  }
  return address;
}

/** `fd00::2`: up to eight groups of one to four hexadecimal digits, and `::` once where they are fewer. */
function parsePlainIPv6(text: string): Address | null {
  const halves = text.split("::");
  const [front, back] = halves.map((half) => (half === "" ? [] : half.split(":")));
  const given = front.length + (back?.length ?? 0);
  if (halves.length > 2 || (back === undefined ? given !== 8 : given > 7)) return null;
  const groups = back === undefined ? front : [...front, ...Array<string>(8 - given).fill("0"), ...back];
  const address = new Uint8Array(ADDRESS_LENGTH);
  for (let i = 0; i < 8; i++) {
    const group = groups[i];
    const value = Number(`0x${group}`);
    // Number() would take spaces, too.
    if (group.length > 4 || value.toString(16).padStart(group.length, "0") !== group.toLowerCase()) return null;
    address[2 * i] = value >>> 8;
    address[2 * i + 1] = value & 0xff;
  }
  return address;
}

export function formatAddress(address: Address, at = 0): string {
  if (isIPv4(address, at)) return `${address[at + 12]}.${address[at + 13]}.${address[at + 14]}.${address[at + 15]}`;
  return formatIPv6(address, at);
}

/** RFC 5952: in place of the first of the longest runs of two or more zero groups stands `::`. */
function formatIPv6(address: Address, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => (address[at + 2 * i] << 8) | address[at + 2 * i + 1]);
  let from = 0;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) [from, length] = [i, end - i];
  }
  const text = groups.map((group) => group.toString(16));
  if (length < 2) return text.join(":");
  return `${text.slice(0, from).join(":")}::${text.slice(from + length).join(":")}`;
}

export function isIPv4(address: Address, at = 0): boolean {
  for (let i = 0; i < 10; i++) if (address[at + i] !== 0) return false;
  return address[at + 10] === 0xff && address[at + 11] === 0xff;
}

export function familyOf(address: Address, at = 0): Family {
  return isIPv4(address, at) ? 4 : 6;
}

export function equalAddress(a: Address, b: Address, aAt = 0, bAt = 0): boolean {
  for (let i = 0; i < 16; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}

/** A new endpoint of an address and a port (0 to 65535). */
export function endpoint(address: Address, port: number): Endpoint {
  const out = new Uint8Array(ENDPOINT_LENGTH);
  writeEndpoint(out, 0, address, port);
  return out;
}

export function writeEndpoint(out: Uint8Array, at: number, address: Address, port: number): void {
  out[at] = familyOf(address);
  out[at + 1] = 0;
  out[at + 2] = port >>> 8;
  out[at + 3] = port & 0xff;
  out.fill(0, at + 4, at + 8);
  out.set(address.length === 16 ? address : address.subarray(0, 16), at + 8);
}

/** Makes the endpoint at `at` none (family 0). */
export function clearEndpoint(out: Uint8Array, at: number): void {
  out.fill(0, at, at + ENDPOINT_LENGTH);
}

export function endpointFamily(record: Uint8Array, at = 0): 0 | Family {
  return record[at] as 0 | Family;
}

export function endpointPort(record: Uint8Array, at = 0): number {
  return (record[at + 2] << 8) | record[at + 3];
}

/** A copy of the endpoint's address. */
export function endpointAddress(record: Uint8Array, at = 0): Address {
  return record.slice(at + 8, at + 24);
}

/** `10.0.0.1:80` or `[::1]:80`. */
export function formatEndpoint(record: Uint8Array, at = 0): string {
  const address = formatAddress(record, at + 8);
  return record[at] === 6 ? `[${address}]:${endpointPort(record, at)}` : `${address}:${endpointPort(record, at)}`;
}
