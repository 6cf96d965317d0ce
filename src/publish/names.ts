/** Addresses and names that all of publish/ speaks of. */
import { type Address, type Endpoint, formatEndpoint, isIPv4, parseAddress } from "../wire/address.js";

export const ANY_IPV4: Address = parseAddress("0.0.0.0");
export const ANY_IPV6: Address = parseAddress("::");
export const LOOPBACK_IPV4: Address = parseAddress("127.0.0.1");
export const LOOPBACK_IPV6: Address = parseAddress("::1");

/** True for 127.0.0.0/8 (also v4-mapped) and ::1: the client is on this host, and its address means nothing inside. */
export function isLoopback(address: Address): boolean {
  if (isIPv4(address)) return address[12] === 127;
  return address.every((byte, index) => byte === (index === 15 ? 1 : 0));
}

/** fe80::/10: what means something on one link only, which is not the sandbox's. */
export function isLinkLocal(address: Address): boolean {
  return address[0] === 0xfe && (address[1] & 0xc0) === 0x80;
}

/** `0.0.0.0:6000/tcp`. */
export function formatHostPort(local: Endpoint, protocol: "tcp" | "udp"): string {
  return `${formatEndpoint(local)}/${protocol}`;
}
