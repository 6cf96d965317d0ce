/**
 * From an IPv6 frame to a packet for a protocol: stack/ingress looked at Ethernet, here comes the rest.
 *
 * Theory of operation. As for IPv4: what is not sound is dropped under a counter of its own, then the one Packet is filled
 * and handed to the protocol. The chain of headers is walked first (wire/ipv6), and again for what was put together from
 * fragments. A packet that a router or its destination would answer with an error is answered so.
 *
 * Who may speak: a unicast address of the sandbox's network or a link-local one (RFC 4291, 2.5.6), and not one of ours. The
 * only other is the unspecified address, for neighbour discovery. A v4-mapped address has no place on a wire (RFC 6890),
 * and would be taken for the IPv4 address in it: refused here.
 * Who is spoken to: anybody; from a link-local address only us. Groups: neighbour discovery and DHCPv6; multicast listener
 * reports are counted, since nobody forwards groups; all else is silent.
 *
 * Neighbour discovery (RFC 4861): solicitations for our addresses are answered, duplicate address detection too, and
 * routers are advertised by services/router-advertisement. Only what shows by a hop limit of 255 that it comes from the link
 * is looked at. Hardware addresses are learned from the frames themselves, link-layer options say the same.
 */
import type { Counters } from "../flow/counters.js";
import { VNET_HEADER } from "../native/engine.js";
import type { Address } from "../wire/address.js";
import { DHCPV6_SERVER_PORT } from "../wire/dhcpv6.js";
import { ETHERNET_HEADER, macHigh, macLow } from "../wire/ethernet.js";
import { ICMP_HEADER, icmpCode, icmpType } from "../wire/icmp.js";
import { Icmpv6Type, icmpv6Valid, isDiscovery, isListenerDiscovery } from "../wire/icmpv6.js";
import { ipVersion, Protocol } from "../wire/ipv4.js";
import {
  Chain,
  FRAGMENT_BYTES,
  FRAGMENT_HEADER,
  FRAGMENT_MORE,
  fragmentWord,
  HeaderChain,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_MAX_PAYLOAD,
  IPV6_SOURCE,
  ipv6HopLimit,
  ipv6PayloadLength,
  NextHeader,
} from "../wire/ipv6.js";
import {
  AdvertisementFlag,
  linkLayerOption,
  NDP_HOP_LIMIT,
  NDP_TARGET,
  NdpOption,
  optionsValid,
  ROUTER_SOLICITATION_OPTIONS,
  SOLICITATION_OPTIONS,
} from "../wire/ndp.js";
import type { Packet } from "../wire/packet.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";
import { UDP_HEADER, udpDestinationPort } from "../wire/udp.js";
import type { Egress } from "./egress.js";
import { type Reassembly, reassemblyPlace } from "./fragments.js";
import type { ProtocolInput } from "./ingress.js";
import type { Neighbours } from "./neighbours.js";
import { readOffload } from "./offload.js";

/** What answers router solicitations (services/router-advertisement). */
export interface RouterAdvertiser {
  solicited(link: number, source: Address): void;
  removeLink(link: number): void;
}

/** The IPv6 side of a stack. */
export interface IngressV6Options {
  /** The sandbox's network: sources lie in it, or are link-local. */
  readonly network: Address;
  readonly prefix: number;
  /** Our own addresses: gateway, DNS, link-local. */
  readonly own: readonly Address[];
  readonly router: RouterAdvertiser;
}

export interface IngressV6Parts {
  readonly packet: Packet;
  readonly egress: Egress;
  readonly neighbours: Neighbours;
  readonly reassembly: Reassembly;
  readonly counters: Counters;
  /** False: solicitations only teach who is there. */
  readonly answers?: boolean;
  readonly protocols: { readonly tcp: ProtocolInput; readonly udp: ProtocolInput; readonly icmp: ProtocolInput };
}

const MAPPED = 0xffff;
/** Bytes before the IP header of a frame. */
const LOWER = VNET_HEADER + ETHERNET_HEADER;
/** Offset in the IPv6 header: payload length. */
const PAYLOAD_LENGTH = 4;

export class IngressV6 {
  readonly #packet: Packet;
  readonly #view: DataView;
  readonly #egress: Egress;
  readonly #neighbours: Neighbours;
  readonly #reassembly: Reassembly;
  readonly #counters: Counters;
  readonly #router: RouterAdvertiser;
  readonly #answers: boolean;
  readonly #tcp: ProtocolInput;
  readonly #udp: ProtocolInput;
  readonly #icmp: ProtocolInput;
  readonly #chain = new HeaderChain();
  /** The network and its mask, four words each. */
  readonly #network: Int32Array;
  readonly #mask: Int32Array;
  /** Our addresses, four words each. */
  readonly #own: Int32Array;
  readonly #target = new Uint8Array(16);
  /** The neighbour that spoke last. */
  #lastLink = -1;
  readonly #last = new Int32Array(6);

