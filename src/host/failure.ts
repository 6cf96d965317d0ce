/** What a failed datagram means to the one who sent it: from errno and the ICMP error behind it, if any, to a reason. */
import { type Address, endpointAddress, endpointFamily, type Family } from "../wire/address.js";
import { IcmpType, TimeExceededCode } from "../wire/icmp.js";
import { Icmpv6Type } from "../wire/icmpv6.js";
import { isLinkLocal, isLoopback } from "../wire/ipv6.js";
import { Reject, reported } from "../wire/reject.js";

const EPERM = 1;
const EACCES = 13;
const EPROTO = 71;
const EMSGSIZE = 90;
const ENOPROTOOPT = 92;
const ENETDOWN = 100;
const ENETUNREACH = 101;
const ECONNREFUSED = 111;

/** The highest code of a Destination Unreachable (RFC 1812, 5.2.7.1; RFC 8883, 4). */
const LAST_CODE = { 4: 15, 6: 8 };

/**
 * @param errno errno(3), positive
 * @param family of the datagram's destination: whose ICMP it is
 * @param type ICMP type and code that the error came with; type -1 where the host itself refused
 * @param inside family of the packet that the sandbox sent: an error of the other one is told by what comes nearest
 */
export function rejectReason(errno: number, family: Family, type: number, code: number, inside = family): Reject {
  if (type >= 0) {
    const told = family === 4 ? reasonV4(type, code) : reasonV6(type, code);
    if (inside === family && isWorthRepeating(family, type, code, told)) return reported(type, code);
    if (told !== null) return told;
  }
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
    case EPROTO:
      return Reject.ProtocolUnreachable;
    default:
      return Reject.HostUnreachable;
  }
}

/** The kernel inside knows more codes than we have reasons, and makes an errno of its own of each: those are passed on as they came. */
function isWorthRepeating(family: Family, type: number, code: number, told: Reject | null): boolean {
  if (type === (family === 4 ? IcmpType.ParameterProblem : Icmpv6Type.ParameterProblem))
    return told === null && code <= 2;
  return (
    type === (family === 4 ? IcmpType.Unreachable : Icmpv6Type.Unreachable) &&
    code <= LAST_CODE[family] &&
    told !== Reject.PortUnreachable &&
    told !== Reject.ProtocolUnreachable &&
    told !== Reject.TooBig
  );
}

/**
 * Who reported a failure, as the sandbox may see it: the second endpoint at `at` of `addresses`. Null: nobody, or somebody
 * of the other family, or whose address means nothing beyond the host's own links; then the gateway speaks.
 */
export function reporter(family: Family, addresses: Uint8Array, at: number): Address | null {
  const who = at + 24;
  if (endpointFamily(addresses, who) !== family) return null;
  const address = endpointAddress(addresses, who);
  if (family === 4) return address[12] === 127 ? null : address;
  return isLoopback(address) || isLinkLocal(address) ? null : address;
}

function timeExceeded(code: number): Reject {
  return code === TimeExceededCode.Reassembly ? Reject.ReassemblyTime : Reject.TimeExceeded;
}

/** RFC 792 and RFC 1812 5.2.7.1; null for other types. */
function reasonV4(type: number, code: number): Reject | null {
  if (type === IcmpType.TimeExceeded) return timeExceeded(code);
  if (type !== IcmpType.Unreachable) return null;
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

/** RFC 4443, 3; null for other types. */
function reasonV6(type: number, code: number): Reject | null {
  switch (type) {
    case Icmpv6Type.TooBig:
      return Reject.TooBig;
    case Icmpv6Type.TimeExceeded:
      return timeExceeded(code);
    case Icmpv6Type.ParameterProblem:
      return code === 1 ? Reject.ProtocolUnreachable : null;
    case Icmpv6Type.Unreachable:
      return unreachableV6(code);
    default:
      return null;
  }
}

function unreachableV6(code: number): Reject {
  switch (code) {
    case 0:
      return Reject.NoRoute;
    case 1:
    case 5:
    case 6:
      return Reject.Prohibited;
    case 2:
      return Reject.BeyondScope;
    case 4:
      return Reject.PortUnreachable;
    default:
      return Reject.HostUnreachable;
  }
}
