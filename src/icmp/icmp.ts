/**
 * ICMP of both families: echo, and what the sandbox reports of our packets.
 *
 * Theory of operation. An echo request to one of our own addresses is answered at once. One to elsewhere goes out through a
 * ping socket of the host (SOCK_DGRAM, IPPROTO_ICMP or IPPROTO_ICMPV6: no privilege, where net.ipv4.ping_group_range allows it), one socket
 * per inside address, id and destination. The host's kernel writes an id of its own into each request and picks the replies by it;
 * the sandbox's id is put back here, the sequence number is never touched. TTL and "don't fragment" are carried outside (host/path). Replies from anybody but the destination are dropped. An
 * error of the host (or EACCES for want of the sysctl) goes back as an ICMP error about the request.
 *
 * What the sandbox's kernel, or a router that somebody made in it, reports of a packet of ours is read (wire/reported) and told to
 * the protocol that sent it, which believes no more than it must. Everything else that the sandbox sends (redirects, timestamps,
 * address masks, replies that nobody asked for) is counted and dropped: docs/decisions/icmp.md has the whole list.
 *
 * Bounds: LIMIT sockets; the longest idle goes first, each after IDLE milliseconds without a message.
 * Not here: neighbour discovery (stack/ingress-v6).
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { FlowTable } from "../flow/table.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import { rejectReason, reporter } from "../host/failure.js";
import { pathOutside } from "../host/path.js";
import type { DatagramHandler, Datagrams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import type { Policy, Verdict } from "../policy/policy.js";
import { type Address, type Endpoint, endpointFamily, equalAddress, type Family, familyOf } from "../wire/address.js";
import {
  ICMP_HEADER,
  IcmpType,
  icmpCode,
  icmpId,
  icmpType,
  icmpValid,
  isIcmpError,
  setIcmpChecksum,
} from "../wire/icmp.js";
import { Icmpv6Type, icmpv6Valid, isIcmpv6Error, setIcmpv6Checksum } from "../wire/icmpv6.js";
import { ipHeader, writeIp } from "../wire/ip.js";
import { Protocol } from "../wire/ipv4.js";
import type { Packet } from "../wire/packet.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";
import { Reported } from "../wire/reported.js";

export const PING_LIMIT = 256;
/** Milliseconds. */
export const PING_IDLE = 30_000;
const TTL = 64;
const PROTOCOL = { 4: Protocol.Icmp, 6: Protocol.Icmpv6 };
const ECHO = { 4: IcmpType.Echo, 6: Icmpv6Type.Echo };
const ECHO_REPLY = { 4: IcmpType.EchoReply, 6: Icmpv6Type.EchoReply };
const EPERM = 1;
const EACCES = 13;

export interface ErrorInput {
  /** False: nothing is known of that packet. */
  reported(error: Reported): boolean;
}

export interface IcmpOptions {
  readonly output: Output;
  readonly datagrams: Datagrams;
  readonly policy: Policy;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly flows: FlowTable;
  readonly timers: Timers;
  /** Who hears what became of the segments and datagrams that went into the sandbox. */
  readonly tcp: ErrorInput;
  readonly udp: ErrorInput;
  /** Where others share the sandbox's TCP: offers them a packet of no flow here. True when one of them has yet to see it. */
  readonly others?: { offer(packet: Packet): boolean } | null;
  /** Ping sockets at once. */
  readonly limit?: number;
}

export class Icmp {
  readonly #options: IcmpOptions;
  readonly #limit: number;
  readonly #pings = new Map<number, Ping>();
  readonly #reported = new Reported();

  constructor(options: IcmpOptions) {
    this.#options = options;
    this.#limit = options.limit ?? PING_LIMIT;
  }

  /** Ping sockets. */
  get flowCount(): number {
    return this.#pings.size;
  }

