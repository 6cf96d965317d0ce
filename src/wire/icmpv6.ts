/**
 * ICMPv6 (RFC 4443): type, code, checksum (2 bytes, over a pseudo header too), then 4 bytes by type: id and sequence
 * number of an echo, MTU of a Packet Too Big, pointer of a Parameter Problem.
 */
import type { Address } from "./address.js";
import { addWords, checksum, pseudoHeader } from "./checksum.js";
import { Protocol } from "./ipv4.js";

export enum Icmpv6Type {
  Unreachable = 1,
  TooBig = 2,
  TimeExceeded = 3,
  ParameterProblem = 4,
  Echo = 128,
  EchoReply = 129,
  ListenerQuery = 130,
  ListenerReport = 131,
  ListenerDone = 132,
  RouterSolicitation = 133,
  RouterAdvertisement = 134,
  NeighbourSolicitation = 135,
  NeighbourAdvertisement = 136,
  Redirect = 137,
  ListenerReportV2 = 143,
}

/** Codes of Icmpv6Type.Unreachable. */
export enum UnreachableCodeV6 {
  NoRoute = 0,
  Prohibited = 1,
  BeyondScope = 2,
  Address = 3,
  Port = 4,
  SourcePolicy = 5,
  RejectRoute = 6,
}

/** Codes of Icmpv6Type.ParameterProblem; the last is RFC 7112's. */
export enum ParameterCode {
  HeaderField = 0,
  NextHeader = 1,
  Option = 2,
  FirstFragment = 3,
}

/** True for types about which no error may be sent (RFC 4443, 2.4 e): errors, and redirects. */
export function isIcmpv6Error(type: number): boolean {
  return type < 128 || type === Icmpv6Type.Redirect;
}

/** True for the messages of Neighbour Discovery (RFC 4861). */
export function isDiscovery(type: number): boolean {
  return type >= Icmpv6Type.RouterSolicitation && type <= Icmpv6Type.Redirect;
}

/** True for the messages of Multicast Listener Discovery (RFC 2710, RFC 3810). */
export function isListenerDiscovery(type: number): boolean {
  return (type >= Icmpv6Type.ListenerQuery && type <= Icmpv6Type.ListenerDone) || type === Icmpv6Type.ListenerReportV2;
}

/** True where the checksum over the message at [at, end) is right. */
export function icmpv6Valid(view: DataView, at: number, end: number, source: Address, destination: Address): boolean {
  return sum(view, at, end, source, destination) === 0;
}

/** Computes and stores the checksum over the message at [at, end). */
export function setIcmpv6Checksum(
  view: DataView,
  at: number,
  end: number,
  source: Address,
  destination: Address,
): void {
  view.setUint16(at + 2, 0);
  view.setUint16(at + 2, sum(view, at, end, source, destination));
}

function sum(view: DataView, at: number, end: number, source: Address, destination: Address): number {
  return checksum(addWords(view, at, end, pseudoHeader(source, destination, Protocol.Icmpv6, end - at)));
}
