/**
 * NETLINK_SOCK_DIAG, as far as it tells which TCP sockets listen: sock_diag(7) and netlink(7), linux/inet_diag.h.
 *
 *     request   nlmsghdr (16)  inet_diag_req_v2 (56)
 *     answer    any number of messages, each at a multiple of 4: nlmsghdr, then
 *                 SOCK_DIAG_BY_FAMILY   inet_diag_msg (72), attributes
 *                 NLMSG_DONE            the end of the answer
 *                 NLMSG_ERROR           -errno (4): there is no answer
 *
 * Numbers are in the byte order of the machine, ports and addresses in that of the network. The socket's part of both,
 * inet_diag_sockid, begins with its own port (2), the peer's (2), its own address (16, of which IPv4 has the first 4).
 */
import { endianness } from "node:os";
import { type Address, type Family, parseAddress } from "./address.js";

const HEADER = 16;
const REQUEST = HEADER + 56;
const ANSWER = HEADER + 72;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const SOCK_DIAG_BY_FAMILY = 20;
const NLM_F_REQUEST = 0x1;
const NLM_F_DUMP = 0x300;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const TCP_LISTEN = 10;

const LITTLE = endianness() === "LE";
const MAPPED = parseAddress("0.0.0.0");

/** Where a socket listens. */
export interface ListeningSocket {
  readonly address: Address;
  /** 1 to 65535. */
  readonly port: number;
}

/** Asks for all TCP sockets of a family that listen. `sequence` comes back in every message of the answer. */
export function listenersRequest(family: Family, sequence: number): Uint8Array {
  const bytes = new Uint8Array(REQUEST);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, REQUEST, LITTLE);
  view.setUint16(4, SOCK_DIAG_BY_FAMILY, LITTLE);
  view.setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, LITTLE);
  view.setUint32(8, sequence, LITTLE);
  bytes[HEADER] = family === 4 ? AF_INET : AF_INET6;
  bytes[HEADER + 1] = IPPROTO_TCP;
  view.setUint32(HEADER + 4, 1 << TCP_LISTEN, LITTLE);
  return bytes;
}

/**
 * Takes what one packet of an answer tells, and gives each socket to `found`. What belongs to another request is passed over.
 * `done`: it was the last one; `failed`: there is no (whole) answer, or this is none.
 */
export function readListeners(
  bytes: Uint8Array,
  sequence: number,
  found: (socket: ListeningSocket) => void,
): "more" | "done" | "failed" {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (bytes.length - at >= HEADER) {
    const length = view.getUint32(at, LITTLE);
    if (length < HEADER || length > bytes.length - at) return "failed";
    if (view.getUint32(at + 8, LITTLE) === sequence) {
      const type = view.getUint16(at + 4, LITTLE);
      if (type === NLMSG_DONE) return "done";
      if (type === NLMSG_ERROR) return "failed";
      if (type === SOCK_DIAG_BY_FAMILY) {
        const socket = length < ANSWER ? null : listener(bytes, at + HEADER);
        if (socket === null) return "failed";
        found(socket);
      }
    }
    at += (length + 3) & ~3;
  }
  return at < bytes.length ? "failed" : "more";
}

/** The socket of an inet_diag_msg; null: none that listens on TCP. */
function listener(bytes: Uint8Array, at: number): ListeningSocket | null {
  const port = (bytes[at + 4] << 8) | bytes[at + 5];
  if (bytes[at + 1] !== TCP_LISTEN || port === 0) return null;
  if (bytes[at] === AF_INET6) return { address: bytes.slice(at + 8, at + 24), port };
  if (bytes[at] !== AF_INET) return null;
  const address = MAPPED.slice();
  address.set(bytes.subarray(at + 8, at + 12), 12);
  return { address, port };
}
