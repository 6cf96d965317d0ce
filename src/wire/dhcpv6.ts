/**
 * DHCPv6 messages between client and server (RFC 8415, 8): type (1 byte), transaction id (3 bytes), options. An option is
 * a code and a length (2 bytes each) and its value; an IA_NA holds IAID, T1, T2 (4 bytes each) and options of its own.
 */
import type { Address } from "./address.js";

export const DHCPV6_SERVER_PORT = 547;
export const DHCPV6_CLIENT_PORT = 546;
/** ff02::1:2, where clients look for servers. */
export const ALL_DHCP_SERVERS: Address = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2);

const HEADER = 4;
const OPTION_HEADER = 4;
/** Of what a client asks for we remember so many. */
const MOST_ASSOCIATIONS = 8;
const MOST_ADDRESSES = 8;
/** The longest DUID (RFC 8415, 11.1), with its type. */
const LONGEST_DUID = 130;

export enum Dhcpv6Type {
  Solicit = 1,
  Advertise = 2,
  Request = 3,
  Confirm = 4,
  Renew = 5,
  Rebind = 6,
  Reply = 7,
  Release = 8,
  Decline = 9,
  Reconfigure = 10,
  InformationRequest = 11,
  RelayForward = 12,
  RelayReply = 13,
}

export enum Dhcpv6Option {
  ClientId = 1,
  ServerId = 2,
  NonTemporary = 3,
  Temporary = 4,
  Address = 5,
  StatusCode = 13,
  RapidCommit = 14,
  DnsServers = 23,
  DomainList = 24,
  PrefixDelegation = 25,
}

export enum Dhcpv6Status {
  Success = 0,
  NoAddresses = 2,
  NoBinding = 3,
  NotOnLink = 4,
  NoPrefixes = 6,
}

/** An identity association: one interface of the client, for which it wants an address (or a prefix). */
export interface Association {
  readonly kind: Dhcpv6Option.NonTemporary | Dhcpv6Option.Temporary | Dhcpv6Option.PrefixDelegation;
  readonly id: number;
  /** Addresses that the client has, or wishes for. */
  readonly addresses: readonly Address[];
}

/** What a server needs of a client's message. */
export interface Dhcpv6Request {
  readonly type: number;
  readonly transaction: number;
  /** Identifiers as sent; null where there is none. */
  readonly client: Uint8Array | null;
  readonly server: Uint8Array | null;
  readonly associations: readonly Association[];
  readonly rapidCommit: boolean;
}

export type Dhcpv6OptionValue = readonly [Dhcpv6Option, Uint8Array];

/** Reads a client's message; null where it is cut short, or has an option twice that may be there once. */
export function parseDhcpv6(bytes: Uint8Array): Dhcpv6Request | null {
  if (bytes.length < HEADER) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let client: Uint8Array | null = null;
  let server: Uint8Array | null = null;
  let rapidCommit = false;
  const associations: Association[] = [];
  const valid = eachOption(view, HEADER, bytes.length, (code, from, to) => {
    switch (code) {
      case Dhcpv6Option.ClientId:
        if (client !== null || to - from > LONGEST_DUID || to === from) return false;
        client = bytes.slice(from, to);
        return true;
      case Dhcpv6Option.ServerId:
        if (server !== null || to - from > LONGEST_DUID) return false;
        server = bytes.slice(from, to);
        return true;
      case Dhcpv6Option.RapidCommit:
        rapidCommit = true;
        return true;
      case Dhcpv6Option.NonTemporary:
      case Dhcpv6Option.Temporary:
      case Dhcpv6Option.PrefixDelegation: {
        const association = readAssociation(view, bytes, code, from, to);
        if (association === null) return false;
        if (associations.length < MOST_ASSOCIATIONS) associations.push(association);
        return true;
      }
      default:
        return true;
    }
  });
  if (!valid) return null;
  return { type: bytes[0], transaction: view.getUint32(0) & 0xffffff, client, server, associations, rapidCommit };
}

function readAssociation(
  view: DataView,
  bytes: Uint8Array,
  kind: Association["kind"],
  from: number,
  to: number,
): Association | null {
  const fixed = kind === Dhcpv6Option.Temporary ? 4 : 12;
  if (to - from < fixed) return null;
  const addresses: Address[] = [];
  const valid = eachOption(view, from + fixed, to, (code, start, end) => {
    if (code !== Dhcpv6Option.Address) return true;
    if (end - start < 24) return false;
    if (addresses.length < MOST_ADDRESSES) addresses.push(bytes.slice(start, start + 16));
    return true;
  });
  return valid ? { kind, id: view.getUint32(from), addresses } : null;
}

/** Calls `take` with code and place of each option at [from, to); false where one does not fit or `take` says so. */
function eachOption(
  view: DataView,
  from: number,
  to: number,
  take: (code: number, from: number, to: number) => boolean,
): boolean {
  let at = from;
  while (at < to) {
    if (at + OPTION_HEADER > to) return false;
    const start = at + OPTION_HEADER;
    const end = start + view.getUint16(at + 2);
    if (end > to || !take(view.getUint16(at), start, end)) return false;
    at = end;
  }
  return true;
}

/** Writes a server's message. */
export function encodeDhcpv6(type: Dhcpv6Type, transaction: number, options: readonly Dhcpv6OptionValue[]): Uint8Array {
  const body = encodeOptions(options);
  const bytes = new Uint8Array(HEADER + body.length);
  new DataView(bytes.buffer).setUint32(0, ((type << 24) | transaction) >>> 0);
  bytes.set(body, HEADER);
  return bytes;
}

/** An association of an answer, with the options in it. `renew`, `rebind`: T1 and T2 in seconds; an IA_TA has none. */
export function encodeAssociation(
  { kind, id }: Association,
  renew: number,
  rebind: number,
  options: readonly Dhcpv6OptionValue[],
): Dhcpv6OptionValue {
  const times = kind === Dhcpv6Option.Temporary ? [] : [renew, rebind];
  return [kind, Uint8Array.from([...uint32(id), ...times.flatMap(uint32), ...encodeOptions(options)])];
}

/** An address with its lifetimes in seconds. */
export function encodeAddress(address: Address, preferred: number, valid: number): Dhcpv6OptionValue {
  return [Dhcpv6Option.Address, Uint8Array.from([...address, ...uint32(preferred), ...uint32(valid)])];
}

export function encodeStatus(status: Dhcpv6Status, message: string): Dhcpv6OptionValue {
  return [Dhcpv6Option.StatusCode, Uint8Array.from([0, status, ...Buffer.from(message, "latin1")])];
}

function encodeOptions(options: readonly Dhcpv6OptionValue[]): Uint8Array {
  return Uint8Array.from(
    options.flatMap(([code, value]) => [0, code, value.length >>> 8, value.length & 0xff, ...value]),
  );
}

function uint32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}