  /** Takes one ICMP message of the sandbox. */
  input(packet: Packet): void {
    const { view, transport: at, end } = packet;
    const { counters, flows } = this.#options;
    if (end - at < ICMP_HEADER) {
      counters.add("icmp.malformed");
      return;
    }
    const { link, family, source, destination } = packet;
    const valid = family === 4 ? icmpValid(view, at, end) : icmpv6Valid(view, at, end, source, destination);
    if (!valid) {
      counters.add("icmp.checksum");
      return;
    }
    const type = icmpType(view, at);
    if (type !== ECHO[family] || icmpCode(view, at) !== 0) {
      const isError = family === 4 ? isIcmpError(type) : isIcmpv6Error(type);
      if (isError) this.#error(packet);
      else counters.add("icmp.unknown_type");
      return;
    }
    const id = flows.find(Protocol.Icmp, link, family, source, icmpId(view, at), destination, 0);
    const ping = id < 0 ? undefined : this.#pings.get(id);
    if (ping !== undefined) this.#request(packet, ping);
    else this.#decide(packet);
  }

  /** Ends all flows of a link that is gone. */
  removeLink(link: number): void {
    for (const ping of this.#pings.values()) if (ping.link === link) this.close(ping);
  }

  /** Ends one flow. */
  close(ping: Ping): void {
    const { flows, timers, datagrams } = this.#options;
    this.#pings.delete(ping.id);
    timers.cancel(ping.timer);
    flows.remove(ping.id);
    datagrams.close(ping.socket);
  }

  /** An error about something that we sent, as it claims. */
  #error(packet: Packet): void {
    const { tcp, udp, others, counters } = this.#options;
    const error = this.#reported;
    if (!error.read(packet)) {
      counters.add("icmp.error_ignored");
      return;
    }
    const isTcp = error.protocol === Protocol.Tcp;
    if ((isTcp ? tcp : udp).reported(error)) return;
    if (!isTcp || !others?.offer(packet)) counters.add("icmp.error_stray");
  }

  #decide(packet: Packet): void {
    const { policy, counters } = this.#options;
    const verdict = policy.outbound("icmp", packet.source, packet.destination, 0);
    switch (verdict.kind) {
      case "service":
        this.#answer(packet);
        break;
      case "refuse":
        counters.add(verdict.counter);
        if (verdict.reason !== "silent") this.#reject(packet, verdict.reason);
        break;
      case "dial":
        this.#dial(packet, verdict);
    }
  }

  /** Answers in the name of the destination. */
  #answer(packet: Packet): void {
    const { output, counters } = this.#options;
    const length = packet.end - packet.transport;
    let at = output.small(length);
    if (at < 0) at = output.large();
    if (at < 0) {
      counters.add("icmp.no_room");
      return;
    }
    output.bytes.set(packet.bytes.subarray(packet.transport, packet.end), at);
    output.view.setUint8(at, ECHO_REPLY[packet.family]);
    sendChecked(output, packet.link, packet.destination, packet.source, at, length);
  }

  #dial(packet: Packet, verdict: Extract<Verdict, { kind: "dial" }>): void {
    const { datagrams, flows, counters } = this.#options;
    const { link, family, source, destination } = packet;
    if (this.#pings.size >= this.#limit) this.#evict(link);
    const icmp = icmpId(packet.view, packet.transport);
    const id = flows.insert(Protocol.Icmp, link, family, source, icmp, destination, 0);
    if (id < 0) {
      counters.add("icmp.no_socket");
      return;
    }
    // Our own gateway may stand for an address of the other family, which has no echo of this one.
    if (endpointFamily(verdict.remote) !== family) {
      flows.remove(id);
      counters.add("icmp.mixed_families");
      this.#reject(packet, Reject.NoRoute);
      return;
    }
    const ping = new Ping(this, this.#options, id, link, source.slice(), icmp, destination.slice(), verdict.remote);
    const socket = datagrams.openPing(family, verdict.local, ping);
    if (socket < 0) {
      flows.remove(id);
      const refused = socket === -EACCES || socket === -EPERM;
      counters.add(refused ? "icmp.ping_socket_refused" : "icmp.no_socket");
      this.#reject(packet, rejectReason(-socket, family, -1, 0));
      return;
    }
    ping.socket = socket;
    this.#pings.set(id, ping);
    this.#request(packet, ping);
  }

  #request(packet: Packet, ping: Ping): void {
    const { transport, end } = packet;
    ping.used();
    const path = pathOutside(packet, end - packet.network, Number.POSITIVE_INFINITY);
    this.#options.datagrams.sendTo(ping.socket, transport, end - transport, 0, ping.remote, null, path);
  }

  /** Makes room for a link: the longest idle one goes, of its own where it has a quarter of all. */
  #evict(link: number): void {
    const pings = [...this.#pings.values()];
    const own = pings.filter((ping) => ping.link === link);
    const candidates = own.length * 4 >= this.#limit ? own : pings;
    const oldest = candidates.reduce((a, b) => (b.lastUsed < a.lastUsed ? b : a));
    this.#options.counters.add("icmp.flow_limit");
    this.close(oldest);
  }

  #reject(packet: Packet, reason: Reject): void {
    const { bytes, network, end, link } = packet;
    this.#options.output.reject(link, bytes.subarray(network, Math.min(end, network + LONGEST_QUOTE)), reason, null, 0);
  }
}

