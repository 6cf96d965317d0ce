/**
 * From a transport segment to a frame on a link: implements link/output for all protocols.
 *
 * Theory of operation. A protocol builds its segment in a place that it asked for here, or directly before payload that
 * the engine put into a slot. `send` writes IP, Ethernet and virtio headers backwards from there, and one Write record; no
 * byte of payload is touched. Checksums of TCP and UDP are left to the receiving kernel (NEEDS_CSUM with the sum of the
 * pseudo header), and what is longer than a segment goes as one super-frame (GSO).
 *
 *     place:   | vnet 12 | Ethernet 14 | IPv4 20, or IPv6 40 and fragment 8 | transport header and payload ...
 *              └ at most 74 bytes (LOWER) ──────────────────────────────────┘
 *
 * Three things cost a copy into the control area: fragments of what is longer than the MTU and no super-frame (their
 * checksum is computed in full first), and UDP super-frames that the kernel would not take whole, since the frames go
 * out at the end of the turn and cannot overwrite each other's payload.
 *
 * Links that know no offloads are served by stack/plain-links: their frames wait there until the end of the turn.
 *
 * Bounds: the control area (COPY_SHARE of it for such copies, so that acknowledgements always have room), the spare slots
 * of a turn, and the command records; what does not fit is dropped and counted, as a full device queue would.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { Output } from "../link/output.js";
import { MAX_SEGMENTS } from "../link/segment.js";
import {
  COMMAND_STRIDE,
  CONTROL_AREA,
  Control,
  type EngineMemory,
  HEADROOM,
  MAX_LINKS,
  Op,
  SLOT_SIZE,
  VNET_HEADER,
} from "../native/engine.js";
import { type Address, isIPv4, parseAddress } from "../wire/address.js";
import { ARP_LENGTH, ArpOperation, writeArp } from "../wire/arp.js";
import { addWords, checksum, fold, pseudoHeader, pseudoHeaderIPv4 } from "../wire/checksum.js";
import { ETHERNET_HEADER, EtherType, type Mac, macHigh, macLow, writeEthernet } from "../wire/ethernet.js";
import { ICMP_HEADER, icmpType } from "../wire/icmp.js";
import { isDiscovery, setIcmpv6Checksum } from "../wire/icmpv6.js";
import { DONT_FRAGMENT, IPV4_HEADER, IPV4_MAX, ipv4Word, MORE_FRAGMENTS, Protocol, writeIPv4 } from "../wire/ipv4.js";
import {
  FRAGMENT_HEADER,
  FRAGMENT_MORE,
  IPV6_HEADER,
  IPV6_MAX_PAYLOAD,
  IPV6_SOURCE,
  isMulticast,
  NextHeader,
  solicitedNode,
  writeFragmentHeader,
  writeIPv6,
} from "../wire/ipv6.js";
import {
  NDP_HOP_LIMIT,
  NEIGHBOUR_MESSAGE,
  writeNeighbourAdvertisement,
  writeNeighbourSolicitation,
} from "../wire/ndp.js";
import type { Reject } from "../wire/reject.js";
import { UDP_CHECKSUM, UDP_HEADER, udpDestinationPort, udpSourcePort, writeUdp } from "../wire/udp.js";
import { Gso, MAX_UDP_SEGMENTS, writeChecksumVnet, writePlainVnet } from "../wire/vnet.js";
import { IcmpErrors } from "./errors.js";
import type { Neighbours } from "./neighbours.js";
import { PlainLinks } from "./plain-links.js";

const LINK_HEADERS = VNET_HEADER + ETHERNET_HEADER;
/** The most bytes of lower headers before a transport header. */
const LOWER = LINK_HEADERS + IPV6_HEADER + FRAGMENT_HEADER;
const TTL = 64;
const TCP_CHECKSUM = 16;
/** Part of the control area that copies may fill. */
const COPY_SHARE = 0.75;
/** Part of the command records that frames may fill: orders to sockets must never fail for want of room. */
const COMMAND_SHARE = 0.875;
const LONGEST_SMALL = 128;
/** Places begin on cache lines. */
const ALIGNMENT = 64;
const BROADCAST = -1;
const ALL_NODES = parseAddress("ff02::1");
const LINKS = MAX_LINKS + MAX_SEGMENTS;
/** What a link takes: whole frames only, UDP super-frames as well, or nothing that is not complete. */
enum Takes {
  Nothing = 0,
  Frames = 1,
  Uso = 2,
  Complete = 3,
}