  constructor(parts: IngressV6Parts, options: IngressV6Options) {
    this.#packet = parts.packet;
    this.#view = parts.packet.view;
    this.#egress = parts.egress;
    this.#neighbours = parts.neighbours;
    this.#reassembly = parts.reassembly;
    this.#counters = parts.counters;
    this.#tcp = parts.protocols.tcp;
    this.#udp = parts.protocols.udp;
    this.#icmp = parts.protocols.icmp;
    this.#router = options.router;
    this.#answers = parts.answers ?? true;
    this.#mask = Int32Array.from([0, 32, 64, 96], (from) => maskWord(options.prefix - from));
    this.#network = words([options.network]).map((word, i) => word & this.#mask[i]);
    this.#own = words(options.own);
  }

  /** Forgets a link that is gone. */
  removeLink(link: number): void {
    this.#router.removeLink(link);
    if (this.#lastLink === link) this.#lastLink = -1;
  }

  /**
   * Takes the packet at [network, end) of a frame whose virtio header is at `vnet`.
   * @param toUs the frame is for our own hardware address, not for a group
   */
  packet(link: number, vnet: number, network: number, end: number, toUs: boolean): void {
    const view = this.#view;
    const available = end - network;
    if (available < IPV6_HEADER || ipVersion(view, network) !== 6) {
      this.#counters.add("stack.ip_malformed");
      return;
    }
    const length = IPV6_HEADER + ipv6PayloadLength(view, network);
    if (length > available) {
      this.#counters.add("stack.ip_malformed");
      return;
    }
    const packet = this.#packet;
    packet.link = link;
    packet.family = 6;
    packet.hops = ipv6HopLimit(view, network);
    packet.network = network;
    packet.end = network + length;
    packet.dontFragment = true;
    const { source, destination } = packet;
    for (let i = 0; i < 16; i++) {
      source[i] = view.getUint8(network + IPV6_SOURCE + i);
      destination[i] = view.getUint8(network + IPV6_DESTINATION + i);
    }
    const hasSource = !this.#isZero(network + IPV6_SOURCE);
    if (hasSource && !this.#maySpeak(network + IPV6_SOURCE)) {
      this.#counters.add("stack.spoofed");
      return;
    }
    const toGroup = destination[0] === 0xff;
    const known = this.#chain.read(view, network, packet.end, toGroup);
    if (hasSource) this.#learn(link, network + IPV6_SOURCE, network - 8);
    if (known !== Chain.Complete) {
      this.#refuseChain(known);
      return;
    }
    const chain = this.#chain;
    packet.protocol = chain.protocol;
    packet.transport = chain.transport;
    if (!readOffload(packet, vnet, chain.transport - network, chain.fragment >= 0)) {
      this.#counters.add("stack.bad_offload");
      return;
    }
    if (chain.fragment >= 0 && !this.#reassemble(vnet, toGroup)) return;
    if (toGroup || !hasSource) this.#toEverybody(hasSource);
    else if (toUs) this.#toOne();
    else this.#counters.add("stack.not_for_us");
  }

  /** What wire/ipv6 does not let through. */
  #refuseChain(result: Chain): void {
    switch (result) {
      case Chain.HeaderField:
        this.#counters.add("stack.routing_header");
        this.#reject(Reject.HeaderField, this.#chain.pointer);
        break;
      case Chain.UnknownHeader:
        this.#counters.add("stack.unknown_protocol");
        this.#reject(Reject.ProtocolUnreachable, this.#chain.pointer);
        break;
      case Chain.UnknownOption:
        this.#counters.add("stack.unknown_option");
        this.#reject(Reject.UnknownOption, this.#chain.pointer);
        break;
      case Chain.FirstFragment:
        this.#counters.add("stack.fragment_headers");
        this.#reject(Reject.FirstFragment, 0);
        break;
      case Chain.Discard:
        this.#counters.add("stack.unknown_option");
        break;
      default:
        this.#counters.add("stack.ip_malformed");
    }
  }

  /** Adds a fragment; true where it completed a datagram, which is then the packet, in a slot. */
  #reassemble(vnet: number, toGroup: boolean): boolean {
    const packet = this.#packet;
    const { network, bytes, link } = packet;
    const { fragment } = this.#chain;
    const body = fragment + FRAGMENT_HEADER;
    const word = fragmentWord(this.#view, fragment);
    const length = packet.end - body;
    // RFC 8200, 4.5: these two are answered.
    if ((word & FRAGMENT_MORE) !== 0 && (length & 7) !== 0) {
      this.#counters.add("stack.fragment_malformed");
      this.#reject(Reject.HeaderField, PAYLOAD_LENGTH);
      return false;
    }
    if ((word & FRAGMENT_BYTES) + length > IPV6_MAX_PAYLOAD) {
      this.#counters.add("stack.fragment_malformed");
      this.#reject(Reject.HeaderField, fragment + 2 - network);
      return false;
    }
    const datagram = this.#reassembly.addIPv6(link, this.#view, bytes, network, fragment, packet.end);
    if (datagram === null) return false;
    const start = reassemblyPlace(this.#egress, vnet);
    if (start < 0) {
      this.#counters.add("stack.no_room");
      return false;
    }
    bytes.copyWithin(start - LOWER, vnet, vnet + LOWER);
    bytes.set(datagram.bytes.subarray(0, datagram.length), start);
    packet.hops = datagram.hops;
    packet.dontFragment = false;
    packet.network = start;
    packet.end = start + datagram.length;
    const known = this.#chain.read(this.#view, start, packet.end, toGroup);
    if (known !== Chain.Complete || this.#chain.fragment >= 0) {
      this.#refuseChain(known === Chain.Complete ? Chain.Malformed : known);
      return false;
    }
    packet.protocol = this.#chain.protocol;
    packet.transport = this.#chain.transport;
    return true;
  }

  /** A packet to a group, or from a host that has no address yet. */
  #toEverybody(hasSource: boolean): void {
    const packet = this.#packet;
    const { view, transport, end } = packet;
    const length = end - transport;
    if (packet.protocol === Protocol.Icmpv6 && length >= ICMP_HEADER) {
      const type = icmpType(view, transport);
      if (isDiscovery(type)) {
        this.#discover(type, hasSource);
        return;
      }
      if (isListenerDiscovery(type)) {
        this.#counters.add("stack.listener_report");
        return;
      }
    }
    const isDhcp =
      packet.protocol === Protocol.Udp &&
      length >= UDP_HEADER &&
      udpDestinationPort(view, transport) === DHCPV6_SERVER_PORT;
    if (isDhcp && hasSource) this.#udp.input(packet);
    else this.#counters.add(hasSource ? "stack.group" : "stack.no_source");
  }

  #toOne(): void {
    const packet = this.#packet;
    const { view, transport, destination } = packet;
    if (!this.#isOwn(packet.network + IPV6_DESTINATION)) {
      if (isMapped(destination)) {
        this.#counters.add("stack.mapped_address");
        this.#reject(Reject.NoRoute, 0);
        return;
      }
      if (isLinkLocalWord(view.getInt32(packet.network + IPV6_SOURCE))) {
        this.#counters.add("stack.beyond_scope");
        this.#reject(Reject.BeyondScope, 0);
        return;
      }
      if (packet.hops <= 1) {
        this.#counters.add("stack.ttl");
        this.#reject(Reject.TimeExceeded, 0);
        return;
      }
    }
    switch (packet.protocol) {
      case Protocol.Tcp:
        this.#tcp.input(packet);
        break;
      case Protocol.Udp:
        this.#udp.input(packet);
        break;
      case Protocol.Icmpv6:
        if (packet.end - transport >= ICMP_HEADER && isDiscovery(icmpType(view, transport))) {
          this.#discover(icmpType(view, transport), true);
        } else this.#icmp.input(packet);
        break;
      case NextHeader.None:
        this.#counters.add("stack.no_next_header");
        break;
      default:
        this.#counters.add("stack.unknown_protocol");
        this.#reject(Reject.ProtocolUnreachable, this.#chain.pointer);
    }
  }

