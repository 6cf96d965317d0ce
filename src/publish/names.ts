/** Addresses and names that all of publish/ speaks of. */
import type { PublishSpec } from "../policy/config.js";
import { type Address, formatAddress, isIPv4, parseAddress } from "../wire/address.js";

export const ANY_IPV4: Address = parseAddress("0.0.0.0");
export const LOOPBACK_IPV4: Address = parseAddress("127.0.0.1");
export const LOOPBACK_IPV6: Address = parseAddress("::1");

/** True for 127.0.0.0/8 (also v4-mapped) and ::1: the client is on this host, and its address means nothing inside. */
export function isLoopback(address: Address): boolean {
  if (isIPv4(address)) return address[12] === 127;
  return address.every((byte, index) => byte === (index === 15 ? 1 : 0));
}

/** `0.0.0.0:6000/tcp`. */
export function formatHostPort(spec: PublishSpec, port = spec.hostPort): string {
  const host = formatAddress(spec.host ?? ANY_IPV4);
  return `${host.includes(":") ? `[${host}]` : host}:${port}/${spec.protocol}`;
}
