/**
 * Who speaks with whom over which host socket: the unit of UDP's state.
 *
 * Theory of operation. A peer is one remote endpoint that one inside endpoint exchanges datagrams with. It is found in two
 * ways, both in the flow table:
 *
 *     out of the sandbox   (UDP, link, inside endpoint, endpoint that the sandbox addresses)
 *     from the host        (REPLY, socket, inside endpoint, endpoint that the datagram came from)
 *
 * The two outer endpoints differ where policy sends a destination elsewhere (the gateway's address to the host's loopback)
 * and where a client of a published port is shown under another address. What comes from an endpoint that has no peer is
 * not let in: address- and port-dependent filtering (RFC 4787, 5).
 *
 * A peer belongs to an owner: the flow of an inside endpoint, which has a socket of its own, or a published port. The
 * owner keeps its peers in the order of use, and one timer that looks through them when the first could be due.
 *
 * Bounds: peers per owner and in all (Limits); the longest idle one goes first.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { FlowTable } from "../flow/table.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import { rejectReason, reporter } from "../host/failure.js";
import type { DatagramHandler, Datagrams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import {
  type Address,
  type Endpoint,
  endpointAddress,
  endpointFamily,
  endpointPort,
  equalAddress,
  type Family,
  familyOf,
} from "../wire/address.js";
import { addWords, checksum, pseudoHeader } from "../wire/checksum.js";
import { ipHeader, writeIp } from "../wire/ip.js";
import { Protocol } from "../wire/ipv4.js";
import { NEXT_HEADER } from "../wire/ipv6.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";
import { UDP_CHECKSUM, UDP_HEADER, writeUdp } from "../wire/udp.js";
import { RecencyList, type Recent } from "./recency.js";

/** The flow table's protocol number for the way back; no packet of IP protocol 0 reaches the table. */
const REPLY = 0;
const DNS_PORT = 53;
/** Milliseconds without a datagram after which a peer is forgotten (RFC 4787, 4.3). */
export const IDLE = 300_000;
/** The same where one datagram went out and none came back, and for DNS, where one answer ends it. */
export const IDLE_UNANSWERED = 60_000;
export const IDLE_DNS = 20_000;
/** A timer looks through an owner's peers no more often than this. */
const SHORTEST_CHECK = 1000;
/** Payload bytes of a failed datagram that an ICMP error quotes. */
const QUOTED_PAYLOAD = LONGEST_QUOTE - 48;
const TTL = 64;

/** What all parts of UDP work with. */
export interface UdpParts {
  readonly output: Output;
  readonly datagrams: Datagrams;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly flows: FlowTable;
  readonly timers: Timers;
  readonly limits: Limits;
}

export interface Limits {
  /** Flows, each with a host socket. */
  readonly flows: number;
  readonly peersPerOwner: number;
  readonly peers: number;
}

export const DEFAULT_LIMITS: Limits = { flows: 4096, peersPerOwner: 1024, peers: 16384 };

export class Peer implements Recent<Peer> {
  readonly owner: PeerOwner;
  /** The endpoint as the sandbox sees it. */
  readonly seen: Address;
  readonly seenPort: number;
  /** The endpoint as the host sees it. */
  readonly remote: Endpoint;
  readonly socket: number;
  /** Our own address towards it; null: the socket's. */
  source: Endpoint | null;
  sent = 0;
  answered = false;
  lastUsed = 0;
  older: Peer | null = null;
  newer: Peer | null = null;
  /** Ids in the flow table. */
  id = -1;
  replyId = -1;

  constructor(
    owner: PeerOwner,
    socket: number,
    seen: Address,
    seenPort: number,
    remote: Endpoint,
    source: Endpoint | null,
  ) {
    this.owner = owner;
    this.socket = socket;
    this.seen = seen;
    this.seenPort = seenPort;
    this.remote = remote;
    this.source = source;
  }

  /** Milliseconds of silence after which it goes. */
  get idleLimit(): number {
    if (endpointPort(this.remote) === DNS_PORT) return IDLE_DNS;
    return this.sent === 1 && !this.answered ? IDLE_UNANSWERED : IDLE;
  }
}