  /** A message of neighbour discovery, at least 8 bytes long. */
  #discover(type: number, hasSource: boolean): void {
    const { view, transport, end, source, destination, link, hops } = this.#packet;
    if (hops !== NDP_HOP_LIMIT || icmpCode(view, transport) !== 0) {
      this.#counters.add("stack.ndp_malformed");
      return;
    }
    if (!icmpv6Valid(view, transport, end, source, destination)) {
      this.#counters.add("stack.ndp_checksum");
      return;
    }
    const isRouter = type === Icmpv6Type.RouterSolicitation;
    if (!isRouter && type !== Icmpv6Type.NeighbourSolicitation && type !== Icmpv6Type.NeighbourAdvertisement) {
      this.#counters.add("stack.ndp_ignored");
      return;
    }
    const options = transport + (isRouter ? ROUTER_SOLICITATION_OPTIONS : SOLICITATION_OPTIONS);
    if (options > end || !optionsValid(view, options, end) || (!hasSource && this.#namesItself(options))) {
      this.#counters.add("stack.ndp_malformed");
      return;
    }
    if (!this.#answers && type !== Icmpv6Type.NeighbourAdvertisement) return;
    if (isRouter) this.#router.solicited(link, source);
    else if (type === Icmpv6Type.NeighbourSolicitation) this.#solicited(transport + NDP_TARGET, hasSource);
    else this.#advertised(transport + NDP_TARGET, hasSource);
  }

  /** Without a source address there must be no link-layer address either (RFC 4861, 6.1.1 and 7.1.1). */
  #namesItself(options: number): boolean {
    return linkLayerOption(this.#view, options, this.#packet.end, NdpOption.SourceLinkLayer) >= 0;
  }

  /** Somebody asks who has the address at `target`, or whether anybody has it (RFC 4862, 5.4). */
  #solicited(target: number, hasSource: boolean): void {
    if (!this.#isOwn(target)) {
      this.#counters.add("stack.ndp_not_for_us");
      return;
    }
    const { bytes, link, source } = this.#packet;
    for (let i = 0; i < 16; i++) this.#target[i] = bytes[target + i];
    const flags = AdvertisementFlag.Override | (hasSource ? AdvertisementFlag.Solicited : 0);
    this.#egress.advertise(link, this.#target, hasSource ? source : null, flags);
  }

