/**
 * Frames that another shard has to see: how several networks on the queues of one TAP do the work of one.
 *
 * Theory of operation. The kernel chooses the queue for a frame out of the sandbox: the one that last wrote the frame's flow
 * (a memory of 3 s), else by a hash of addresses and ports. So a frame may come to a shard that does not have its flow: after a
 * pause, always where there are no ports to hash, and half of the datagrams that nobody answers. What is then done:
 *
 *     not TCP (ARP, UDP, ICMP, fragments, the unknown)   shard 0 has all of it, the others hand it over
 *     TCP to the DNS address                             likewise: one place knows the resolvers
 *     TCP, the shard has the flow                        its own
 *     TCP, a SYN                                         opens a flow here
 *     TCP, anything else                                 goes round: to the next shard, and the next ...; the one that has the
 *                                                        flow takes it. Back at its beginning it is a stray, and gets its reset
 *
 * No SYN opens a second flow beside one that another shard has: the hash is the same for all frames of a connection, and only
 * a write leads them elsewhere. For a connection out of the sandbox whoever gets the SYN is also the only one that ever writes,
 * a stray's reset included (that is why it goes all the way round). A published connection belongs to the shard that accepted it;
 * a SYN with just its addresses and ports can come only from a sandbox that uses a connection's two ends for another one.
 *
 * Neighbours are told to all: what shard 0 hears of ARP and neighbour discovery, the others get a copy of, and learn without
 * answering.
 *
 * Shards are joined by pairs of sockets, links like the TAP's queue. The number of shards that have seen a frame stands in the
 * last two bytes of its virtio header, which no kernel reads or writes. They are believed of a pair only, never of the TAP.
 *
 * Bounds: no state. What finds no room in a pair is dropped and counted by the engine (`links.write_drops`).
 */
import type { Counters } from "../flow/counters.js";
import { VNET_HEADER } from "../native/engine.js";
import type { Egress } from "../stack/egress.js";
import { type Address, equalAddress } from "../wire/address.js";
import { ETHERNET_HEADER, EtherType, etherType } from "../wire/ethernet.js";
import { icmpType } from "../wire/icmp.js";
import { isDiscovery } from "../wire/icmpv6.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipv4Destination,
  ipv4Fragment,
  ipv4Protocol,
  ipv4Word,
  MORE_FRAGMENTS,
  Protocol,
} from "../wire/ipv4.js";
import { IPV6_DESTINATION, IPV6_HEADER, ipv6NextHeader } from "../wire/ipv6.js";
import type { Packet } from "../wire/packet.js";
import { setVnetBuffers, vnetBuffers } from "../wire/vnet.js";

export interface HandoverOptions {
  /** Which of the shards this is, and how many there are. */
  readonly index: number;
  readonly count: number;
  /** Where DNS is served, by family; null: nowhere. */
  readonly dns: { readonly v4: Address | null; readonly v6: Address | null };
  /** The engine's slab. */
  readonly slab: ArrayBuffer;
  readonly egress: Egress;
  readonly counters: Counters;
  /** The stack's door. */
  readonly deliver: (link: number, offset: number, length: number) => void;
}

export class Handover {
  readonly #index: number;
  readonly #count: number;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #dns: number | null;
  readonly #dns6: Address | null;
  readonly #egress: Egress;
  readonly #counters: Counters;
  readonly #deliver: (link: number, offset: number, length: number) => void;
  #tap = -1;
  /** Links to the other shards, by their number; -1 for our own. */
  #peers: readonly number[] = [];
  /** How many shards have seen the frame that is being looked at. */
  #seen = 0;
  #handed = 0;
  #taken = 0;

  constructor(options: HandoverOptions) {
    this.#index = options.index;
    this.#count = options.count;
    this.#view = new DataView(options.slab);
    this.#bytes = new Uint8Array(options.slab);
    this.#dns = options.dns.v4 && ipv4Word(options.dns.v4);
    this.#dns6 = options.dns.v6;
    this.#egress = options.egress;
    this.#counters = options.counters;
    this.#deliver = options.deliver;
  }

  /** From now on frames come from these links: the TAP's, and one to each other shard (-1 in our own place). */
  join(tap: number, peers: readonly number[]): void {
    this.#tap = tap;
    this.#peers = peers;
  }

