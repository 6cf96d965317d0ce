/**
 * An ICMP error of the sandbox about a packet of ours: what it says, and which packet it quotes (RFC 792; RFC 4443, 3).
 *
 * A quotation holds the IP header and at least 8 bytes more: both ports, and of TCP the sequence number. Our packets have no IP
 * options and no extension headers but the fragment's, so a quotation with others is none of ours. Nothing here is to be believed:
 * whoever sent it may know no more of the connection than its addresses and ports (RFC 5927).
 */
import type { Family } from "./address.js";
import { ICMP_HEADER, IcmpType, icmpCode, icmpType, UnreachableCode } from "./icmp.js";
import { Icmpv6Type, ParameterCode, UnreachableCodeV6 } from "./icmpv6.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipVersion,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  Protocol,
  setIpv4Address,
} from "./ipv4.js";
import {
  FRAGMENT_BYTES,
  FRAGMENT_HEADER,
  fragmentWord,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  ipv6NextHeader,
  NextHeader,
} from "./ipv6.js";
import type { Packet } from "./packet.js";

/** What an error says of the packet's destination. */
export enum Trouble {
  /** Nobody takes it, and nobody will: port or protocol unreachable, forbidden. */
  Refused = 0,
  /** It does not get there now. */
  Unreachable = 1,
  /** It is too long; see `mtu`. */
  TooBig = 2,
  /** Its hops are used up, or the rest of its fragments did not come. */
  TimeExceeded = 3,
  /** Somebody dislikes its header. */
  Parameter = 4,
}

const PORTS_AND_SEQUENCE = 8;

/** One object per stack, filled again for each error. */
export class Reported {
  trouble: Trouble = Trouble.Refused;
  /** Bytes of the longest packet that gets there, as it says; 0: it does not say. */
  mtu = 0;
  link = 0;
  family: Family = 4;
  protocol = 0;
  /** The destination of our packet, and its source: who the sandbox believes to talk to. */
  readonly inside = new Uint8Array(16);
  insidePort = 0;
  readonly outside = new Uint8Array(16);
  outsidePort = 0;
  /** Of a segment. */
  sequence = 0;

  /** Fills this from an ICMP message whose length and checksum are right. False: it tells nothing about a segment or datagram. */
  read(packet: Packet): boolean {
    const { view, transport, end, family, link } = packet;
    const type = icmpType(view, transport);
    const trouble =
      family === 4 ? troubleV4(type, icmpCode(view, transport)) : troubleV6(type, icmpCode(view, transport));
    if (trouble === null) return false;
    const quoted = transport + ICMP_HEADER;
    const at = family === 4 ? this.#quotedV4(view, quoted, end) : this.#quotedV6(view, quoted, end);
    if (at < 0 || at + PORTS_AND_SEQUENCE > end) return false;
    if (this.protocol !== Protocol.Tcp && this.protocol !== Protocol.Udp) return false;
    this.trouble = trouble;
    this.mtu =
      trouble !== Trouble.TooBig ? 0 : family === 4 ? view.getUint16(transport + 6) : view.getUint32(transport + 4);
    this.link = link;
    this.family = family;
    this.outsidePort = view.getUint16(at);
    this.insidePort = view.getUint16(at + 2);
    this.sequence = view.getInt32(at + 4);
    return true;
  }

  /** Where the transport header of the quoted packet is, -1 where there is none. */
  #quotedV4(view: DataView, at: number, end: number): number {
    if (at + IPV4_HEADER > end || ipVersion(view, at) !== 4 || ipv4HeaderLength(view, at) !== IPV4_HEADER) return -1;
    if ((ipv4Fragment(view, at) & FRAGMENT_OFFSET) !== 0) return -1;
    this.protocol = ipv4Protocol(view, at);
    setIpv4Address(this.outside, ipv4Source(view, at));
    setIpv4Address(this.inside, ipv4Destination(view, at));
    return at + IPV4_HEADER;
  }

  #quotedV6(view: DataView, at: number, end: number): number {
    if (at + IPV6_HEADER > end || ipVersion(view, at) !== 6) return -1;
    for (let i = 0; i < 16; i++) {
      this.outside[i] = view.getUint8(at + IPV6_SOURCE + i);
      this.inside[i] = view.getUint8(at + IPV6_DESTINATION + i);
    }
    this.protocol = ipv6NextHeader(view, at);
    const next = at + IPV6_HEADER;
    if (this.protocol !== NextHeader.Fragment) return next;
    if (next + FRAGMENT_HEADER > end || (fragmentWord(view, next) & FRAGMENT_BYTES) !== 0) return -1;
    this.protocol = view.getUint8(next);
    return next + FRAGMENT_HEADER;
  }
}

/** RFC 792, RFC 1812 5.2.7.1; null: not an error about a packet's delivery. */
function troubleV4(type: number, code: number): Trouble | null {
  switch (type) {
    case IcmpType.TimeExceeded:
      return Trouble.TimeExceeded;
    case IcmpType.ParameterProblem:
      return Trouble.Parameter;
    case IcmpType.Unreachable:
      break;
    default:
      return null;
  }
  switch (code) {
    case UnreachableCode.FragmentationNeeded:
      return Trouble.TooBig;
    case UnreachableCode.Protocol:
    case UnreachableCode.Port:
    case UnreachableCode.NetworkProhibited:
    case UnreachableCode.HostProhibited:
    case UnreachableCode.Prohibited:
      return Trouble.Refused;
    default:
      return Trouble.Unreachable;
  }
}

/** RFC 4443, 3. */
function troubleV6(type: number, code: number): Trouble | null {
  switch (type) {
    case Icmpv6Type.TooBig:
      return Trouble.TooBig;
    case Icmpv6Type.TimeExceeded:
      return Trouble.TimeExceeded;
    case Icmpv6Type.ParameterProblem:
      return code === ParameterCode.NextHeader ? Trouble.Refused : Trouble.Parameter;
    case Icmpv6Type.Unreachable:
      break;
    default:
      return null;
  }
  switch (code) {
    case UnreachableCodeV6.Prohibited:
    case UnreachableCodeV6.Port:
    case UnreachableCodeV6.SourcePolicy:
    case UnreachableCodeV6.RejectRoute:
      return Trouble.Refused;
    default:
      return Trouble.Unreachable;
  }
}