  #advertised(target: number, hasSource: boolean): void {
    if (!hasSource || !this.#maySpeak(target)) {
      this.#counters.add("stack.ndp_spoofed");
      return;
    }
    const { link, network } = this.#packet;
    this.#learn(link, target, network - 8);
  }

  #reject(reason: Reject, info: number): void {
    const { bytes, network, end, link } = this.#packet;
    const quoted = bytes.subarray(network, Math.min(end, network + LONGEST_QUOTE));
    this.#egress.reject(link, quoted, reason, null, info);
  }

  /** The address at `at` is behind the MAC address at `mac`. */
  #learn(link: number, at: number, mac: number): void {
    const view = this.#view;
    const last = this.#last;
    const high = macHigh(view, mac);
    const low = macLow(view, mac);
    if (
      link === this.#lastLink &&
      last[3] === view.getInt32(at + 12) &&
      last[2] === view.getInt32(at + 8) &&
      last[1] === view.getInt32(at + 4) &&
      last[0] === view.getInt32(at) &&
      last[4] === high &&
      last[5] === low
    ) {
      return;
    }
    this.#lastLink = link;
    for (let i = 0; i < 4; i++) last[i] = view.getInt32(at + 4 * i);
    last[4] = high;
    last[5] = low;
    this.#neighbours.learnIPv6(link, view, at, high, low);
  }

  /** True where the address at `at` may be a neighbour's: link-local or of the network (but its first, RFC 4291, 2.6.1), and not ours. */
  #maySpeak(at: number): boolean {
    const view = this.#view;
    if (isLinkLocalWord(view.getInt32(at))) return !this.#isOwn(at);
    const network = this.#network;
    const mask = this.#mask;
    let beyond = 0;
    for (let i = 0; i < 4; i++) {
      const word = view.getInt32(at + 4 * i);
      if ((word & mask[i]) !== network[i]) return false;
      beyond |= word & ~mask[i];
    }
    return beyond !== 0 && !this.#isOwn(at);
  }

  #isOwn(at: number): boolean {
    const own = this.#own;
    const last = this.#view.getInt32(at + 12);
    for (let i = 0; i < own.length; i += 4) {
      if (
        own[i + 3] === last &&
        own[i + 2] === this.#view.getInt32(at + 8) &&
        own[i + 1] === this.#view.getInt32(at + 4) &&
        own[i] === this.#view.getInt32(at)
      ) {
        return true;
      }
    }
    return false;
  }

  #isZero(at: number): boolean {
    const view = this.#view;
    return (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8) | view.getInt32(at + 12)) === 0;
  }
}

/** The mask of the first `bits` bits of a word; all or none where that is outside 0 to 32. */
function maskWord(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : (-1 << (32 - bits)) | 0;
}

function words(addresses: readonly Address[]): Int32Array {
  const out = new Int32Array(addresses.length * 4);
  addresses.forEach((address, i) => {
    const view = new DataView(address.buffer, address.byteOffset, 16);
    for (let word = 0; word < 4; word++) out[i * 4 + word] = view.getInt32(word * 4);
  });
  return out;
}

/** By its first word: fe80::/10. */
function isLinkLocalWord(first: number): boolean {
  return first >>> 22 === 0x3fa;
}

/** ::ffff:0:0/96. */
function isMapped(address: Address): boolean {
  for (let i = 0; i < 10; i++) if (address[i] !== 0) return false;
  return ((address[10] << 8) | address[11]) === MAPPED;
}
