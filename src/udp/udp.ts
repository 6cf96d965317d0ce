/**
 * UDP: the door for datagrams of the sandbox.
 *
 * Theory of operation. A datagram is checked, and its peer (udp/peers) looked up: then it is one command to send it, for
 * a whole super-frame of datagrams too. Where there is no peer, policy is asked: it may be dialled, and a flow (udp/flow)
 * is opened for the inside endpoint if it has none; it may be for a service of ours, which is handed a copy; or it is
 * refused, and the sandbox is told. Datagrams of the host come in through the owners of the peers.
 *
 * A refused or served destination leaves no state: policy is asked again for the next datagram.
 * Bounds: see Limits in udp/peers. Dropped here are only malformed datagrams and what finds no room; each is counted.
 */

import { rejectReason } from "../host/failure.js";
import { pathOutside } from "../host/path.js";
import type { Policy, Verdict } from "../policy/policy.js";
import { type Address, endpointFamily } from "../wire/address.js";
import { addWords, checksum, pseudoHeader } from "../wire/checksum.js";
import { Protocol } from "../wire/ipv4.js";
import type { Packet } from "../wire/packet.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";
import { type Reported, Trouble } from "../wire/reported.js";
import { UDP_HEADER, udpChecksum, udpDestinationPort, udpLength, udpSourcePort, writeUdp } from "../wire/udp.js";
import { FlowSet } from "./flow.js";
import { DEFAULT_LIMITS, type Limits, Peer, PeerTable, type UdpParts } from "./peers.js";
import { PublishedPort, type PublishedPortOptions } from "./published.js";

/** The longest payload of an IPv4 datagram. */
const LONGEST_PAYLOAD = 65507;
/**
 * Bytes of the longest packet of which "don't fragment" is heard. A longer one says no more than that the MTU inside is
 * larger than Ethernet's, of which the sender knows nothing: the host fragments it, and nothing is lost.
 */
const LONGEST_WHOLE = 1500;
/** Where there is no room for another flow for now: the flow table (0), ENOMEM, ENFILE, EMFILE, ENOBUFS. */
const SHORTAGES = new Set([0, 12, 23, 24, 105]);

/** A service of ours that speaks UDP. It answers by Udp.respond(), with the addresses and ports the other way round. */
export interface DatagramService {
  /** `bytes` is a copy, the service's to keep. */
  request(
    link: number,
    source: Address,
    sourcePort: number,
    destination: Address,
    destinationPort: number,
    bytes: Uint8Array,
  ): void;
}

export interface UdpOptions extends Omit<UdpParts, "limits"> {
  readonly policy: Policy;
  /** Null: nobody serves it, which is said by a port unreachable. */
  readonly dns: DatagramService | null;
  readonly dhcp: DatagramService | null;
  readonly dhcpv6: DatagramService | null;
  readonly limits?: Partial<Limits>;
}

export class Udp {
  readonly #parts: UdpParts;
  readonly #policy: Policy;
  readonly #dns: DatagramService | null;
  readonly #dhcp: DatagramService | null;
  readonly #dhcpv6: DatagramService | null;
  readonly #peers: PeerTable;
  readonly #flows: FlowSet;
  readonly #published = new Set<PublishedPort>();

  constructor(options: UdpOptions) {
    const { output, datagrams, clock, counters, flows, timers } = options;
    const limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#parts = { output, datagrams, clock, counters, flows, timers, limits };
    this.#policy = options.policy;
    this.#dns = options.dns;
    this.#dhcp = options.dhcp;
    this.#dhcpv6 = options.dhcpv6;
    this.#peers = new PeerTable(this.#parts);
    this.#flows = new FlowSet(this.#parts, this.#peers);
  }

  /** Inside endpoints that have a host socket. */
  get flowCount(): number {
    return this.#flows.recent.size;
  }

  /** Pairs of inside and outside endpoint, clients of published ports included. */
  get peerCount(): number {
    return this.#peers.size;
  }

