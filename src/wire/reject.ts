/** Why a packet came to nothing, for both families; stack/errors turns it into ICMP types and codes (RFC 792, RFC 1812, RFC 4443). */
export enum Reject {
  NoRoute = 0,
  HostUnreachable = 1,
  ProtocolUnreachable = 2,
  PortUnreachable = 3,
  TooBig = 4,
  Prohibited = 5,
  TimeExceeded = 6,
}