export interface EgressOptions {
  readonly memory: EngineMemory;
  readonly neighbours: Neighbours;
  readonly clock: Clock;
  readonly counters: Counters;
  /** The largest IP packet, headers included: 576 to 65535 bytes. */
  readonly mtu: number;
  /** Who speaks where nobody else does: asks for neighbours and reports errors. */
  readonly gateway: Address;
  /** The same for IPv6, and our address on every link; null: the sandbox has no IPv6. */
  readonly v6: { readonly gateway: Address; readonly linkLocal: Address } | null;
  /** Our MAC address on every link. */
  readonly mac: Mac;
  /** Takes what is for links that are no TAPs (link/segment.ts). */
  readonly segment?: (link: number, offset: number, length: number) => void;
}

export class Egress implements Output {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly mtu: number;
  readonly #memory: EngineMemory;
  readonly #control: Int32Array;
  readonly #commands: Int32Array;
  readonly #maxCommands: number;
  readonly #neighbours: Neighbours;
  readonly #clock: Clock;
  readonly #counters: Counters;
  readonly #errors: IcmpErrors;
  readonly #gateway: Address;
  readonly #linkLocal: Address | null;
  readonly #macHigh: number;
  readonly #macLow: number;
  readonly #segment: EgressOptions["segment"];
  /** Takes, by link. */
  readonly #links = new Uint8Array(LINKS);
  readonly #areaStart: number;
  readonly #areaEnd: number;
  readonly #copyEnd: number;
  readonly #plain: PlainLinks;
  #next: number;
  #id = 0;

