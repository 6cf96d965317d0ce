/** What tells a segment where an address is now, in the name of whoever has it: who had it before may still be in caches. */
import { VNET_HEADER } from "../native/engine.js";
import { type Address, isIPv4, parseAddress } from "../wire/address.js";
import { ARP_LENGTH, ArpOperation, writeArp } from "../wire/arp.js";
import { ETHERNET_HEADER, EtherType, type Mac, macHigh, macLow, writeEthernet } from "../wire/ethernet.js";
import { setIcmpv6Checksum } from "../wire/icmpv6.js";
import { ipv4Word, Protocol } from "../wire/ipv4.js";
import { IPV6_HEADER, writeIPv6 } from "../wire/ipv6.js";
import { AdvertisementFlag, NDP_HOP_LIMIT, NEIGHBOUR_MESSAGE, writeHostAdvertisement } from "../wire/ndp.js";
import { writePlainVnet } from "../wire/vnet.js";

const ALL_NODES = parseAddress("ff02::1");
const ALL_NODES_MAC = { high: 0x33330000, low: 1 };

/** Where frames are built: as much of stack/egress as is needed. */
export interface Workshop {
  readonly view: DataView;
  /** A place for `length` bytes with room for all lower headers before it, or -1. */
  place(length: number): number;
}

/**
 * Builds an ARP announcement (RFC 5227, 3), or an unsolicited neighbour advertisement (RFC 4861, 7.2.6).
 * Returns where the frame is, its virtio header first; null: this turn has no more room.
 */
export function buildAnnouncement(
  workshop: Workshop,
  address: Address,
  mac: Mac,
): { readonly offset: number; readonly length: number } | null {
  const { view } = workshop;
  const macView = new DataView(mac.buffer, mac.byteOffset, 6);
  const high = macHigh(macView, 0);
  const low = macLow(macView, 0);
  const isFour = isIPv4(address);
  const message = isFour ? ARP_LENGTH : NEIGHBOUR_MESSAGE;
  const at = workshop.place(message);
  if (at < 0) return null;
  const network = isFour ? at : at - IPV6_HEADER;
  const ethernet = network - ETHERNET_HEADER;
  if (isFour) {
    const word = ipv4Word(address);
    writeArp(view, at, ArpOperation.Request, high, low, word, 0, 0, word);
    writeEthernet(view, ethernet, -1, 0xffff, high, low, EtherType.ARP);
  } else {
    writeHostAdvertisement(view, at, AdvertisementFlag.Override, address, high, low);
    setIcmpv6Checksum(view, at, at + message, address, ALL_NODES);
    writeIPv6(view, network, message, Protocol.Icmpv6, NDP_HOP_LIMIT, address, ALL_NODES);
    writeEthernet(view, ethernet, ALL_NODES_MAC.high, ALL_NODES_MAC.low, high, low, EtherType.IPv6);
  }
  const offset = ethernet - VNET_HEADER;
  writePlainVnet(view, offset);
  return { offset, length: at + message - offset };
}
