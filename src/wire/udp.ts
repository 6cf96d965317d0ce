/** The UDP header (RFC 768): source port, destination port, length with the header, checksum (0: none, IPv4 only). */
export const UDP_HEADER = 8;
export const UDP_CHECKSUM = 6;

export const udpSourcePort = (view: DataView, at: number): number => view.getUint16(at);
export const udpDestinationPort = (view: DataView, at: number): number => view.getUint16(at + 2);
export const udpLength = (view: DataView, at: number): number => view.getUint16(at + 4);
export const udpChecksum = (view: DataView, at: number): number => view.getUint16(at + 6);

/** `length`: header and payload. The checksum is left 0. */
export function writeUdp(
  view: DataView,
  at: number,
  sourcePort: number,
  destinationPort: number,
  length: number,
): void {
  view.setUint16(at, sourcePort);
  view.setUint16(at + 2, destinationPort);
  view.setUint16(at + 4, length);
  view.setUint16(at + 6, 0);
}
