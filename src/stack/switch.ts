/**
 * The switch of a network with members: where a frame goes.
 *
 * Theory of operation. A port is the link of a member, or of a segment (link/segment.ts: others elsewhere). Nothing is learned
 * from frames: which hardware address is behind which port is known from the joining, and stack/guard says in whose name a
 * port may speak. What passes it goes
 *
 *     to our hardware address      up the stack (stack/ingress)
 *     to a member's                to its link, as it is: the same bytes, virtio header and all, so that a super-frame stays
 *                                  one and nobody computes its checksum
 *     to nobody's                  to the segments; without one it is dropped
 *     to a group
 *       who has an address         to its owner alone: the stack, or a member, or else to the segments
 *       what only a router hears   to the stack alone: DHCP, reports of group members, router solicitations (but of segments:
 *                                  they have routers of their own)
 *       all else                   to all members and segments
 *
 * and nowhere else: IP, ARP and neighbour discovery are all that members say to each other, since of anything else (a VLAN's
 * tag, say) it could not be told in whose name it speaks. A segment's frames go to members and the stack, never to a segment.
 * An isolated member reaches the stack alone, and only the stack reaches it.
 *
 * A newcomer is announced to all others in its own name, since its addresses may have been another's before, and in their caches still be.
 *
 * Bounds: MAX_LINKS members and MAX_SEGMENTS segments; FLOODED copies in a turn. A frame costs a look-up or two and allocates
 * nothing; each drop has its counter.
 */
import type { Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { MAX_SEGMENTS, type SegmentPort } from "../link/segment.js";
import { MAX_LINKS, VNET_HEADER } from "../native/engine.js";
import type { Address } from "../wire/address.js";
import { ARP_SENDER_IP, ARP_TARGET_IP, isArp } from "../wire/arp.js";
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT } from "../wire/dhcp.js";
import { DHCPV6_CLIENT_PORT, DHCPV6_SERVER_PORT } from "../wire/dhcpv6.js";
import { ETHERNET_HEADER, EtherType, etherType, isGroupMac, type Mac, macHigh, macLow } from "../wire/ethernet.js";
import { ICMP_CHECKSUM, ICMP_HEADER } from "../wire/icmp.js";
import { Icmpv6Type, isDiscovery, isListenerDiscovery } from "../wire/icmpv6.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipVersion,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  MORE_FRAGMENTS,
  Protocol,
} from "../wire/ipv4.js";
import {
  Chain,
  FRAGMENT_BYTES,
  fragmentWord,
  HeaderChain,
  IPV6_HEADER,
  IPV6_SOURCE,
  ipv6NextHeader,
  ipv6PayloadLength,
} from "../wire/ipv6.js";
import { NDP_TARGET } from "../wire/ndp.js";
import { UDP_CHECKSUM, UDP_HEADER, udpDestinationPort } from "../wire/udp.js";
import { openChecksum } from "../wire/vnet.js";
import { buildAnnouncement } from "./announcement.js";
import type { Egress } from "./egress.js";
import { Guard, NOBODY, OURS, type Owned } from "./guard.js";

/** Copies of frames to groups in one turn: a burst of a few, to many members. */
export const FLOODED = 1024;
/** Where a frame's source is. */
const SOURCE_MAC = 6;

export interface SwitchOptions {
  /** The engine's slab. */
  readonly slab: ArrayBuffer;
  readonly egress: Egress;
  readonly counters: Counters;
  readonly random: Random;
  /** Our hardware address, and all of our IP addresses. */
  readonly mac: Mac;
  readonly own: readonly Address[];
  /** null: the network has no IPv6. */
  readonly v6: { readonly network: Address; readonly prefix: number } | null;
  /** The stack's door. */
  readonly deliver: (link: number, offset: number, length: number) => void;
}

/** What a group's frame is. */
enum Group {
  Flood,
  /** For the stack alone. */
  Stack,
  /** Asks who has an address: `owner` says whose it is. */
  Question,
  /** Says something about its sender that the stack shall hear, too. */
  Announcement,
  Drop,
}

