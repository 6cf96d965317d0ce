/** What a failed datagram means to the one who sent it: from errno and the ICMP error behind it, if any, to a reason. */
import { IcmpType } from "../wire/icmp.js";
import { Reject } from "../wire/reject.js";

const EPERM = 1;
const EACCES = 13;
const EMSGSIZE = 90;
const ENOPROTOOPT = 92;
const ENETDOWN = 100;
const ENETUNREACH = 101;
const ECONNREFUSED = 111;

/**
 * @param errno errno(3), positive
 * @param type ICMP (IPv4) type and code that the error came with; type -1 where the host itself refused
 */
export function rejectReason(errno: number, type: number, code: number): Reject {
  if (type === IcmpType.TimeExceeded) return Reject.TimeExceeded;
  if (type === IcmpType.Unreachable) return unreachable(code);
  switch (errno) {
    case ECONNREFUSED:
      return Reject.PortUnreachable;
    case ENETUNREACH:
    case ENETDOWN:
      return Reject.NoRoute;
    case EACCES:
    case EPERM:
      return Reject.Prohibited;
    case EMSGSIZE:
      return Reject.TooBig;
    case ENOPROTOOPT:
      return Reject.ProtocolUnreachable;
    default:
      return Reject.HostUnreachable;
  }
}

/** RFC 792 and RFC 1812 5.2.7.1. */
function unreachable(code: number): Reject {
  switch (code) {
    case 0:
    case 5:
    case 6:
    case 11:
      return Reject.NoRoute;
    case 2:
      return Reject.ProtocolUnreachable;
    case 3:
      return Reject.PortUnreachable;
    case 4:
      return Reject.TooBig;
    case 9:
    case 10:
    case 13:
      return Reject.Prohibited;
    default:
      return Reject.HostUnreachable;
  }
}
