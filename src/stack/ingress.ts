/**
 * From a frame on a link to a packet for a protocol: the door at which every length is checked once.
 *
 * Theory of operation. `frame` looks at the virtio header, at Ethernet and at IP in turn; what is not sound is dropped
 * under a counter of its own. Everything comes from the sandbox, the virtio header too (a process inside with a packet
 * socket chooses its fields), so what a super-frame claims is compared with what it is. Then the one Packet is filled and
 * handed to the protocol. ARP requests for our addresses are answered here; fragments wait in stack/fragments.
 *
 * Who may speak: the source must be a unicast address of the sandbox's network that is not one of ours. The only other
 * is 0.0.0.0 to a DHCP server. So no flow ever starts in the name of somebody else, and no answer goes astray.
 * Who is spoken to: anybody but groups; a broadcast is heard where it is DHCP. A packet that a router would have to
 * discard because of its TTL is reported as such, so that traceroute shows the gateway.
 *
 * Bounds: no state but the neighbour tables and the fragments. IP options are skipped (source routes are not followed).
 * IPv6 goes on in stack/ingress-v6, or is counted and dropped where the sandbox has none.
 */
import type { Counters } from "../flow/counters.js";
import { VNET_HEADER } from "../native/engine.js";
import type { Address } from "../wire/address.js";
import { ARP_SENDER_IP, ARP_SENDER_MAC, ARP_TARGET_IP, ArpOperation, arpOperation, isArp } from "../wire/arp.js";
import { addWords, fold } from "../wire/checksum.js";
import { ETHERNET_HEADER, EtherType, etherType, isGroupMac, type Mac, macHigh, macLow } from "../wire/ethernet.js";
import {
  DONT_FRAGMENT,
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipVersion,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  ipv4Ttl,
  ipv4Word,
  isMulticastWord,
  isUnicastWord,
  MORE_FRAGMENTS,
  Protocol,
  prefixMask,
  setIpv4Address,
} from "../wire/ipv4.js";
import { Packet } from "../wire/packet.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";
import { UDP_HEADER, udpDestinationPort } from "../wire/udp.js";
import type { Egress } from "./egress.js";
import { type Reassembly, reassemblyPlace } from "./fragments.js";
import { IngressV6, type IngressV6Options } from "./ingress-v6.js";
import type { Neighbours } from "./neighbours.js";
import { readOffload } from "./offload.js";

/** A protocol's door. The packet is valid during the call only. */
export interface ProtocolInput {
  input(packet: Packet): void;
}

/** Bytes before the IP header of a frame. */
const LOWER = VNET_HEADER + ETHERNET_HEADER;
const DHCP_SERVER_PORT = 67;
const BROADCAST = -1;

export interface IngressOptions {
  /** The engine's slab. */
  readonly slab: ArrayBuffer;
  readonly egress: Egress;
  readonly neighbours: Neighbours;
  readonly reassembly: Reassembly;
  readonly counters: Counters;
  /** Our MAC address on every link. */
  readonly mac: Mac;
  /** The sandbox's network: sources must lie in it. */
  readonly network: Address;
  readonly prefix: number;
  /** Our own addresses in it: gateway, DNS. */
  readonly own: readonly Address[];
  /** Null: the sandbox has no IPv6. */
  readonly v6: IngressV6Options | null;
  /** False: another one answers on this link, and this one only learns who is there. */
  readonly answers?: boolean;
  readonly protocols: { readonly tcp: ProtocolInput; readonly udp: ProtocolInput; readonly icmp: ProtocolInput };
}

export class Ingress {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #egress: Egress;
  readonly #neighbours: Neighbours;
  readonly #reassembly: Reassembly;
  readonly #counters: Counters;
  readonly #macHigh: number;
  readonly #macLow: number;
  readonly #network: number;
  readonly #mask: number;
  readonly #own: Int32Array;
  readonly #answers: boolean;
  readonly #tcp: ProtocolInput;
  readonly #udp: ProtocolInput;
  readonly #icmp: ProtocolInput;
  readonly #packet: Packet;
  readonly #v6: IngressV6 | null;
  /** The neighbour that spoke last: most frames come from the same. */
  #lastLink = -1;
  #lastSource = 0;
  #lastHigh = 0;
  #lastLow = 0;