  constructor(options: EgressOptions) {
    const { memory, mac } = options;
    this.bytes = new Uint8Array(memory.slab);
    this.view = new DataView(memory.slab);
    this.mtu = options.mtu;
    this.#memory = memory;
    this.#control = memory.control;
    this.#commands = memory.commands;
    this.#maxCommands = Math.floor((memory.commands.length / COMMAND_STRIDE) * COMMAND_SHARE);
    this.#neighbours = options.neighbours;
    this.#clock = options.clock;
    this.#counters = options.counters;
    this.#gateway = options.gateway;
    this.#linkLocal = options.v6?.linkLocal ?? null;
    this.#segment = options.segment;
    const macView = new DataView(mac.buffer, mac.byteOffset, mac.byteLength);
    this.#macHigh = macHigh(macView, 0);
    this.#macLow = macLow(macView, 0);
    this.#areaStart = memory.slots * SLOT_SIZE;
    this.#areaEnd = this.#areaStart + CONTROL_AREA;
    this.#copyEnd = this.#areaStart + CONTROL_AREA * COPY_SHARE;
    this.#next = this.#areaStart;
    this.#plain = new PlainLinks({
      bytes: this.bytes,
      view: this.view,
      counters: options.counters,
      mtu: options.mtu,
      place: (length) => {
        const at = this.large();
        return at >= 0 ? at : this.place(length);
      },
      write: (link, offset, length) => this.#command(link, offset, length),
    });
    this.#errors = new IcmpErrors({
      output: this,
      clock: options.clock,
      counters: options.counters,
      gateway: options.gateway,
      v6: options.v6,
    });
  }

  /**
   * Frames may be sent to a link from now on. `uso`: its kernel takes UDP super-frames (Linux 6.2). `plain`: it has no virtio
   * header, and takes complete frames only.
   */
  addLink(link: number, uso: boolean, plain = false): void {
    if (link < 0 || link >= LINKS) throw new RangeError(`link ${link} is not below ${LINKS}`);
    this.#links[link] = plain ? Takes.Complete : uso ? Takes.Uso : Takes.Frames;
  }

  /** What is sent to this link from now on is dropped and counted. */
  removeLink(link: number): void {
    this.#links[link] = Takes.Nothing;
    this.#neighbours.removeLink(link);
  }

  /** Begins a turn: what was written before is committed, so that its room is free again. */
  beginTurn(): void {
    if (this.#control[Control.CommandCount] === 0) this.#next = this.#areaStart;
  }

  /** Ends a turn: to be called when nobody sends or changes anything any more. */
  endOfTurn(): void {
    this.#plain.endOfTurn();
  }

  small(length: number): number {
    if (length <= LONGEST_SMALL) return this.place(length);
    return length + IPV4_HEADER > this.mtu ? -1 : this.#place(length, this.#copyEnd);
  }

  large(): number {
    const used = this.#control[Control.SpareUsed];
    if (used >= this.#control[Control.SpareCount]) return -1;
    this.#control[Control.SpareUsed] = used + 1;
    return this.#memory.spares[used] * SLOT_SIZE + HEADROOM;
  }

  /** A place in the control area for `length` bytes behind the lower headers, or -1. For what is neither small nor worth a slot. */
  place(length: number): number {
    return this.#place(length, this.#areaEnd);
  }

  send(
    link: number,
    protocol: number,
    source: Address,
    destination: Address,
    offset: number,
    length: number,
    header: number,
    segment: number,
  ): void {
    const ip = isIPv4(destination) ? IPV4_HEADER : IPV6_HEADER;
    if (!this.#resolve(link, destination, ip)) return;
    if (length + ip <= this.mtu && segment === 0) {
      this.#packet(link, ip, protocol, source, destination, offset, length, header, 0);
    } else if (protocol === Protocol.Tcp) {
      this.#packet(link, ip, protocol, source, destination, offset, length, header, segment || this.mtu - ip - header);
    } else if (protocol === Protocol.Udp && segment > 0) {
      this.#datagrams(link, ip, source, destination, offset, length, segment);
    } else {
      this.#fragments(link, ip, protocol, source, destination, offset, length);
    }
  }

  reject(link: number, original: Uint8Array, reason: Reject, from: Address | null, info: number): void {
    this.#errors.send(link, original, reason, from, info);
  }

  /** Passes on a whole frame of this turn as it is, its virtio header first. */
  relay(link: number, offset: number, length: number): void {
    this.#write(link, offset, length);
  }

  /** Sends an ARP message. Addresses as in wire/arp. */
  arp(
    link: number,
    operation: ArpOperation,
    senderIp: number,
    targetHigh: number,
    targetLow: number,
    targetIp: number,
  ): void {
    const at = this.place(ARP_LENGTH);
    if (at < 0) {
      this.#counters.add("stack.no_room");
      return;
    }
    const request = operation === ArpOperation.Request;
    const ethernet = at - ETHERNET_HEADER;
    writeArp(
      this.view,
      at,
      operation,
      this.#macHigh,
      this.#macLow,
      senderIp,
      request ? 0 : targetHigh,
      request ? 0 : targetLow,
      targetIp,
    );
    writeEthernet(this.view, ethernet, targetHigh, targetLow, this.#macHigh, this.#macLow, EtherType.ARP);
    writePlainVnet(this.view, ethernet - VNET_HEADER);
    this.#write(link, ethernet - VNET_HEADER, VNET_HEADER + ETHERNET_HEADER + ARP_LENGTH);
  }

  /**
   * Sends a neighbour advertisement for an address of ours.
   * @param to who asked; null: all nodes
   * @param flags of AdvertisementFlag
   */
  advertise(link: number, target: Address, to: Address | null, flags: number): void {
    const at = this.place(NEIGHBOUR_MESSAGE);
    if (at < 0) {
      this.#counters.add("stack.no_room");
      return;
    }
    writeNeighbourAdvertisement(this.view, at, flags, target, this.#macHigh, this.#macLow);
    this.#discover(link, target, to ?? ALL_NODES, at);
  }

  /**
   * Asks who has `target`. Whoever has it learns by that where `source`, an address of ours of the same family, is
   * (RFC 826; RFC 4861, 7.2.3).
   */
  ask(link: number, source: Address, target: Address): void {
    if (isIPv4(target)) {
      this.arp(link, ArpOperation.Request, ipv4Word(source), -1, 0xffff, ipv4Word(target));
      return;
    }
    const at = this.place(NEIGHBOUR_MESSAGE);
    if (at < 0) {
      this.#counters.add("stack.no_room");
      return;
    }
    writeNeighbourSolicitation(this.view, at, target, this.#macHigh, this.#macLow);
    this.#discover(link, source, solicitedNode(target), at);
  }

  #discover(link: number, source: Address, destination: Address, at: number): void {
    setIcmpv6Checksum(this.view, at, at + NEIGHBOUR_MESSAGE, source, destination);
    this.send(link, Protocol.Icmpv6, source, destination, at, NEIGHBOUR_MESSAGE, ICMP_HEADER, 0);
  }

  /** True where the link is up and the neighbour's MAC address is in #neighbours.high and .low. `ip`: bytes of the IP header. */
  #resolve(link: number, destination: Address, ip: number): boolean {
    const neighbours = this.#neighbours;
    if (this.#links[link] === Takes.Nothing) {
      this.#counters.add("stack.link_gone");
      return false;
    }
    if (neighbours.find(link, destination)) return true;
    if (ip === IPV4_HEADER && ipv4Word(destination) === BROADCAST) {
      neighbours.high = -1;
      neighbours.low = 0xffff;
      return true;
    }
    if (ip === IPV6_HEADER && isMulticast(destination)) {
      // RFC 2464, 7.
      neighbours.high = 0x33330000 | (destination[12] << 8) | destination[13];
      neighbours.low = (destination[14] << 8) | destination[15];
      return true;
    }
    this.#counters.add("stack.neighbour_unknown");
    if (neighbours.mayAsk(link, this.#clock.now())) {
      const asker = ip === IPV4_HEADER ? this.#gateway : this.#linkLocal;
      if (asker !== null) this.ask(link, asker, destination);
    }
    return false;
  }

  /** One packet or super-frame (segment > 0). */
  #packet(
    link: number,
    ip: number,
    protocol: number,
    source: Address,
    destination: Address,
    offset: number,
    length: number,
    header: number,
    segment: number,
  ): void {
    if (length > longestPayload(ip)) {
      this.#counters.add("stack.too_long");
      return;
    }
    const view = this.view;
    const network = offset - ip;
    const ethernet = network - ETHERNET_HEADER;
    const vnet = ethernet - VNET_HEADER;
    let pseudo = 0;
    if (ip === IPV4_HEADER) {
      const from = ipv4Word(source);
      const to = ipv4Word(destination);
      const fragment = protocol === Protocol.Tcp ? DONT_FRAGMENT : 0;
      writeIPv4(view, network, length + IPV4_HEADER, this.#nextId(), fragment, TTL, protocol, from, to);
      this.#writeEthernet(ethernet, EtherType.IPv4);
      pseudo = pseudoHeaderIPv4(from, to, protocol, length);
    } else {
      const hops = protocol === Protocol.Icmpv6 && isDiscovery(icmpType(view, offset)) ? NDP_HOP_LIMIT : TTL;
      writeIPv6(view, network, length, protocol, hops, source, destination);
      this.#writeEthernet(ethernet, EtherType.IPv6);
      pseudo = addWords(view, network + IPV6_SOURCE, offset, protocol + length);
    }
    if (protocol === Protocol.Tcp || protocol === Protocol.Udp) {
      const isTcp = protocol === Protocol.Tcp;
      const field = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
      view.setUint16(offset + field, fold(pseudo));
      const superFrame = segment > 0 && length - header > segment;
      const gso = superFrame ? superFrameType(isTcp, ip) : Gso.None;
      const headers = superFrame ? ETHERNET_HEADER + ip + header : 0;
      writeChecksumVnet(view, vnet, ETHERNET_HEADER + ip, field, gso, superFrame ? segment : 0, headers);
    } else writePlainVnet(view, vnet);
    this.#write(link, vnet, LINK_HEADERS + ip + length);
  }

  /**
   * Several datagrams of `segment` bytes behind one UDP header: as few super-frames as the kernel takes. The first goes
   * from where it is, the others are copied.
   */
  #datagrams(
    link: number,
    ip: number,
    source: Address,
    destination: Address,
    offset: number,
    length: number,
    segment: number,
  ): void {
    const whole = this.#links[link] === Takes.Uso && segment + UDP_HEADER + ip <= this.mtu;
    const chunk = whole ? segment * MAX_UDP_SEGMENTS : segment;
    const end = offset + length;
    const first = offset + UDP_HEADER;
    const sourcePort = udpSourcePort(this.view, offset);
    const destinationPort = udpDestinationPort(this.view, offset);
    for (let payload = first; payload < end; payload += chunk) {
      const size = Math.min(chunk, end - payload);
      let at = offset;
      if (payload > first) {
        at = this.#place(UDP_HEADER + size, this.#copyEnd);
        if (at < 0) {
          this.#counters.add("stack.no_room");
          return;
        }
        this.bytes.copyWithin(at + UDP_HEADER, payload, payload + size);
      }
      writeUdp(this.view, at, sourcePort, destinationPort, UDP_HEADER + size);
      if (whole || UDP_HEADER + size + ip <= this.mtu) {
        this.#packet(link, ip, Protocol.Udp, source, destination, at, UDP_HEADER + size, UDP_HEADER, segment);
      } else this.#fragments(link, ip, Protocol.Udp, source, destination, at, UDP_HEADER + size);
    }
  }

  /** One packet that is longer than the MTU. */
  #fragments(
    link: number,
    ip: number,
    protocol: number,
    source: Address,
    destination: Address,
    offset: number,
    length: number,
  ): void {
    const headers = ip === IPV4_HEADER ? IPV4_HEADER : IPV6_HEADER + FRAGMENT_HEADER;
    const largest = (this.mtu - headers) & ~7;
    const pieces = Math.ceil(length / largest);
    if (length > longestPayload(ip)) {
      this.#counters.add("stack.too_long");
      return;
    }
    if (this.#next + pieces * placeSize(largest) > this.#copyEnd) {
      this.#counters.add("stack.no_room");
      return;
    }
    const view = this.view;
    if (protocol === Protocol.Udp) {
      view.setUint16(offset + UDP_CHECKSUM, 0);
      const pseudo = pseudoHeader(source, destination, protocol, length);
      const sum = checksum(addWords(view, offset, offset + length, pseudo));
      view.setUint16(offset + UDP_CHECKSUM, sum === 0 ? 0xffff : sum);
    }
    const id = this.#nextId();
    for (let done = 0; done < length; done += largest) {
      const size = Math.min(largest, length - done);
      const at = this.place(size);
      const ethernet = at - headers - ETHERNET_HEADER;
      const network = at - headers;
      const more = done + size < length;
      this.bytes.copyWithin(at, offset + done, offset + done + size);
      if (ip === IPV4_HEADER) {
        const fragment = (done >> 3) | (more ? MORE_FRAGMENTS : 0);
        const from = ipv4Word(source);
        writeIPv4(view, network, size + IPV4_HEADER, id, fragment, TTL, protocol, from, ipv4Word(destination));
        this.#writeEthernet(ethernet, EtherType.IPv4);
      } else {
        writeFragmentHeader(view, at - FRAGMENT_HEADER, protocol, done | (more ? FRAGMENT_MORE : 0), id);
        writeIPv6(view, network, FRAGMENT_HEADER + size, NextHeader.Fragment, TTL, source, destination);
        this.#writeEthernet(ethernet, EtherType.IPv6);
      }
      writePlainVnet(view, ethernet - VNET_HEADER);
      this.#write(link, ethernet - VNET_HEADER, LINK_HEADERS + headers + size);
    }
  }

  #writeEthernet(at: number, type: EtherType): void {
    const neighbours = this.#neighbours;
    writeEthernet(this.view, at, neighbours.high, neighbours.low, this.#macHigh, this.#macLow, type);
  }

  #place(length: number, limit: number): number {
    const start = this.#next;
    const end = start + placeSize(length);
    if (end > limit) return -1;
    this.#next = end;
    return start + LOWER;
  }

  #nextId(): number {
    this.#id = (this.#id + 1) & 0xffff;
    return this.#id;
  }

  #write(link: number, offset: number, length: number): void {
    if (link >= MAX_LINKS) this.#segment?.(link, offset, length);
    else if (this.#links[link] === Takes.Complete) this.#plain.note(link, offset, length);
    else this.#command(link, offset, length);
  }

  #command(link: number, offset: number, length: number): void {
    const count = this.#control[Control.CommandCount];
    if (count >= this.#maxCommands) {
      this.#counters.add("stack.commands_full");
      return;
    }
    const at = count * COMMAND_STRIDE;
    const commands = this.#commands;
    commands[at] = Op.Write;
    commands[at + 1] = link;
    commands[at + 2] = offset;
    commands[at + 3] = length;
    commands[at + 4] = 0;
    commands[at + 5] = 0;
    this.#control[Control.CommandCount] = count + 1;
  }
}

function placeSize(length: number): number {
  return (LOWER + length + ALIGNMENT - 1) & -ALIGNMENT;
}

/** The longest transport header and payload behind an IP header of `ip` bytes. */
function longestPayload(ip: number): number {
  return ip === IPV4_HEADER ? IPV4_MAX - IPV4_HEADER : IPV6_MAX_PAYLOAD;
}

function superFrameType(isTcp: boolean, ip: number): Gso {
  if (!isTcp) return Gso.UdpL4;
  return ip === IPV4_HEADER ? Gso.TcpV4 : Gso.TcpV6;
}
