/**
 * The virtio-net header before each frame (virtio 1.2, 5.1.6; Linux `struct virtio_net_hdr_mrg_rxbuf`), little-endian:
 *
 *     0  flags       2  hdr_len (uint16)     6  csum_start (uint16)    10  num_buffers (uint16)
 *     1  gso_type    4  gso_size (uint16)    8  csum_offset (uint16)
 *
 * csum_start counts from the first byte of the frame, csum_offset from there.
 */
export enum VnetFlag {
  NeedsChecksum = 1,
  DataValid = 2,
}

export enum Gso {
  None = 0,
  TcpV4 = 1,
  /** UDP fragmentation offload, which nobody may use any more. */
  Ufo = 3,
  TcpV6 = 4,
  /** One UDP header and the payload of several datagrams. */
  UdpL4 = 5,
  /** A flag: the first segment carries CWR. */
  Ecn = 0x80,
}

/** The most datagrams in one UDP super-frame that every kernel takes (UDP_MAX_SEGMENTS was 64 before Linux 6.9). */
export const MAX_UDP_SEGMENTS = 64;

export const vnetFlags = (view: DataView, at: number): number => view.getUint8(at);
export const vnetGsoType = (view: DataView, at: number): number => view.getUint8(at + 1);
/** A hint of where the headers end. */
export const vnetHeaderLength = (view: DataView, at: number): number => view.getUint16(at + 2, true);
export const vnetGsoSize = (view: DataView, at: number): number => view.getUint16(at + 4, true);
export const vnetChecksumStart = (view: DataView, at: number): number => view.getUint16(at + 6, true);
export const vnetChecksumOffset = (view: DataView, at: number): number => view.getUint16(at + 8, true);
/** num_buffers: neither read nor written by a TAP. */
export const vnetBuffers = (view: DataView, at: number): number => view.getUint16(at + 10, true);

/** Where the checksum is that the header leaves to the receiver, from the frame's first byte; -1: it leaves none. */
export function openChecksum(view: DataView, at: number): number {
  if ((vnetFlags(view, at) & VnetFlag.NeedsChecksum) === 0) return -1;
  return vnetChecksumStart(view, at) + vnetChecksumOffset(view, at);
}

export function setVnetBuffers(view: DataView, at: number, value: number): void {
  view.setUint16(at + 10, value, true);
}

/** Writes a header that asks for nothing: the frame is complete. */
export function writePlainVnet(view: DataView, at: number): void {
  view.setUint32(at, 0);
  view.setUint32(at + 4, 0);
  view.setUint32(at + 8, 0);
}

/**
 * Writes a header that leaves the transport checksum to the receiver.
 * @param headers bytes of all headers of the frame, Ethernet to transport; 0 with Gso.None
 */
export function writeChecksumVnet(
  view: DataView,
  at: number,
  checksumStart: number,
  checksumOffset: number,
  gso: Gso,
  gsoSize: number,
  headers: number,
): void {
  view.setUint8(at, VnetFlag.NeedsChecksum);
  view.setUint8(at + 1, gso);
  view.setUint16(at + 2, headers, true);
  view.setUint16(at + 4, gsoSize, true);
  view.setUint16(at + 6, checksumStart, true);
  view.setUint16(at + 8, checksumOffset, true);
  view.setUint16(at + 10, 0);
}