  constructor(options: IngressOptions) {
    this.#bytes = new Uint8Array(options.slab);
    this.#packet = new Packet(this.#bytes);
    this.#view = this.#packet.view;
    this.#egress = options.egress;
    this.#neighbours = options.neighbours;
    this.#reassembly = options.reassembly;
    this.#counters = options.counters;
    const mac = new DataView(options.mac.buffer, options.mac.byteOffset, options.mac.byteLength);
    this.#macHigh = macHigh(mac, 0);
    this.#macLow = macLow(mac, 0);
    this.#mask = prefixMask(options.prefix);
    this.#network = ipv4Word(options.network) & this.#mask;
    this.#own = Int32Array.from(options.own, (address) => ipv4Word(address));
    this.#answers = options.answers ?? true;
    this.#tcp = options.protocols.tcp;
    this.#udp = options.protocols.udp;
    this.#icmp = options.protocols.icmp;
    this.#v6 = options.v6 === null ? null : new IngressV6({ ...options, packet: this.#packet }, options.v6);
  }

  /** Forgets a link that is gone. */
  removeLink(link: number): void {
    this.#reassembly.removeLink(link);
    this.#v6?.removeLink(link);
    if (this.#lastLink === link) this.#lastLink = -1;
  }

  /** Takes one frame of `length` bytes at `offset` of a slot of this turn, virtio header included. */
  frame(link: number, offset: number, length: number): void {
    if (length < VNET_HEADER + ETHERNET_HEADER) {
      this.#counters.add("stack.short_frame");
      return;
    }
    const view = this.#view;
    const ethernet = offset + VNET_HEADER;
    const network = ethernet + ETHERNET_HEADER;
    const end = offset + length;
    const toUs = macHigh(view, ethernet) === this.#macHigh && macLow(view, ethernet) === this.#macLow;
    if (!toUs && !isGroupMac(view, ethernet)) {
      this.#counters.add("stack.not_for_us");
      return;
    }
    if (isGroupMac(view, ethernet + 6)) {
      this.#counters.add("stack.bad_source_mac");
      return;
    }
    switch (etherType(view, ethernet)) {
      case EtherType.IPv4:
        this.#ipv4(link, offset, network, end, toUs);
        break;
      case EtherType.ARP:
        this.#arp(link, network, end);
        break;
      case EtherType.IPv6:
        if (this.#v6 !== null) this.#v6.packet(link, offset, network, end, toUs);
        else this.#counters.add("stack.ipv6");
        break;
      default:
        this.#counters.add("stack.unknown_ethertype");
    }
  }

  #arp(link: number, at: number, end: number): void {
    const view = this.#view;
    if (!isArp(view, at, end - at)) {
      this.#counters.add("stack.arp_malformed");
      return;
    }
    const sender = view.getInt32(at + ARP_SENDER_IP);
    const target = view.getInt32(at + ARP_TARGET_IP);
    // An address probe (RFC 5227) has no sender; one for an address of ours is answered, so that nobody takes it.
    const probe = sender === 0;
    if ((!probe && !this.#maySpeak(sender)) || isGroupMac(view, at + ARP_SENDER_MAC)) {
      this.#counters.add("stack.arp_spoofed");
      return;
    }
    const high = macHigh(view, at + ARP_SENDER_MAC);
    const low = macLow(view, at + ARP_SENDER_MAC);
    if (!probe) this.#learn(link, sender, high, low);
    if (this.#answers && arpOperation(view, at) === ArpOperation.Request && this.#isOwn(target)) {
      this.#egress.arp(link, ArpOperation.Reply, target, high, low, sender);
    }
  }

  #ipv4(link: number, vnet: number, network: number, end: number, toUs: boolean): void {
    const view = this.#view;
    const available = end - network;
    if (available < IPV4_HEADER || ipVersion(view, network) !== 4) {
      this.#counters.add("stack.ip_malformed");
      return;
    }
    const header = ipv4HeaderLength(view, network);
    const total = ipv4TotalLength(view, network);
    if (header < IPV4_HEADER || total < header || total > available) {
      this.#counters.add("stack.ip_malformed");
      return;
    }
    if (fold(addWords(view, network, network + header, 0)) !== 0xffff) {
      this.#counters.add("stack.ip_checksum");
      return;
    }
    const source = ipv4Source(view, network);
    const destination = ipv4Destination(view, network);
    if (source !== 0 && !this.#maySpeak(source)) {
      this.#counters.add("stack.spoofed");
      return;
    }
    const packet = this.#packet;
    packet.link = link;
    packet.family = 4;
    packet.protocol = ipv4Protocol(view, network);
    packet.hops = ipv4Ttl(view, network);
    packet.network = network;
    packet.transport = network + header;
    packet.end = network + total;
    const fragment = ipv4Fragment(view, network);
    const isFragment = (fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0;
    packet.dontFragment = (fragment & DONT_FRAGMENT) !== 0;
    if (!readOffload(packet, vnet, header, isFragment)) {
      this.#counters.add("stack.bad_offload");
      return;
    }
    setIpv4Address(packet.source, source);
    setIpv4Address(packet.destination, destination);
    if (source !== 0) this.#learn(link, source, macHigh(view, network - 8), macLow(view, network - 8));
    if (isFragment && !this.#reassemble(link, vnet, network)) return;
    if (source === 0 || this.#isGroup(destination)) this.#toEverybody(source, destination);
    else if (toUs) this.#toOne(destination);
    else this.#counters.add("stack.not_for_us");
  }

  /**
   * Adds a fragment; true where it completed a datagram, which is then the packet. It lies in a slot, where there is
   * room for the longest: so its payload can be sent from there, like that of any other packet. The last fragment's virtio and
   * Ethernet headers go before it, as before any other.
   */
  #reassemble(link: number, vnet: number, network: number): boolean {
    const datagram = this.#reassembly.add(link, this.#view, this.#bytes, network);
    if (datagram === null) return false;
    const packet = this.#packet;
    const start = reassemblyPlace(this.#egress, vnet);
    if (start < 0) {
      this.#counters.add("stack.no_room");
      return false;
    }
    this.#bytes.copyWithin(start - LOWER, vnet, vnet + LOWER);
    this.#bytes.set(datagram.bytes.subarray(0, datagram.length), start);
    packet.hops = datagram.hops;
    packet.network = start;
    packet.transport = start + IPV4_HEADER;
    packet.end = start + datagram.length;
    packet.dontFragment = false;
    return true;
  }

  /** A packet to a group, or from a client that has no address yet: DHCP or nothing. */
  #toEverybody(source: number, destination: number): void {
    const packet = this.#packet;
    const isDhcp =
      packet.protocol === Protocol.Udp &&
      packet.end - packet.transport >= UDP_HEADER &&
      udpDestinationPort(packet.view, packet.transport) === DHCP_SERVER_PORT;
    const heard = this.#isBroadcast(destination) || (source === 0 && this.#isOwn(destination));
    if (isDhcp && heard) this.#udp.input(packet);
    else this.#counters.add(source === 0 ? "stack.no_source" : "stack.group");
  }

  #toOne(destination: number): void {
    const packet = this.#packet;
    if (packet.hops <= 1 && !this.#isOwn(destination)) {
      this.#counters.add("stack.ttl");
      this.#reject(Reject.TimeExceeded);
      return;
    }
    switch (packet.protocol) {
      case Protocol.Tcp:
        this.#tcp.input(packet);
        break;
      case Protocol.Udp:
        this.#udp.input(packet);
        break;
      case Protocol.Icmp:
        this.#icmp.input(packet);
        break;
      default:
        this.#counters.add("stack.unknown_protocol");
        this.#reject(Reject.ProtocolUnreachable);
    }
  }

  #reject(reason: Reject): void {
    const { bytes, network, end, link } = this.#packet;
    this.#egress.reject(link, bytes.subarray(network, Math.min(end, network + LONGEST_QUOTE)), reason, null, 0);
  }

  #learn(link: number, source: number, high: number, low: number): void {
    if (source === this.#lastSource && low === this.#lastLow && high === this.#lastHigh && link === this.#lastLink) {
      return;
    }
    this.#lastSource = source;
    this.#lastLow = low;
    this.#lastHigh = high;
    this.#lastLink = link;
    this.#neighbours.learnIPv4(link, source, high, low);
  }

  /** True for a unicast address of the sandbox's network that is not ours. */
  #maySpeak(source: number): boolean {
    return (
      (source & this.#mask) === this.#network &&
      source !== this.#network &&
      source !== (this.#network | ~this.#mask) &&
      isUnicastWord(source) &&
      !this.#isOwn(source)
    );
  }

  #isOwn(address: number): boolean {
    const own = this.#own;
    for (let i = 0; i < own.length; i++) if (own[i] === address) return true;
    return false;
  }

  #isBroadcast(address: number): boolean {
    return address === BROADCAST || address === (this.#network | ~this.#mask);
  }

  #isGroup(address: number): boolean {
    return isMulticastWord(address) || this.#isBroadcast(address);
  }
}