  /** Takes one frame from any of the links. */
  frame(link: number, offset: number, length: number): void {
    if (link !== this.#tap) {
      this.#fromShard(offset, length);
      return;
    }
    this.#seen = 0;
    if (this.#index === 0) {
      this.#own(offset, length);
    } else if (isTcp(this.#view, offset, length) && !this.#isForDns(offset)) {
      this.#deliver(link, offset, length);
    } else {
      this.#hand(0, offset, length, 0);
    }
  }

  /**
   * Hands a TCP packet of no flow here to the next shard. False when every one has seen it.
   * The packet lies behind the virtio and Ethernet headers that it came with.
   */
  offer(packet: Packet): boolean {
    if (this.#seen >= this.#count) return false;
    const offset = packet.network - ETHERNET_HEADER - VNET_HEADER;
    this.#hand((this.#index + 1) % this.#count, offset, packet.end - offset, this.#seen + 1);
    return true;
  }

  /** Frames that were given to other shards, and that came from them. */
  snapshot(): Record<string, number> {
    return { "shards.frames_handed": this.#handed, "shards.frames_taken": this.#taken };
  }

  #fromShard(offset: number, length: number): void {
    const seen = length < VNET_HEADER ? -1 : vnetBuffers(this.#view, offset);
    if (seen < 0 || seen > this.#count) {
      this.#counters.add("shards.bad_message");
      return;
    }
    this.#taken++;
    this.#seen = seen;
    if (this.#index === 0) this.#own(offset, length);
    else this.#deliver(this.#tap, offset, length);
  }

  /** Shard 0's way: the others shall know the neighbours that it hears of. */
  #own(offset: number, length: number): void {
    this.#deliver(this.#tap, offset, length);
    if (!isDiscoveryFrame(this.#view, offset, length)) return;
    for (let shard = 1; shard < this.#count; shard++) this.#hand(shard, offset, length, this.#count);
  }

  /** `offset`: a frame that isTcp() says yes to. */
  #isForDns(offset: number): boolean {
    const ethernet = offset + VNET_HEADER;
    const network = ethernet + ETHERNET_HEADER;
    if (etherType(this.#view, ethernet) === EtherType.IPv4) return ipv4Destination(this.#view, network) === this.#dns;
    return this.#dns6 !== null && equalAddress(this.#bytes, this.#dns6, network + IPV6_DESTINATION);
  }

  #hand(shard: number, offset: number, length: number, seen: number): void {
    if (length < VNET_HEADER + ETHERNET_HEADER) {
      this.#counters.add("stack.short_frame");
      return;
    }
    setVnetBuffers(this.#view, offset, seen);
    this.#egress.relay(this.#peers[shard], offset, length);
    this.#handed++;
  }
}

/** True for a frame that the TCP of any shard can read: whole, and without IPv6 extension headers. */
function isTcp(view: DataView, offset: number, length: number): boolean {
  const ethernet = offset + VNET_HEADER;
  const network = ethernet + ETHERNET_HEADER;
  const available = offset + length - network;
  if (available < IPV4_HEADER) return false;
  switch (etherType(view, ethernet)) {
    case EtherType.IPv4:
      return (
        ipv4Protocol(view, network) === Protocol.Tcp &&
        (ipv4Fragment(view, network) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) === 0
      );
    case EtherType.IPv6:
      return available >= IPV6_HEADER && ipv6NextHeader(view, network) === Protocol.Tcp;
    default:
      return false;
  }
}

/** True for ARP, and for neighbour discovery without extension headers. */
function isDiscoveryFrame(view: DataView, offset: number, length: number): boolean {
  const ethernet = offset + VNET_HEADER;
  const network = ethernet + ETHERNET_HEADER;
  if (network > offset + length) return false;
  const type = etherType(view, ethernet);
  if (type !== EtherType.IPv6) return type === EtherType.ARP;
  return (
    network + IPV6_HEADER < offset + length &&
    ipv6NextHeader(view, network) === Protocol.Icmpv6 &&
    isDiscovery(icmpType(view, network + IPV6_HEADER))
  );
}