  /** Takes one datagram of the sandbox, or a super-frame of several. */
  input(packet: Packet): void {
    const { view, transport: at } = packet;
    const available = packet.end - at;
    const length = available < UDP_HEADER ? 0 : udpLength(view, at);
    if (length < UDP_HEADER || length > available) {
      this.#parts.counters.add("udp.malformed");
      return;
    }
    // Over IPv6 there is no datagram without a checksum (RFC 8200, 8.1).
    const unchecked = packet.partialChecksum || (udpChecksum(view, at) === 0 && packet.family === 4);
    if (!unchecked && !validChecksum(packet, length)) {
      this.#parts.counters.add("udp.checksum");
      return;
    }
    const sourcePort = udpSourcePort(view, at);
    const destinationPort = udpDestinationPort(view, at);
    const { link, family, source, destination } = packet;
    const peer =
      this.#peers.outbound(link, family, source, sourcePort, destination, destinationPort) ??
      this.#newPeer(packet, sourcePort, destinationPort, length);
    if (peer === null) return;
    if (peer.sent < 2) peer.sent++;
    peer.owner.used(peer);
    const segment = packet.segment < length - UDP_HEADER ? packet.segment : 0;
    const payload = length - UDP_HEADER;
    const size = at - packet.network + UDP_HEADER + (segment > 0 ? segment : payload);
    const path = pathOutside(packet, size, LONGEST_WHOLE);
    this.#parts.datagrams.sendTo(peer.socket, at + UDP_HEADER, payload, segment, peer.remote, peer.source, path);
  }

  /**
   * The sandbox reports what became of a datagram that went in. Where nobody takes it any more, its peer goes: with the last one
   * the socket, and then the host's kernel says the same to whoever sends more. False: it is of no peer.
   */
  reported({ trouble, link, family, inside, insidePort, outside, outsidePort }: Reported): boolean {
    const peer = this.#peers.outbound(link, family, inside, insidePort, outside, outsidePort);
    if (peer === undefined) return false;
    this.#parts.counters.add(trouble === Trouble.Refused ? "udp.inside_refused" : "udp.inside_error");
    if (trouble === Trouble.Refused) peer.owner.removePeer(peer);
    return true;
  }

  /** Sends a datagram of a service into the sandbox. Only within a turn. */
  respond(
    link: number,
    source: Address,
    sourcePort: number,
    destination: Address,
    destinationPort: number,
    bytes: Uint8Array,
  ): void {
    const { output, counters } = this.#parts;
    if (bytes.length > LONGEST_PAYLOAD) {
      counters.add("udp.response_too_long");
      return;
    }
    const length = UDP_HEADER + bytes.length;
    let at = output.small(length);
    if (at < 0) at = output.large();
    if (at < 0) {
      counters.add("udp.no_room");
      return;
    }
    writeUdp(output.view, at, sourcePort, destinationPort, length);
    output.bytes.set(bytes, at + UDP_HEADER);
    output.send(link, Protocol.Udp, source, destination, at, length, UDP_HEADER, 0);
  }

  /** Makes the handler for the datagrams of a published port; see udp/published. */
  publish(options: PublishedPortOptions): PublishedPort {
    const port = new PublishedPort(this.#parts, this.#peers, options);
    this.#published.add(port);
    return port;
  }

  /** Forgets the clients of a published port. Its socket is the publisher's. */
  unpublish(port: PublishedPort): void {
    port.close();
    this.#published.delete(port);
  }

  /** Ends all flows of a link that is gone, and forgets the clients of its published ports. */
  removeLink(link: number): void {
    this.#flows.closeLink(link);
    for (const port of this.#published) {
      if (port.link === link) this.unpublish(port);
    }
  }

  /** Decides what becomes of the first datagram to a destination; null where nothing is to be sent. */
  #newPeer(packet: Packet, sourcePort: number, destinationPort: number, length: number): Peer | null {
    if (sourcePort === 0) {
      this.#parts.counters.add("udp.port_zero");
      return null;
    }
    const verdict = this.#policy.outbound("udp", packet.source, packet.destination, destinationPort);
    switch (verdict.kind) {
      case "dial":
        return this.#dial(packet, sourcePort, destinationPort, verdict);
      case "service":
        this.#serve(packet, sourcePort, destinationPort, length, verdict.service);
        return null;
      case "refuse":
        this.#parts.counters.add(verdict.counter);
        if (verdict.reason !== "silent") this.#reject(packet, verdict.reason);
        return null;
    }
  }