/** All peers, and the ways to find them. */
export class PeerTable {
  readonly #parts: UdpParts;
  readonly #byId: (Peer | undefined)[] = [];
  readonly #from = new Uint8Array(16);
  size = 0;

  constructor(parts: UdpParts) {
    this.#parts = parts;
  }

  /** The peer that the sandbox addresses. */
  outbound(
    link: number,
    family: Family,
    inside: Address,
    port: number,
    outside: Address,
    outsidePort: number,
  ): Peer | undefined {
    const id = this.#parts.flows.find(Protocol.Udp, link, family, inside, port, outside, outsidePort);
    return id < 0 ? undefined : this.#byId[id];
  }

  /** The owner's peer at the endpoint at `at` of `addresses`, on this socket. */
  reply(socket: number, owner: PeerOwner, addresses: Uint8Array, at: number): Peer | undefined {
    const family = endpointFamily(addresses, at);
    if (family === 0) return undefined;
    const from = this.#from;
    for (let i = 0; i < 16; i++) from[i] = addresses[at + 8 + i];
    const port = endpointPort(addresses, at);
    const id = this.#parts.flows.find(REPLY, socket, family, owner.address, owner.port, from, port);
    return id < 0 ? undefined : this.#byId[id];
  }

  /** Adds a peer; false where the flow table is full or another peer has one of its two places. */
  add(peer: Peer): boolean {
    const { flows } = this.#parts;
    const { owner, seen, seenPort, remote, socket } = peer;
    const inside = owner.address;
    const family = familyOf(inside);
    const remoteFamily = endpointFamily(remote) === 6 ? 6 : 4;
    const remoteAddress = endpointAddress(remote);
    const remotePort = endpointPort(remote);
    if (flows.find(Protocol.Udp, owner.link, family, inside, owner.port, seen, seenPort) >= 0) return false;
    if (flows.find(REPLY, socket, remoteFamily, inside, owner.port, remoteAddress, remotePort) >= 0) return false;
    const id = flows.insert(Protocol.Udp, owner.link, family, inside, owner.port, seen, seenPort);
    if (id < 0) return false;
    const replyId = flows.insert(REPLY, socket, remoteFamily, inside, owner.port, remoteAddress, remotePort);
    if (replyId < 0) {
      flows.remove(id);
      return false;
    }
    peer.id = id;
    peer.replyId = replyId;
    this.#byId[id] = peer;
    this.#byId[replyId] = peer;
    this.size++;
    return true;
  }

  remove(peer: Peer): void {
    this.#parts.flows.remove(peer.id);
    this.#parts.flows.remove(peer.replyId);
    this.#byId[peer.id] = undefined;
    this.#byId[peer.replyId] = undefined;
    this.size--;
  }
}

/** An inside endpoint with its peers. */
export abstract class PeerOwner implements DatagramHandler, TimerOwner {
  readonly address: Address;
  readonly port: number;
  link: number;
  readonly peers = new RecencyList<Peer>();
  protected readonly parts: UdpParts;
  protected readonly table: PeerTable;
  readonly #timer: Timer;
  #nextCheck = Number.POSITIVE_INFINITY;

  constructor(parts: UdpParts, table: PeerTable, link: number, address: Address, port: number) {
    this.parts = parts;
    this.table = table;
    this.link = link;
    this.address = address;
    this.port = port;
    this.#timer = new Timer(this);
  }

  /** A datagram came from the host. */
  abstract datagram(
    socket: number,
    offset: number,
    length: number,
    segment: number,
    addresses: Uint8Array,
    at: number,
  ): void;

  /** The last peer is gone. */
  protected abstract empty(): void;

  /** Notes that a datagram goes to or comes from a peer. */
  used(peer: Peer): void {
    peer.lastUsed = this.parts.clock.now();
    this.peers.touch(peer);
  }

