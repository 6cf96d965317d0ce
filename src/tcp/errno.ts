/** What a failed connect() on the host means for the sandbox. */
import { Reject } from "../wire/reject.js";

export interface Rejection {
  /** Reject.PortUnreachable: a reset; anything else: an ICMP error. */
  readonly reason: Reject;
  readonly counter: string;
}

const ECONNREFUSED = 111;
const REFUSED: Rejection = { reason: Reject.PortUnreachable, counter: "tcp.dial_refused" };
/** The host has no socket, no port or no memory left: nothing about the destination is known. */
const EXHAUSTED: Rejection = { reason: Reject.PortUnreachable, counter: "tcp.dial_exhausted" };
const NO_ROUTE: Rejection = { reason: Reject.NoRoute, counter: "tcp.dial_no_route" };
const UNREACHABLE: Rejection = { reason: Reject.HostUnreachable, counter: "tcp.dial_unreachable" };
const PROHIBITED: Rejection = { reason: Reject.Prohibited, counter: "tcp.dial_prohibited" };
const OTHER: Rejection = { reason: Reject.PortUnreachable, counter: "tcp.dial_failed" };

const REJECTIONS: ReadonlyMap<number, Rejection> = new Map([
  [ECONNREFUSED, REFUSED],
  [1 /* EPERM */, PROHIBITED],
  [13 /* EACCES */, PROHIBITED],
  [12 /* ENOMEM */, EXHAUSTED],
  [23 /* ENFILE */, EXHAUSTED],
  [24 /* EMFILE */, EXHAUSTED],
  [98 /* EADDRINUSE */, EXHAUSTED],
  [99 /* EADDRNOTAVAIL */, EXHAUSTED],
  [105 /* ENOBUFS */, EXHAUSTED],
  [97 /* EAFNOSUPPORT */, NO_ROUTE],
  [100 /* ENETDOWN */, NO_ROUTE],
  [101 /* ENETUNREACH */, NO_ROUTE],
  [110 /* ETIMEDOUT */, UNREACHABLE],
  [112 /* EHOSTDOWN */, UNREACHABLE],
  [113 /* EHOSTUNREACH */, UNREACHABLE],
]);

/** @param errno positive, as in errno(3) of Linux */
export function rejectionOf(errno: number): Rejection {
  return REJECTIONS.get(errno) ?? OTHER;
}
