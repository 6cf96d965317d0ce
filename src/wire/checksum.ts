/**
 * The Internet checksum (RFC 1071). Sums are plain numbers below 2^32 until they are folded, so that a pseudo header and
 * a body can be added up in any order.
 */
import { type Address, isIPv4 } from "./address.js";

/**
 * Adds the 16-bit words at [from, to) to `sum`, an odd last byte padded with zero.
 * `from` counts as the beginning of a word; at most 65,535 bytes, and `sum` at most 16 bits times a few.
 */
export function addWords(view: DataView, from: number, to: number, sum: number): number {
  let at = from;
  let total = sum;
  for (const last = to - 7; at < last; at += 8) {
    total += view.getUint16(at) + view.getUint16(at + 2) + view.getUint16(at + 4) + view.getUint16(at + 6);
  }
  for (const last = to - 1; at < last; at += 2) total += view.getUint16(at);
  if (at < to) total += view.getUint8(at) << 8;
  return total;
}

/** Folds a sum to 16 bits, not inverted: what NEEDS_CSUM wants to find in the checksum field. */
export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** The checksum of a sum: folded and inverted. 0 when the sum covered a correct checksum. */
export function checksum(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/** The sum of the pseudo header (RFC 793, RFC 8200 8.1). `length`: transport header and payload in bytes. */
export function pseudoHeader(source: Address, destination: Address, protocol: number, length: number): number {
  let sum = protocol + (length >>> 16) + (length & 0xffff);
  for (let at = isIPv4(destination) ? 12 : 0; at < 16; at += 2) {
    sum += ((source[at] << 8) | source[at + 1]) + ((destination[at] << 8) | destination[at + 1]);
  }
  return sum;
}

/** The same for two IPv4 addresses as 32-bit integers. */
export function pseudoHeaderIPv4(source: number, destination: number, protocol: number, length: number): number {
  return (
    (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff) + protocol + (length & 0xffff)
  );
}