  /** Adds a peer, for which room is made if needed; false where there is none in the flow table. */
  addPeer(peer: Peer): boolean {
    const { counters, limits, clock, timers } = this.parts;
    if (this.peers.size >= limits.peersPerOwner && this.peers.oldest !== null) {
      counters.add("udp.peer_limit");
      this.#forget(this.peers.oldest);
    }
    if (!this.table.add(peer)) return false;
    const now = clock.now();
    peer.lastUsed = now;
    this.peers.add(peer);
    const check = Math.min(IDLE_UNANSWERED, peer.idleLimit);
    if (now + check < this.#nextCheck) {
      this.#nextCheck = now + check;
      timers.arm(this.#timer, now, check);
    }
    return true;
  }

  removePeer(peer: Peer): void {
    this.#forget(peer);
    if (this.peers.size === 0) this.empty();
  }

  removePeers(): void {
    for (let peer = this.peers.oldest; peer !== null; peer = this.peers.oldest) this.#forget(peer);
    this.parts.timers.cancel(this.#timer);
    this.#nextCheck = Number.POSITIVE_INFINITY;
  }

  /** Looks for peers that have been silent for too long. */
  expired(): void {
    const now = this.parts.clock.now();
    let next = Number.POSITIVE_INFINITY;
    for (let peer = this.peers.oldest; peer !== null; ) {
      const due = peer.lastUsed + peer.idleLimit;
      const newer: Peer | null = peer.newer;
      if (due <= now) this.#forget(peer);
      else next = Math.min(next, due);
      peer = newer;
    }
    this.#nextCheck = Number.POSITIVE_INFINITY;
    if (this.peers.size === 0) {
      this.empty();
      return;
    }
    const delay = Math.max(SHORTEST_CHECK, next - now);
    this.#nextCheck = now + delay;
    this.parts.timers.arm(this.#timer, now, delay);
  }

  /** A datagram to a peer failed: the sandbox hears of it as it would from a router. */
  datagramFailed(
    socket: number,
    errno: number,
    type: number,
    code: number,
    info: number,
    offset: number,
    length: number,
    addresses: Uint8Array,
    at: number,
  ): void {
    const peer = this.table.reply(socket, this, addresses, at);
    if (peer === undefined) {
      this.parts.counters.add("udp.stray_error");
      return;
    }
    const family = endpointFamily(peer.remote) === 6 ? 6 : 4;
    const reason = rejectReason(errno, family, type, code, familyOf(this.address));
    if (reason === Reject.TooBig && info <= 0) {
      this.parts.counters.add("udp.too_big_without_mtu");
      return;
    }
    this.parts.counters.add("udp.failed");
    const original = this.#original(peer, offset, length);
    const isRemote = equalAddress(addresses, peer.remote, at + 32, 8) && endpointFamily(addresses, at + 24) !== 0;
    const from = isRemote ? peer.seen : reporter(familyOf(this.address), addresses, at);
    // A header that nobody knows is told by its place, which is ours and not the host's.
    const told = reason === Reject.ProtocolUnreachable ? NEXT_HEADER : info;
    this.parts.output.reject(this.link, original, reason, from, told);
  }

  /** Sends a datagram, or several of `segment` bytes, from a peer into the sandbox. */
  protected deliver(peer: Peer, offset: number, length: number, segment: number): void {
    const { output } = this.parts;
    const header = offset - UDP_HEADER;
    writeUdp(output.view, header, peer.seenPort, this.port, UDP_HEADER + length);
    output.send(
      this.link,
      Protocol.Udp,
      peer.seen,
      this.address,
      header,
      UDP_HEADER + length,
      UDP_HEADER,
      segment < length ? segment : 0,
    );
  }

  #forget(peer: Peer): void {
    this.peers.remove(peer);
    this.table.remove(peer);
  }

  /** The beginning of the packet as the sandbox sent it. */
  #original(peer: Peer, offset: number, length: number): Uint8Array {
    const payload = Math.min(length, QUOTED_PAYLOAD);
    const header = ipHeader(this.address);
    const datagram = UDP_HEADER + payload;
    const original = new Uint8Array(header + datagram);
    const view = new DataView(original.buffer);
    writeIp(view, 0, datagram, Protocol.Udp, TTL, this.address, peer.seen);
    writeUdp(view, header, this.port, peer.seenPort, datagram);
    original.set(this.parts.output.bytes.subarray(offset, offset + payload), header + UDP_HEADER);
    const pseudo = pseudoHeader(this.address, peer.seen, Protocol.Udp, datagram);
    const sum = checksum(addWords(view, header, original.length, pseudo));
    view.setUint16(header + UDP_CHECKSUM, sum === 0 ? 0xffff : sum);
    return original;
  }
}
