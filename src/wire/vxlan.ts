/**
 * The VXLAN header (RFC 7348, 5), between the UDP header and an Ethernet frame:
 *
 *     0  flags, of which only I (0x08) means something: the network identifier is valid
 *     1  reserved (3 bytes)     4  VXLAN network identifier (3 bytes)     7  reserved
 */
export const VXLAN_HEADER = 8;
/** UDP port (RFC 7348, 5). */
export const VXLAN_PORT = 4789;
export const MOST_VNI = 0xffffff;

const VALID = 0x08000000;

/** The network identifier, or -1 where there is none. What is reserved is ignored. */
export function vxlanIdentifier(view: DataView, at: number): number {
  return (view.getUint32(at) & VALID) === 0 ? -1 : view.getUint32(at + 4) >>> 8;
}

export function writeVxlan(view: DataView, at: number, vni: number): void {
  view.setUint32(at, VALID);
  view.setUint32(at + 4, vni << 8);
}
