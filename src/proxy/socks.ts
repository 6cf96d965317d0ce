/**
 * SOCKS version 5 as bytes (RFC 1928): what a client says, and what it is answered.
 *
 *     client   5, n, n methods                                                     greeting, 3 to 257 bytes
 *     server   5, the method, or 255 for none of them
 *     client   5, command, 0, type, address (4: 4 bytes, 6: 16 bytes, name: length and bytes), port      up to 262 bytes
 *     server   5, reply, 0, type, address, port
 */
import { type Address, type Endpoint, endpointAddress, endpointPort, isIPv4, parseAddress } from "../wire/address.js";

const VERSION = 5;
const NO_AUTHENTICATION = 0;
const NO_METHOD = 0xff;
const TYPE_IPV4 = 1;
const TYPE_NAME = 3;
const TYPE_IPV6 = 4;
/** The longest greeting and the longest request together. */
export const LONGEST = 257 + 262;

export const CONNECT = 1;

export enum Reply {
  Succeeded = 0,
  Failed = 1,
  NotAllowed = 2,
  NetworkUnreachable = 3,
  HostUnreachable = 4,
  Refused = 5,
  CommandNotSupported = 7,
  AddressNotSupported = 8,
}

/** The first byte is the version: this is none that we speak. */
export const NOT_SOCKS5 = "not SOCKS 5";

export interface Greeting {
  readonly length: number;
  /** Whether the client can do without authentication. */
  readonly open: boolean;
}

/** A greeting at the start of `bytes`; null: it is not all there yet. */
export function readGreeting(bytes: Uint8Array): Greeting | null | typeof NOT_SOCKS5 {
  if (bytes.length > 0 && bytes[0] !== VERSION) return NOT_SOCKS5;
  if (bytes.length < 2 || bytes.length < 2 + bytes[1]) return null;
  const length = 2 + bytes[1];
  return { length, open: bytes.subarray(2, length).includes(NO_AUTHENTICATION) };
}

export interface SocksRequest {
  readonly length: number;
  readonly command: number;
  /** An address, also where the client wrote one out as a name; or a name in lower case, without a final dot; null: of no known type. */
  readonly destination: Address | string | null;
  readonly port: number;
}

/** A request at the start of `bytes`; null: it is not all there yet. */
export function readRequest(bytes: Uint8Array): SocksRequest | null | typeof NOT_SOCKS5 {
  if (bytes.length > 0 && bytes[0] !== VERSION) return NOT_SOCKS5;
  if (bytes.length < 5) return null;
  const [, command, , type, first] = bytes;
  const from = type === TYPE_NAME ? 5 : 4;
  let to = from;
  if (type === TYPE_IPV4) to += 4;
  else if (type === TYPE_IPV6) to += 16;
  else if (type === TYPE_NAME) to += first;
  // Nobody knows where the request ends.
  else return { length: bytes.length, command, destination: null, port: 0 };
  if (bytes.length < to + 2) return null;
  const address = bytes.subarray(from, to);
  const destination = type === TYPE_NAME ? named(address) : addressOf(address);
  return { length: to + 2, command, destination, port: (bytes[to] << 8) | bytes[to + 1] };
}

function addressOf(bytes: Uint8Array): Address {
  if (bytes.length === 16) return bytes.slice();
  return parseAddress(bytes.join("."));
}

/** Some clients send addresses as names. */
function named(bytes: Uint8Array): Address | string {
  const name = Buffer.from(bytes).toString("latin1").toLowerCase().replace(/\.$/, "");
  try {
    return parseAddress(name);
  } catch {
    return name;
  }
}

/** The answer to a greeting. */
export function method(open: boolean): Uint8Array {
  return Uint8Array.of(VERSION, open ? NO_AUTHENTICATION : NO_METHOD);
}

/** The answer to a request. `bound`: our own end of the connection to the destination; null: there is none. */
export function reply(code: Reply, bound: Endpoint | null): Uint8Array {
  if (bound === null) return Uint8Array.of(VERSION, code, 0, TYPE_IPV4, 0, 0, 0, 0, 0, 0);
  const address = endpointAddress(bound);
  const port = endpointPort(bound);
  const [type, bytes] = isIPv4(address) ? [TYPE_IPV4, address.subarray(12)] : [TYPE_IPV6, address];
  return Uint8Array.of(VERSION, code, 0, type, ...bytes, port >> 8, port & 0xff);
}