export class Switch {
  readonly #view: DataView;
  readonly #egress: Egress;
  readonly #counters: Counters;
  readonly #guard: Guard;
  readonly #deliver: (link: number, offset: number, length: number) => void;
  readonly #chain = new HeaderChain();
  /** By link: 1 for a member or a segment, 2 for an isolated member. */
  readonly #ports = new Uint8Array(MAX_LINKS + MAX_SEGMENTS);
  /** Members that hear what is for all. */
  #hearing: readonly number[] = [];
  #segments: readonly { readonly link: number; readonly port: SegmentPort }[] = [];
  #flooded = 0;
  #owner = NOBODY;
  /** Where the open checksum of the frame is that is looked at, or -1. */
  #open = -1;

  constructor(options: SwitchOptions) {
    this.#view = new DataView(options.slab);
    this.#egress = options.egress;
    this.#counters = options.counters;
    this.#guard = new Guard(options);
    this.#deliver = options.deliver;
  }

  /** A member is behind a link. */
  addMember(link: number, owned: Owned, isolated: boolean): void {
    this.#guard.admit(link, owned);
    this.#ports[link] = isolated ? 2 : 1;
    if (!isolated) this.#hearing = [...this.#hearing, link];
  }

  /** Tells all others where the addresses of a member are, in its name. Within a turn. */
  announce(link: number, { mac, v4, v6 }: Owned): void {
    if (this.#ports[link] !== 1) return;
    for (const address of [v4, v6]) {
      const frame = address === null ? null : buildAnnouncement(this.#egress, address, mac);
      if (frame !== null) this.#flood(link, frame.offset, frame.length);
    }
  }

  /** A member or a segment is gone. */
  remove(link: number): void {
    this.#guard.dismiss(link);
    this.#ports[link] = 0;
    this.#hearing = this.#hearing.filter((each) => each !== link);
    this.#segments = this.#segments.filter((each) => each.link !== link);
  }

  /** Returns the segment's link number, or -1 where there are too many. */
  addSegment(port: SegmentPort): number {
    const link = this.#ports.indexOf(0, MAX_LINKS);
    if (link < 0) return -1;
    this.#ports[link] = 1;
    this.#segments = [...this.#segments, { link, port }];
    return link;
  }

  beginTurn(): void {
    this.#flooded = 0;
  }

  endOfTurn(): void {
    for (const { port } of this.#segments) port.endOfTurn();
  }

  /** Takes one frame of the stack's for a segment. */
  toSegment(link: number, offset: number, length: number): void {
    for (const each of this.#segments) if (each.link === link) each.port.frame(offset, length);
  }

  /** Takes one frame out of a member, or from a segment. */
  frame(link: number, offset: number, length: number): void {
    const view = this.#view;
    const ethernet = offset + VNET_HEADER;
    const network = ethernet + ETHERNET_HEADER;
    const end = offset + length;
    if (this.#ports[link] === 0 || network > end) {
      this.#counters.add(network > end ? "stack.short_frame" : "switch.no_member");
      return;
    }
    if (
      isGroupMac(view, ethernet + SOURCE_MAC) ||
      !this.#guard.maySend(link, macHigh(view, ethernet + SOURCE_MAC), macLow(view, ethernet + SOURCE_MAC))
    ) {
      this.#counters.add("switch.spoofed_mac");
      return;
    }
    const toGroup = isGroupMac(view, ethernet);
    const group = this.#examine(link, ethernet, network, end, toGroup);
    if (group === Group.Drop) return;
    if (toGroup) this.#toGroup(link, group, offset, length);
    else this.#toOne(link, group, offset, length, ethernet);
  }

  #toOne(link: number, group: Group, offset: number, length: number, ethernet: number): void {
    const owner = this.#guard.macOwner(macHigh(this.#view, ethernet), macLow(this.#view, ethernet));
    if (owner === OURS) this.#deliver(link, offset, length);
    else if (group === Group.Stack) this.#counters.add("switch.not_for_members");
    else this.#relay(link, owner, offset, length);
  }

  #toGroup(link: number, group: Group, offset: number, length: number): void {
    switch (group) {
      case Group.Stack:
        this.#deliver(link, offset, length);
        break;
      case Group.Question:
        if (this.#owner === OURS) this.#deliver(link, offset, length);
        else if (this.#owner !== link) this.#relay(link, this.#owner, offset, length);
        break;
      case Group.Announcement:
        this.#deliver(link, offset, length);
        this.#flood(link, offset, length);
        break;
      default:
        this.#flood(link, offset, length);
    }
  }

  /** To the port of an owner; to the segments where it is nobody here. */
  #relay(from: number, owner: number, offset: number, length: number): void {
    if (owner === NOBODY) {
      this.#toSegments(from, offset, length);
    } else if (this.#ports[from] === 2 || this.#ports[owner] === 2) {
      this.#counters.add("switch.isolated");
    } else if (owner === from) {
      this.#counters.add("switch.to_itself");
    } else {
      this.#egress.relay(owner, offset, length);
    }
  }

  #toSegments(from: number, offset: number, length: number): void {
    if (this.#segments.length === 0 || from >= MAX_LINKS) {
      this.#counters.add("switch.unknown");
    } else if (this.#ports[from] === 2) {
      this.#counters.add("switch.isolated");
    } else {
      for (const { port } of this.#segments) port.frame(offset, length);
    }
  }

  #flood(from: number, offset: number, length: number): void {
    if (this.#ports[from] === 2) {
      this.#counters.add("switch.isolated");
      return;
    }
    const hearing = this.#hearing;
    if (this.#flooded + hearing.length > FLOODED) {
      this.#counters.add("switch.flood_limit");
      return;
    }
    this.#flooded += hearing.length;
    for (let i = 0; i < hearing.length; i++) if (hearing[i] !== from) this.#egress.relay(hearing[i], offset, length);
    if (from < MAX_LINKS) for (const { port } of this.#segments) port.frame(offset, length);
  }

  /** In whose name it speaks, and what it is. What is dropped is counted here. */
  #examine(link: number, ethernet: number, network: number, end: number, toGroup: boolean): Group {
    // Whoever completes an open checksum writes there, after we have looked.
    const open = openChecksum(this.#view, ethernet - VNET_HEADER);
    this.#open = open < 0 ? -1 : ethernet + open;
    switch (etherType(this.#view, ethernet)) {
      case EtherType.IPv4:
        return this.#ipv4(link, network, end, toGroup);
      case EtherType.IPv6:
        return this.#ipv6(link, ethernet, network, end, toGroup);
      case EtherType.ARP:
        return this.#arp(link, ethernet, network, end);
      default:
        return this.#drop("switch.unknown_ethertype");
    }
  }

  #ipv4(link: number, network: number, end: number, toGroup: boolean): Group {
    const view = this.#view;
    if (end - network < IPV4_HEADER || ipVersion(view, network) !== 4) return this.#drop("stack.ip_malformed");
    const source = ipv4Source(view, network);
    const isMine = this.#guard.mayUseIPv4(link, source);
    if (!isMine && source !== 0) return this.#drop("switch.spoofed_ip");
    let port = -1;
    const fragment = ipv4Fragment(view, network);
    const protocol = ipv4Protocol(view, network);
    const transport = network + ipv4HeaderLength(view, network);
    if (transport < network + IPV4_HEADER) return this.#drop("stack.ip_malformed");
    if (!this.#mayComplete(protocol, transport, (fragment & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0)) {
      return this.#drop("switch.bad_offload");
    }
    if (protocol === Protocol.Udp && (fragment & FRAGMENT_OFFSET) === 0 && transport + UDP_HEADER <= end) {
      port = udpDestinationPort(view, transport);
    }
    // Who has no address yet may ask for one.
    if (source === 0) return port === DHCP_SERVER_PORT ? Group.Stack : this.#drop("switch.spoofed_ip");
    if (port === DHCP_CLIENT_PORT) return this.#drop("switch.dhcp_server");
    return toGroup && port === DHCP_SERVER_PORT ? Group.Stack : Group.Flood;
  }

  #ipv6(link: number, ethernet: number, network: number, end: number, toGroup: boolean): Group {
    const view = this.#view;
    if (end - network < IPV6_HEADER || ipVersion(view, network) !== 6) return this.#drop("stack.ip_malformed");
    const packetEnd = network + IPV6_HEADER + ipv6PayloadLength(view, network);
    if (packetEnd > end) return this.#drop("stack.ip_malformed");
    const source = network + IPV6_SOURCE;
    const hasSource = !isUnspecified(view, source);
    if (hasSource && !this.#guard.mayUseIPv6(link, view, source)) return this.#drop("switch.spoofed_ip");
    let protocol = ipv6NextHeader(view, network);
    let transport = network + IPV6_HEADER;
    const isExtended = protocol !== Protocol.Tcp && protocol !== Protocol.Udp && protocol !== Protocol.Icmpv6;
    if (isExtended) {
      if (this.#chain.read(view, network, packetEnd, toGroup) !== Chain.Complete)
        return this.#drop("switch.bad_headers");
      protocol = this.#chain.protocol;
      transport = this.#chain.transport;
    }
    const fragment = isExtended ? this.#chain.fragment : -1;
    if (!this.#mayComplete(protocol, transport, fragment >= 0)) return this.#drop("switch.bad_offload");
    if (fragment >= 0) {
      // A part of something bigger: neighbour discovery does not come so (RFC 6980), but what has ports does.
      if (!hasSource) return this.#drop("switch.spoofed_ip");
      const hasPorts = protocol === Protocol.Udp && (fragmentWord(view, fragment) & FRAGMENT_BYTES) === 0;
      if (!hasPorts || transport + UDP_HEADER > packetEnd) return Group.Flood;
      const isServer = udpDestinationPort(view, transport) === DHCPV6_CLIENT_PORT;
      return isServer ? this.#drop("switch.dhcp_server") : Group.Flood;
    }
    if (protocol === Protocol.Icmpv6) {
      if (transport + ICMP_HEADER > packetEnd) return this.#drop("stack.ip_malformed");
      return this.#icmpv6(link, ethernet, transport, packetEnd, hasSource);
    }
    if (!hasSource) return this.#drop("switch.spoofed_ip");
    if (protocol !== Protocol.Udp || transport + UDP_HEADER > packetEnd) return Group.Flood;
    const port = udpDestinationPort(view, transport);
    if (port === DHCPV6_CLIENT_PORT) return this.#drop("switch.dhcp_server");
    return toGroup && port === DHCPV6_SERVER_PORT ? Group.Stack : Group.Flood;
  }

  #icmpv6(link: number, ethernet: number, transport: number, end: number, hasSource: boolean): Group {
    const view = this.#view;
    const type = view.getUint8(transport);
    if (isDiscovery(type)) {
      if (type === Icmpv6Type.RouterAdvertisement || type === Icmpv6Type.Redirect) return this.#drop("switch.router");
      if (!this.#guard.isHonestDiscovery(link, view, transport, end, ethernet + SOURCE_MAC)) {
        return this.#drop("switch.spoofed_discovery");
      }
      if (type === Icmpv6Type.RouterSolicitation) return link < MAX_LINKS ? Group.Stack : this.#drop("switch.router");
      if (type === Icmpv6Type.NeighbourAdvertisement) {
        return hasSource ? Group.Announcement : this.#drop("switch.spoofed_discovery");
      }
      this.#owner = this.#guard.ipv6Owner(view, transport + NDP_TARGET);
      return Group.Question;
    }
    if (isListenerDiscovery(type)) return Group.Stack;
    return hasSource ? Group.Flood : this.#drop("switch.spoofed_ip");
  }

  #arp(link: number, ethernet: number, network: number, end: number): Group {
    const view = this.#view;
    if (!isArp(view, network, end - network)) return this.#drop("stack.arp_malformed");
    if (this.#open >= 0) return this.#drop("switch.bad_offload");
    if (!this.#guard.isHonestArp(link, view, network, ethernet + SOURCE_MAC)) return this.#drop("switch.spoofed_arp");
    const target = view.getInt32(network + ARP_TARGET_IP);
    // An announcement asks for itself (RFC 5227).
    if (target === view.getInt32(network + ARP_SENDER_IP)) return Group.Announcement;
    this.#owner = this.#guard.ipv4Owner(target);
    return Group.Question;
  }

  /**
   * True where the open checksum, if there is one, is that of the protocol whose header is at `transport`, or of something that this one
   * carries (a tunnel's inner packet): completing it changes nothing of what was looked at.
   */
  #mayComplete(protocol: number, transport: number, isFragment: boolean): boolean {
    if (this.#open < 0) return true;
    if (isFragment) return false;
    const place = this.#open - transport;
    switch (protocol) {
      case Protocol.Icmpv6:
        return place === ICMP_CHECKSUM;
      case Protocol.Udp:
        return place === UDP_CHECKSUM || place >= UDP_HEADER;
      default:
        return place >= 0;
    }
  }

  #drop(counter: string): Group {
    this.#counters.add(counter);
    return Group.Drop;
  }
}

function isUnspecified(view: DataView, at: number): boolean {
  return (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8) | view.getInt32(at + 12)) === 0;
}
