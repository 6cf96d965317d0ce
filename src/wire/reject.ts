/** Why a packet came to nothing, for both families; stack/errors turns it into ICMP types and codes (RFC 792, RFC 1812, RFC 4443). */
export enum Reject {
  NoRoute = 0,
  HostUnreachable = 1,
  /** IPv6: `info` is the place of the field that names the protocol. */
  ProtocolUnreachable = 2,
  PortUnreachable = 3,
  TooBig = 4,
  Prohibited = 5,
  TimeExceeded = 6,
  /** A field that makes no sense; `info` is its place, counted from the packet's first byte. */
  HeaderField = 7,
  /** IPv6 only: an option that wants this said; `info` is its place. */
  UnknownOption = 8,
  /** IPv6 only: a first fragment without all headers. */
  FirstFragment = 9,
  /** IPv6 only: from a link-local address to elsewhere. */
  BeyondScope = 10,
  /** The rest of a datagram's fragments did not come in time. */
  ReassemblyTime = 11,
}

/** Reasons from here on are what somebody else has reported, ICMP type and code and all. */
const REPORTED = 0x10000;

/** An error to be passed on as it came: type and code of the ICMP of the packet's family. `info` of it: the place that a Parameter Problem names. */
export function reported(type: number, code: number): Reject {
  return REPORTED | (type << 8) | code;
}

/** Type and code of such a reason, -1 for others. */
export const reportedType = (reason: Reject): number => (reason < REPORTED ? -1 : (reason >>> 8) & 0xff);
export const reportedCode = (reason: Reject): number => reason & 0xff;

/** The most bytes of a packet that any error quotes: what leaves room for the headers in 1280 bytes (RFC 4443, 3.1). */
export const LONGEST_QUOTE = 1232;
