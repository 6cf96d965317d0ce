/**
 * Messages of Neighbour Discovery (RFC 4861, 4), from the ICMPv6 type on:
 *
 *     router solicitation      4  reserved                                       8  options
 *     router advertisement     4  hop limit, flags, router lifetime (2)         16  options
 *                              8  reachable time, 12 retransmission timer
 *     neighbour solicitation   4  reserved                  8  target           24  options
 *     neighbour advertisement  4  flags                     8  target           24  options
 *
 * An option is a type, a length in units of 8 bytes, and its value.
 */
import type { Address } from "./address.js";
import { Icmpv6Type } from "./icmpv6.js";

export const SOLICITATION_OPTIONS = 24;
export const ROUTER_SOLICITATION_OPTIONS = 8;
export const NDP_TARGET = 8;
/** Bytes of a neighbour message with the one option that we send. */
export const NEIGHBOUR_MESSAGE = 32;
/** What shows that no router forwarded it (RFC 4861, 3.1). */
export const NDP_HOP_LIMIT = 255;

export enum NdpOption {
  SourceLinkLayer = 1,
  TargetLinkLayer = 2,
  Prefix = 3,
  Mtu = 5,
  DnsServers = 25,
  DnsSearch = 31,
}

/** Flags of a neighbour advertisement. */
export enum AdvertisementFlag {
  Override = 0x20000000,
  Solicited = 0x40000000,
}
/** What a router's advertisement has in their place: this one is a router. */
const ROUTER = 0x80000000;

/** True where the options at [from, to) have lengths that fit. */
export function optionsValid(view: DataView, from: number, to: number): boolean {
  let at = from;
  while (at < to) {
    if (at + 2 > to) return false;
    const length = view.getUint8(at + 1) * 8;
    if (length === 0 || at + length > to) return false;
    at += length;
  }
  return true;
}

/** First byte of the value of an option that holds a hardware address, -1 where there is none. The options are valid. */
export function linkLayerOption(view: DataView, from: number, to: number, type: NdpOption): number {
  for (let at = from; at < to; at += view.getUint8(at + 1) * 8) if (view.getUint8(at) === type) return at + 2;
  return -1;
}

/** Writes a solicitation of NEIGHBOUR_MESSAGE bytes; the checksum is left to the caller. MAC addresses as in wire/ethernet. */
export function writeNeighbourSolicitation(
  view: DataView,
  at: number,
  target: Address,
  macHigh: number,
  macLow: number,
): void {
  writeNeighbour(view, at, Icmpv6Type.NeighbourSolicitation, 0, target, NdpOption.SourceLinkLayer, macHigh, macLow);
}

/** Writes an advertisement of NEIGHBOUR_MESSAGE bytes by a router; the checksum is left to the caller. */
export function writeNeighbourAdvertisement(
  view: DataView,
  at: number,
  flags: number,
  target: Address,
  macHigh: number,
  macLow: number,
): void {
  const all = (flags | ROUTER) >>> 0;
  writeNeighbour(view, at, Icmpv6Type.NeighbourAdvertisement, all, target, NdpOption.TargetLinkLayer, macHigh, macLow);
}

/** The same by a host. */
export function writeHostAdvertisement(
  view: DataView,
  at: number,
  flags: number,
  target: Address,
  macHigh: number,
  macLow: number,
): void {
  const type = Icmpv6Type.NeighbourAdvertisement;
  writeNeighbour(view, at, type, flags, target, NdpOption.TargetLinkLayer, macHigh, macLow);
}

function writeNeighbour(
  view: DataView,
  at: number,
  type: Icmpv6Type,
  flags: number,
  target: Address,
  option: NdpOption,
  macHigh: number,
  macLow: number,
): void {
  view.setUint32(at, type << 24);
  view.setUint32(at + 4, flags);
  for (let i = 0; i < 16; i++) view.setUint8(at + NDP_TARGET + i, target[i]);
  view.setUint16(at + 24, (option << 8) | 1);
  view.setInt32(at + 26, macHigh);
  view.setUint16(at + 30, macLow);
}

export interface RouterAdvertisement {
  /** Hop limit that hosts are to use. */
  readonly hopLimit: number;
  /** Seconds for which we are a default router, 0 to 65535. */
  readonly lifetime: number;
  /** DHCPv6 has addresses, and other things (the flags M and O). */
  readonly managed: boolean;
  /** The router's hardware address, 6 bytes. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** A prefix that is on the link, its length, and whether hosts form addresses of it (RFC 4862). It lives for ever. */
  readonly prefix: Address;
  readonly prefixLength: number;
  readonly autonomous: boolean;
  /** RFC 8106; both may be empty. `search`: names as in encodeDomainSearch of wire/dhcp. They live for ever. */
  readonly dns: readonly Address[];
  readonly search: Uint8Array;
}

const FOR_EVER = [0xff, 0xff, 0xff, 0xff];

/** The bytes of a router advertisement, without its checksum. */
export function encodeRouterAdvertisement(message: RouterAdvertisement): Uint8Array {
  const { hopLimit, lifetime, managed, mac, mtu, prefix, prefixLength, autonomous, dns, search } = message;
  const bytes = [Icmpv6Type.RouterAdvertisement, 0, 0, 0, hopLimit, managed ? 0xc0 : 0, ...uint16(lifetime)];
  bytes.push(...new Array(8).fill(0));
  bytes.push(NdpOption.SourceLinkLayer, 1, ...mac);
  bytes.push(NdpOption.Mtu, 1, 0, 0, 0, 0, ...uint16(mtu));
  const onLink = 0x80;
  bytes.push(NdpOption.Prefix, 4, prefixLength, onLink | (autonomous ? 0x40 : 0), ...FOR_EVER, ...FOR_EVER);
  bytes.push(0, 0, 0, 0, ...prefix);
  if (dns.length > 0) {
    bytes.push(NdpOption.DnsServers, 1 + 2 * dns.length, 0, 0, ...FOR_EVER);
    for (const address of dns) bytes.push(...address);
  }
  if (search.length > 0) {
    const padding = -search.length & 7;
    bytes.push(NdpOption.DnsSearch, 1 + (search.length + padding) / 8, 0, 0, ...FOR_EVER);
    bytes.push(...search, ...new Array(padding).fill(0));
  }
  return Uint8Array.from(bytes);
}

function uint16(value: number): [number, number] {
  return [value >>> 8, value & 0xff];
}
