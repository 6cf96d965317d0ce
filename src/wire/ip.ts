/** What both families' headers have in common, for packets that are written rarely; see wire/ipv4 and wire/ipv6. */
import { type Address, isIPv4 } from "./address.js";
import { IPV4_HEADER, ipv4Word, writeIPv4 } from "./ipv4.js";
import { IPV6_HEADER, writeIPv6 } from "./ipv6.js";

/** Bytes of a header without options towards an address. */
export function ipHeader(destination: Address): number {
  return isIPv4(destination) ? IPV4_HEADER : IPV6_HEADER;
}

/** Writes a header without options or extension headers. `payload`: bytes that follow it. */
export function writeIp(
  view: DataView,
  at: number,
  payload: number,
  protocol: number,
  hops: number,
  source: Address,
  destination: Address,
): void {
  if (isIPv4(destination)) {
    writeIPv4(view, at, IPV4_HEADER + payload, 0, 0, hops, protocol, ipv4Word(source), ipv4Word(destination));
  } else writeIPv6(view, at, payload, protocol, hops, source, destination);
}
