/** What a failed connect() on the host means for the sandbox. */
import type { Family } from "../wire/address.js";
import { IcmpType } from "../wire/icmp.js";
import { Reject, reported } from "../wire/reject.js";

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

/** What Linux makes of ICMP errors of IPv4 alone (icmp_err_convert), turned round: the kernel inside comes to the same. */
const REJECTIONS_V4: ReadonlyMap<number, Rejection> = new Map([
  [64 /* ENONET */, { reason: reported(IcmpType.Unreachable, 8), counter: UNREACHABLE.counter }],
  [71 /* EPROTO */, { reason: reported(IcmpType.ParameterProblem, 0), counter: OTHER.counter }],
  [92 /* ENOPROTOOPT */, { reason: Reject.ProtocolUnreachable, counter: OTHER.counter }],
  [95 /* EOPNOTSUPP */, { reason: reported(IcmpType.Unreachable, 5), counter: NO_ROUTE.counter }],
  [112 /* EHOSTDOWN */, { reason: reported(IcmpType.Unreachable, 7), counter: UNREACHABLE.counter }],
]);
/** The same of ICMPv6: every Parameter Problem is EPROTO. */
const REJECTIONS_V6: ReadonlyMap<number, Rejection> = new Map([
  [71 /* EPROTO */, { reason: Reject.ProtocolUnreachable, counter: OTHER.counter }],
]);

/**
 * @param errno positive, as in errno(3) of Linux
 * @param family of the sandbox's SYN
 */
export function rejectionOf(errno: number, family: Family): Rejection {
  return (family === 4 ? REJECTIONS_V4 : REJECTIONS_V6).get(errno) ?? REJECTIONS.get(errno) ?? OTHER;
}