  #dial(
    packet: Packet,
    sourcePort: number,
    destinationPort: number,
    verdict: Extract<Verdict, { kind: "dial" }>,
  ): Peer | null {
    const { counters, limits } = this.#parts;
    const { remote, local } = verdict;
    const family = endpointFamily(remote) === 6 ? 6 : 4;
    this.#makeRoom(limits.peers);
    const found =
      this.#flows.find(packet.link, packet.source, sourcePort) ??
      this.#flows.open(packet.link, packet.source, sourcePort, family, local);
    if (typeof found === "number") {
      this.#noSocket(packet, -found);
      return null;
    }
    if (found.family !== family) {
      counters.add("udp.mixed_families");
      this.#reject(packet, Reject.NoRoute);
      return null;
    }
    this.#flows.recent.touch(found);
    const peer = new Peer(found, found.socket, packet.destination.slice(), destinationPort, remote, null);
    if (found.addPeer(peer)) return peer;
    // Two destinations that policy sends to the same place cannot be told apart on the way back: the later one is refused.
    counters.add("udp.no_peer");
    if (found.peers.size === 0) this.#flows.close(found);
    this.#reject(packet, Reject.HostUnreachable);
    return null;
  }

  /** A flow could not be opened. */
  #noSocket(packet: Packet, errno: number): void {
    this.#parts.counters.add("udp.no_socket");
    if (!SHORTAGES.has(errno)) {
      this.#reject(packet, rejectReason(errno, packet.family, -1, 0));
      return;
    }
    // The longest idle flow has a descriptor that nobody misses. It is free after this turn, for the next datagram.
    const { oldest } = this.#flows.recent;
    if (oldest !== null) this.#flows.close(oldest);
  }

  /** Keeps the number of peers below the limit: the longest idle flow loses its longest idle peer. */
  #makeRoom(limit: number): void {
    const flow = this.#flows.recent.oldest;
    if (this.#peers.size < limit || flow === null || flow.peers.oldest === null) return;
    this.#parts.counters.add("udp.peers_limit");
    flow.removePeer(flow.peers.oldest);
  }

  #serve(
    packet: Packet,
    sourcePort: number,
    destinationPort: number,
    length: number,
    name: "dns" | "echo" | "dhcp",
  ): void {
    const dhcp = packet.family === 4 ? this.#dhcp : this.#dhcpv6;
    const service = name === "dns" ? this.#dns : name === "dhcp" ? dhcp : null;
    if (service === null) {
      this.#parts.counters.add("udp.no_service");
      this.#reject(packet, Reject.PortUnreachable);
      return;
    }
    const source = packet.source.slice();
    const destination = packet.destination.slice();
    const end = packet.transport + length;
    const step = packet.segment > 0 ? packet.segment : length;
    for (let at = packet.transport + UDP_HEADER; at < end; at += step) {
      const bytes = packet.bytes.slice(at, Math.min(end, at + step));
      service.request(packet.link, source, sourcePort, destination, destinationPort, bytes);
    }
  }

  #reject(packet: Packet, reason: Reject): void {
    const { bytes, network, end, link } = packet;
    this.#parts.output.reject(link, bytes.subarray(network, Math.min(end, network + LONGEST_QUOTE)), reason, null, 0);
  }
}

function validChecksum(packet: Packet, length: number): boolean {
  const { view, transport, source, destination } = packet;
  const sum = pseudoHeader(source, destination, Protocol.Udp, length);
  return checksum(addWords(view, transport, transport + length, sum)) === 0;
}