/** One ping socket: an inside address and id, and a destination. */
class Ping implements DatagramHandler, TimerOwner {
  readonly #icmp: Icmp;
  readonly #options: IcmpOptions;
  readonly id: number;
  readonly link: number;
  readonly family: Family;
  readonly inside: Address;
  readonly icmpId: number;
  /** The destination as the sandbox sees it, and as the host does. */
  readonly seen: Address;
  readonly remote: Endpoint;
  readonly timer: Timer;
  socket = -1;
  lastUsed = 0;

  constructor(
    icmp: Icmp,
    options: IcmpOptions,
    id: number,
    link: number,
    inside: Address,
    icmpId: number,
    seen: Address,
    remote: Endpoint,
  ) {
    this.#icmp = icmp;
    this.#options = options;
    this.id = id;
    this.link = link;
    this.family = familyOf(inside);
    this.inside = inside;
    this.icmpId = icmpId;
    this.seen = seen;
    this.remote = remote;
    this.timer = new Timer(this);
  }

  used(): void {
    const { clock, timers } = this.#options;
    this.lastUsed = clock.now();
    timers.arm(this.timer, this.lastUsed, PING_IDLE);
  }

  expired(): void {
    this.#icmp.close(this);
  }

  datagram(_socket: number, offset: number, length: number, _segment: number, addresses: Uint8Array, at: number): void {
    const { output, counters } = this.#options;
    const isReply = length >= ICMP_HEADER && icmpType(output.view, offset) === ECHO_REPLY[this.family];
    if (!isReply || !equalAddress(addresses, this.remote, at + 8, 8)) {
      counters.add("icmp.unexpected_reply");
      return;
    }
    this.used();
    output.view.setUint16(offset + 4, this.icmpId);
    sendChecked(output, this.link, this.seen, this.inside, offset, length);
  }

  datagramFailed(
    _socket: number,
    errno: number,
    type: number,
    code: number,
    info: number,
    offset: number,
    length: number,
    addresses: Uint8Array,
    at: number,
  ): void {
    const { output, counters } = this.#options;
    const reason = rejectReason(errno, this.family, type, code);
    if (length < ICMP_HEADER || (reason === Reject.TooBig && info <= 0)) {
      counters.add("icmp.stray_error");
      return;
    }
    counters.add("icmp.failed");
    const from = reporter(this.family, addresses, at);
    output.reject(this.link, this.#original(offset, length), reason, from, info);
  }

  /** The beginning of the request as the sandbox sent it. */
  #original(offset: number, length: number): Uint8Array {
    const header = ipHeader(this.inside);
    const quoted = Math.min(length, LONGEST_QUOTE - header);
    const original = new Uint8Array(header + quoted);
    const view = new DataView(original.buffer);
    writeIp(view, 0, quoted, PROTOCOL[this.family], TTL, this.inside, this.seen);
    original.set(this.#options.output.bytes.subarray(offset, offset + quoted), header);
    view.setUint8(header, ECHO[this.family]);
    view.setUint16(header + 4, this.icmpId);
    setChecksum(view, header, original.length, this.inside, this.seen);
    return original;
  }
}

function setChecksum(view: DataView, at: number, end: number, source: Address, destination: Address): void {
  if (familyOf(destination) === 4) setIcmpChecksum(view, at, end);
  else setIcmpv6Checksum(view, at, end, source, destination);
}

/** Sends a message into the sandbox, its checksum computed. */
function sendChecked(
  output: Output,
  link: number,
  source: Address,
  destination: Address,
  at: number,
  length: number,
): void {
  setChecksum(output.view, at, at + length, source, destination);
  output.send(link, PROTOCOL[familyOf(destination)], source, destination, at, length, ICMP_HEADER, 0);
}
