/**
 * What the virtio header of a frame says of checksum and segments, compared with what the packet is: a process inside with
 * a packet socket chooses its fields.
 */
import { ETHERNET_HEADER } from "../wire/ethernet.js";
import { Protocol } from "../wire/ipv4.js";
import type { Packet } from "../wire/packet.js";
import { UDP_CHECKSUM, UDP_HEADER } from "../wire/udp.js";
import {
  Gso,
  VnetFlag,
  vnetChecksumOffset,
  vnetChecksumStart,
  vnetFlags,
  vnetGsoSize,
  vnetGsoType,
} from "../wire/vnet.js";

/** The most datagrams in a super-frame of any kernel (UDP_MAX_SEGMENTS). */
const MOST_SEGMENTS = 128;
const TCP_CHECKSUM = 16;
const TCP_HEADER = 20;

/**
 * Sets `partialChecksum` and `segment` of a packet whose protocol and places are known; false where the header does not fit.
 * @param vnet offset of the virtio header
 * @param header bytes of the IP header with its options or extension headers
 */
export function readOffload(packet: Packet, vnet: number, header: number, isFragment: boolean): boolean {
  const { view } = packet;
  const gso = vnetGsoType(view, vnet) & ~Gso.Ecn;
  packet.partialChecksum = false;
  packet.segment = 0;
  // Linux makes no super-frame without leaving its checksum open.
  if ((vnetFlags(view, vnet) & VnetFlag.NeedsChecksum) === 0) return gso === Gso.None;
  const isTcp = packet.protocol === Protocol.Tcp;
  const isUdp = packet.protocol === Protocol.Udp;
  if (isFragment || (!isTcp && !isUdp)) return false;
  if (vnetChecksumStart(view, vnet) !== ETHERNET_HEADER + header) return false;
  if (vnetChecksumOffset(view, vnet) !== (isTcp ? TCP_CHECKSUM : UDP_CHECKSUM)) return false;
  packet.partialChecksum = true;
  if (gso === Gso.None) return true;
  const size = vnetGsoSize(view, vnet);
  const length = packet.end - packet.transport;
  if (size === 0) return false;
  if (isTcp) {
    packet.segment = size;
    return gso === (packet.family === 4 ? Gso.TcpV4 : Gso.TcpV6) && length >= TCP_HEADER;
  }
  if (gso !== Gso.UdpL4 || length - UDP_HEADER > size * MOST_SEGMENTS) return false;
  packet.segment = length - UDP_HEADER > size ? size : 0;
  return true;
}
