/**
 * Checksums that somebody left to hardware which was never passed.
 *
 * A kernel's vxlan device leaves the checksum of the inner packet open where the device below it can complete it. A veth pair says
 * so and never does, since mostly no wire follows; so what comes over one from the same machine has only the sum of the pseudo header
 * there. It is told by just that: one in 65,536 complete checksums looks alike, which does no harm, as the receiver then goes
 * on from the same sum.
 */
import { VNET_HEADER } from "../native/engine.js";
import { addWords, fold, pseudoHeaderIPv4 } from "./checksum.js";
import { ETHERNET_HEADER, EtherType, etherType } from "./ethernet.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  MORE_FRAGMENTS,
  Protocol,
} from "./ipv4.js";
import { IPV6_HEADER, IPV6_SOURCE, ipv6NextHeader, ipv6PayloadLength } from "./ipv6.js";
import { UDP_CHECKSUM, UDP_HEADER } from "./udp.js";
import { Gso, writeChecksumVnet, writePlainVnet } from "./vnet.js";

const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;

/** Writes the virtio header of the frame at [at, end): one that asks for the checksum where it is open, else one of zeros. */
export function writeVnetOf(view: DataView, at: number, end: number): void {
  writePlainVnet(view, at);
  const ethernet = at + VNET_HEADER;
  const network = ethernet + ETHERNET_HEADER;
  const available = end - network;
  let transport = network;
  let length = 0;
  let protocol = 0;
  let pseudo = 0;
  switch (etherType(view, ethernet)) {
    case EtherType.IPv4: {
      if (available < IPV4_HEADER || (ipv4Fragment(view, network) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0) return;
      const header = ipv4HeaderLength(view, network);
      if (header < IPV4_HEADER || ipv4TotalLength(view, network) > available) return;
      transport = network + header;
      length = ipv4TotalLength(view, network) - header;
      protocol = ipv4Protocol(view, network);
      pseudo = pseudoHeaderIPv4(ipv4Source(view, network), ipv4Destination(view, network), protocol, length);
      break;
    }
    case EtherType.IPv6:
      if (available < IPV6_HEADER || ipv6PayloadLength(view, network) > available - IPV6_HEADER) return;
      transport = network + IPV6_HEADER;
      length = ipv6PayloadLength(view, network);
      protocol = ipv6NextHeader(view, network);
      pseudo = addWords(view, network + IPV6_SOURCE, transport, protocol + length);
      break;
    default:
      return;
  }
  if (protocol !== Protocol.Tcp && protocol !== Protocol.Udp) return;
  const isTcp = protocol === Protocol.Tcp;
  if (length < (isTcp ? TCP_HEADER : UDP_HEADER)) return;
  const field = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  if (view.getUint16(transport + field) !== fold(pseudo)) return;
  writeChecksumVnet(view, at, transport - ethernet, field, Gso.None, 0, 0);
}
