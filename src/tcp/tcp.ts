/**
 * TCP: the door. Segments of the sandbox come in, connections that the host accepted come in, and everything that a turn
 * left to do is done at its end.
 *
 * Theory of operation. A segment is checked and looked up in the flow table. If it belongs to a flow, receiver.ts goes on
 * (flow.ts tells how a flow lives). If not, a SYN asks the policy and dials the host; anything else is answered with a
 * reset. A destination that the policy or the host refuses is answered with RST (a closed port) or an ICMP error.
 *
 * The order of a turn: timers.advance(), then the events (input() and the handlers of the sockets), then endOfTurn(), once,
 * then timers.nextDeadline(). Acknowledgements may wait for some turns (delayAck()), but not while the loop sleeps: endOfTurn()
 * says whether some do, and is told when it is the last before a sleep.
 *
 * Bounds: `maxFlows`, `maxHalfOpen` (dialling or handshaking), out-of-order bytes in all; each refusal has its counter.
 */
import type { Clock, Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { FlowTable } from "../flow/table.js";
import { Timer, type Timers } from "../flow/timers.js";
import { rejectReason, reporter } from "../host/failure.js";
import { hopsOutside } from "../host/path.js";
import type { Report, StreamHandler, Streams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import type { Policy } from "../policy/policy.js";
import { ADDRESS_LENGTH, type Address, endpointFamily, equalAddress, type Family, familyOf } from "../wire/address.js";
import { NEXT_HEADER } from "../wire/ipv6.js";
import type { Packet } from "../wire/packet.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";
import type { Reported } from "../wire/reported.js";
import { DEFAULTS, type TcpContext, type TcpOptions } from "./context.js";
import { rejectionOf } from "./errno.js";
import { type InboundListener, TcpFlow } from "./flow.js";
import { knock, startAt, synReceived } from "./handshake.js";
import { InitialSequence } from "./initial-sequence.js";
import { KeepAlive } from "./keep-alive.js";
import { ReassemblyBudget } from "./reassembly.js";
import { receive } from "./receiver.js";
import { segmentReported } from "./reported.js";
import { Flag, MAX_BLOCKS, Malformed, PROTOCOL_TCP, Segment } from "./segment.js";
import { after } from "./sequence.js";
import { receiving, State } from "./state.js";
import { LOW_MEMORY, sendAck, sendReset, sendStrayReset } from "./transmit.js";

/** A service of ours that speaks TCP. */
export interface StreamService {
  /** Takes a connection of the sandbox: `flow` is told what happens on the socket that is returned, or -errno. */
  connect(flow: StreamHandler): number;
}

export interface TcpParts {
  readonly output: Output;
  readonly streams: Streams;
  readonly policy: Policy;
  /** Null: nobody serves it, which is said by a reset. */
  readonly dns?: StreamService | null;
  readonly clock: Clock;
  readonly random: Random;
  readonly counters: Counters;
  readonly flows: FlowTable;
  readonly timers: Timers;
  readonly options?: Partial<TcpOptions>;
  /** Where others share the sandbox's TCP: offers them a packet of no flow here. True when one of them has yet to see it. */
  readonly others?: { offer(packet: Packet): boolean } | null;
}

/** A connection that the host accepted for the sandbox. Addresses and ports as the sandbox shall see them. */
export interface InboundConnection extends InboundListener {
  readonly socket: number;
  readonly link: number;
  readonly client: Address;
  readonly clientPort: number;
  readonly server: Address;
  readonly serverPort: number;
}

const ECONNREFUSED = 111;
/** Flows whose end-of-turn work is done in one turn; more wait for the next (each may need three commands). */
const FLUSHES_PER_TURN = 2048;
/** Flows that wait for room in the next turn; others wait until the sandbox sends again. */
const WAITING = 64;
/** Milliseconds that an acknowledgement waits at most while the loop does not sleep. */
const ACK_DELAY = 2;

export class Tcp implements TcpContext {
  readonly output: Output;
  readonly streams: Streams;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly counters: Counters;
  readonly options: TcpOptions;
  readonly outOfOrder: ReassemblyBudget;
  turn = 0;
  readonly #policy: Policy;
  readonly #others: TcpParts["others"];
  readonly #dns: StreamService | null;
  readonly #table: FlowTable;
  readonly #initial: InitialSequence;
  readonly #segment = new Segment();
  readonly #inside = new SharedAddress();
  readonly #outside = new SharedAddress();
  /** By id of the flow table. */
  readonly #flows: (TcpFlow | null)[] = [];
  readonly #keepAlive: KeepAlive;
  #count = 0;
  #halfOpen = 0;
  /** Flows to be flushed at the end of the turn: the first `#markedCount`, the rest null. The array is used again and again. */
  readonly #marked: (TcpFlow | null)[] = [];
  #markedCount = 0;
  /** Flows whose acknowledgement waits, in the same way, and since when. */
  readonly #delayed: (TcpFlow | null)[] = [];
  #delayedCount = 0;
  #delayedSince = 0;
  /** Makes another turn come when one was not enough for all marked flows. */
  readonly #more: Timer;
  readonly #starved = new Set<TcpFlow>();
  /** Sockets that were closed with a backlog, and the link that it came from, until somebody asks and it is gone. */
  readonly #flushing = new Map<number, number>();
  /** Flows that wait for the next turn. */
  readonly #waiting: TcpFlow[] = [];
  readonly blocks = new Int32Array(2 * (MAX_BLOCKS + 1));
  #challenges: number;
  #challengesSince = 0;

  constructor(parts: TcpParts) {
    this.output = parts.output;
    this.streams = parts.streams;
    this.clock = parts.clock;
    this.timers = parts.timers;
    this.counters = parts.counters;
    this.options = { ...DEFAULTS, ...parts.options };
    this.outOfOrder = new ReassemblyBudget(this.options.outOfOrderTotal);
    this.#policy = parts.policy;
    this.#others = parts.others;
    this.#dns = parts.dns ?? null;
    this.#table = parts.flows;
    this.#initial = new InitialSequence(parts.clock, parts.random);
    this.#challenges = this.options.challengesPerSecond;
    this.#more = new Timer({ expired: () => {} });
    this.#keepAlive = new KeepAlive(this, this.#flows);
  }

  /** Flows in the table, TIME-WAIT included. */
  get flowCount(): number {
    return this.#count;
  }

  /** Flows that are dialling, or whose handshake is not finished. */
  get halfOpenCount(): number {
    return this.#halfOpen;
  }

  /** One TCP packet of the sandbox. */
  input(packet: Packet): void {
    const segment = this.#segment;
    const malformed = segment.read(packet);
    if (malformed !== Malformed.No) {
      this.counters.add(MALFORMED[malformed]);
      return;
    }
    const { source, destination, link, family } = packet;
    const { sourcePort, destinationPort } = segment;
    const id = this.#table.find(PROTOCOL_TCP, link, family, source, sourcePort, destination, destinationPort);
    const flow = id < 0 ? null : this.#flows[id];
    if (flow) {
      if (flow.state !== State.TimeWait || !opensAgain(flow, segment)) {
        receive(flow, segment, packet);
        return;
      }
      flow.remove();
    }
    if ((segment.flags & (Flag.Syn | Flag.Ack | Flag.Rst | Flag.Fin)) === Flag.Syn) this.#open(packet, segment);
    else if (!this.#others?.offer(packet)) this.#stray(packet, segment);
  }

  /** The sandbox reports that it, or a router in it, could not do with a segment of ours. False: it is of no flow that we have. */
  reported(error: Reported): boolean {
    const { link, family, inside, insidePort, outside, outsidePort } = error;
    const id = this.#table.find(PROTOCOL_TCP, link, family, inside, insidePort, outside, outsidePort);
    const flow = id < 0 ? null : this.#flows[id];
    if (!flow) return false;
    segmentReported(flow, error);
    return true;
  }

  /**
   * Carries an accepted connection into the sandbox. False if it could not be begun (a limit, or these addresses and ports
   * are in use): then the socket stays the caller's. Else the flow owns it until refused() hands it back.
   */
  accept(connection: InboundConnection): boolean {
    const { link, client, clientPort, server, serverPort, socket } = connection;
    const family = familyOf(server);
    const former = this.#table.find(PROTOCOL_TCP, link, family, server, serverPort, client, clientPort);
    if (former >= 0) {
      const flow = this.#flows[former];
      if (flow?.state !== State.TimeWait) {
        this.counters.add("tcp.inbound_in_use");
        return false;
      }
      flow.remove();
    }
    const flow = this.#add(
      new TcpFlow(this, link, family, this.#inside.of(server), serverPort, this.#outside.of(client), clientPort),
    );
    if (flow === null) return false;
    this.#own(flow, socket);
    flow.listener = connection;
    this.streams.own(socket, flow);
    startAt(flow, this.#initial.next(flow));
    knock(flow);
    return true;
  }

  /**
   * Does what the turn left to do: call it once, after all events. `last`: the loop will sleep if nothing comes of this turn.
   * True if it is to be called again before the loop sleeps.
   */
  endOfTurn(last: boolean): boolean {
    this.turn = (this.turn + 1) | 0;
    if (this.#starved.size > 0 && this.streams.freeMemory >= LOW_MEMORY) this.#feed();
    if (this.#waiting.length > 0) for (const flow of this.#waiting.splice(0)) flow.fill();
    const marked = this.#marked;
    const count = Math.min(this.#markedCount, FLUSHES_PER_TURN);
    for (let i = 0; i < count; i++) {
      const flow = marked[i];
      marked[i] = null;
      if (flow === null) continue;
      flow.marked = false;
      flow.flush();
    }
    this.#markedCount -= count;
    if (this.#markedCount > 0) {
      marked.copyWithin(0, count, count + this.#markedCount);
      marked.fill(null, this.#markedCount);
      this.timers.arm(this.#more, this.clock.now(), 0);
    }
    if (this.#delayedCount > 0 && (last || this.clock.now() - this.#delayedSince >= ACK_DELAY)) this.#acknowledge();
    return this.#delayedCount > 0;
  }

  /** True while some established flow of a link may still bring data out of the sandbox, or the host did not take all of one's. */
  busy(link: number): boolean {
    for (const [socket, from] of this.#flushing) {
      if (this.streams.backlog(socket) === 0) this.#flushing.delete(socket);
      else if (from === link) return true;
    }
    return this.#flows.some(
      (flow) =>
        flow !== null &&
        flow.link === link &&
        flow.socket >= 0 &&
        (receiving(flow.state) || flow.state === State.SynReceived || this.streams.backlog(flow.socket) > 0),
    );
  }

  /** Resets every flow of a link, on both sides. */
  abort(link: number): void {
    for (const flow of this.#flows) {
      if (flow?.link !== link) continue;
      if (flow.state !== State.TimeWait) sendReset(flow);
      flow.abort();
    }
    for (const [socket, from] of this.#flushing) if (from === link) this.#flushing.delete(socket);
  }

  // TcpContext

  mark(flow: TcpFlow): void {
    if (flow.marked) return;
    flow.marked = true;
    if (this.#markedCount === this.#marked.length) this.#marked.push(flow);
    else this.#marked[this.#markedCount] = flow;
    this.#markedCount++;
  }

  delayAck(flow: TcpFlow): void {
    if (flow.delayed) return;
    flow.delayed = true;
    if (this.#delayedCount === 0) this.#delayedSince = this.clock.now();
    if (this.#delayedCount === this.#delayed.length) this.#delayed.push(flow);
    else this.#delayed[this.#delayedCount] = flow;
    this.#delayedCount++;
  }

  flushing(socket: number, link: number): void {
    this.#flushing.set(socket, link);
  }

  remove(flow: TcpFlow): void {
    this.settled(flow);
    if (flow.id < 0) return;
    if (flow.starved) this.#starved.delete(flow);
    this.#table.remove(flow.id);
    this.#flows[flow.id] = null;
    flow.id = -1;
    this.#count--;
    if (this.#count === 0) this.#keepAlive.stop();
  }

  settled(flow: TcpFlow): void {
    if (!flow.halfOpen) return;
    flow.halfOpen = false;
    this.#halfOpen--;
  }

  unreachable(flow: TcpFlow, errno: number, report?: Report): void {
    const { link, family, original } = flow;
    const { reason, counter } = rejectionOf(errno, family);
    this.counters.add(counter);
    const told = report === undefined ? reason : reasonOf(errno, family, report);
    if (told === Reject.PortUnreachable || original === null) {
      sendReset(flow);
    } else {
      const from = report === undefined ? null : reporter(family, report.addresses, report.at);
      this.output.reject(link, original, told, from, told === Reject.ProtocolUnreachable ? NEXT_HEADER : 0);
    }
    flow.remove();
  }

  mayChallenge(): boolean {
    const now = this.clock.now();
    if (now - this.#challengesSince >= 1000) {
      this.#challengesSince = now;
      this.#challenges = this.options.challengesPerSecond;
    }
    if (this.#challenges === 0) {
      this.counters.add("tcp.challenge_limit");
      return false;
    }
    this.#challenges--;
    return true;
  }

  nextTurn(flow: TcpFlow): void {
    if (this.#waiting.length >= WAITING || this.#waiting.includes(flow)) return;
    this.#waiting.push(flow);
    this.timers.arm(this.#more, this.clock.now(), 0);
  }

  starved(flow: TcpFlow): void {
    if (flow.starved) return;
    flow.starved = true;
    this.#starved.add(flow);
  }

  /** Sends the acknowledgements that still wait; most were carried by an answer. */
  #acknowledge(): void {
    const delayed = this.#delayed;
    for (let i = 0; i < this.#delayedCount; i++) {
      const flow = delayed[i];
      delayed[i] = null;
      if (flow === null) continue;
      flow.delayed = false;
      if (flow.ackDue && flow.state !== State.Closed) sendAck(flow);
    }
    this.#delayedCount = 0;
  }

  /** A flow's socket may have the number of one that was closed and has sent what it had since. */
  #own(flow: TcpFlow, socket: number): void {
    this.#flushing.delete(socket);
    flow.socket = socket;
  }

  /** There is memory again: tells those whose window was small for want of it. */
  #feed(): void {
    for (const flow of this.#starved) {
      flow.starved = false;
      if (!receiving(flow.state)) continue;
      flow.ackDue = true;
      this.mark(flow);
    }
    this.#starved.clear();
  }

  /** Puts a new flow into the table; null if there is no room for it. */
  #add(flow: TcpFlow): TcpFlow | null {
    if (this.#halfOpen >= this.options.maxHalfOpen) {
      this.counters.add("tcp.half_open_limit");
      return null;
    }
    const { link, family, inside, insidePort, outside, outsidePort } = flow;
    const id =
      this.#count >= this.options.maxFlows
        ? -1
        : this.#table.insert(PROTOCOL_TCP, link, family, inside, insidePort, outside, outsidePort);
    if (id < 0) {
      this.counters.add("tcp.flow_limit");
      return null;
    }
    flow.id = id;
    while (this.#flows.length <= id) this.#flows.push(null);
    this.#flows[id] = flow;
    this.#count++;
    this.#halfOpen++;
    this.#keepAlive.start();
    return flow;
  }

  /** A SYN of the sandbox: asks the policy, and dials. */
  #open(packet: Packet, segment: Segment): void {
    const { source, destination, link, family } = packet;
    const verdict = this.#policy.outbound("tcp", source, destination, segment.destinationPort);
    const served = verdict.kind === "service" && verdict.service === "dns" && this.#dns !== null;
    if (verdict.kind !== "dial" && !served) {
      this.counters.add(verdict.kind === "refuse" ? verdict.counter : "tcp.no_service");
      this.#refuse(packet, segment, verdict.kind === "refuse" ? verdict.reason : Reject.PortUnreachable);
      return;
    }
    const flow = this.#add(
      new TcpFlow(
        this,
        link,
        family,
        this.#inside.of(source),
        segment.sourcePort,
        this.#outside.of(destination),
        segment.destinationPort,
      ),
    );
    if (flow === null) {
      this.#refuse(packet, segment, Reject.PortUnreachable);
      return;
    }
    flow.original = quote(packet);
    startAt(flow, this.#initial.next(flow));
    synReceived(flow, segment);
    const socket =
      verdict.kind === "dial"
        ? this.streams.connect(verdict.remote, verdict.local, flow, hopsOutside(packet))
        : (this.#dns?.connect(flow) ?? -ECONNREFUSED);
    if (socket < 0) this.unreachable(flow, -socket);
    else this.#own(flow, socket);
  }

  #refuse(packet: Packet, segment: Segment, reason: Reject | "silent"): void {
    if (reason === "silent") return;
    if (reason === Reject.PortUnreachable) this.#reset(packet, segment);
    else this.output.reject(packet.link, quote(packet), reason, null, 0);
  }

  /** A segment of no connection (RFC 9293, 3.10.7.1). */
  #stray(packet: Packet, segment: Segment): void {
    this.counters.add("tcp.stray");
    if ((segment.flags & Flag.Rst) === 0) this.#reset(packet, segment);
  }

  #reset(packet: Packet, segment: Segment): void {
    const { source, destination, link } = packet;
    const { sourcePort, destinationPort, flags, length } = segment;
    const acknowledged = (flags & Flag.Ack) !== 0;
    const occupied = length + (flags & Flag.Syn ? 1 : 0) + (flags & Flag.Fin ? 1 : 0);
    const sent = sendStrayReset(
      this.output,
      link,
      destination,
      destinationPort,
      source,
      sourcePort,
      acknowledged ? segment.ack : 0,
      acknowledged ? 0 : (segment.seq + occupied) | 0,
      acknowledged ? Flag.Rst : Flag.Rst | Flag.Ack,
    );
    if (!sent) this.counters.add("tcp.no_room");
  }
}

const MALFORMED: Record<Malformed, string> = {
  [Malformed.No]: "",
  [Malformed.Length]: "tcp.bad_length",
  [Malformed.Checksum]: "tcp.bad_checksum",
  [Malformed.Port]: "tcp.bad_port",
};

/** Copies of addresses: flows that follow each other often have the same, and then share one copy. */
class SharedAddress {
  #last: Address = new Uint8Array(ADDRESS_LENGTH);

  of(address: Address): Address {
    if (!equalAddress(this.#last, address)) this.#last = address.slice();
    return this.#last;
  }
}

/** What an ICMP error that ended a connect() means to a sandbox whose SYN was of this family. */
function reasonOf(errno: number, family: Family, { type, code, addresses, at }: Report): Reject {
  return rejectReason(errno, endpointFamily(addresses, at + 24) === 6 ? 6 : 4, type, code, family);
}

/** A SYN in TIME-WAIT that can only be a new connection (RFC 9293, 3.6.1; RFC 1122, 4.2.2.13). */
function opensAgain(flow: TcpFlow, segment: Segment): boolean {
  return (segment.flags & (Flag.Syn | Flag.Ack | Flag.Rst)) === Flag.Syn && after(segment.seq, flow.rcvNxt);
}

/** What an ICMP error quotes of a packet: as much as any may. */
function quote({ bytes, network, end }: Packet): Uint8Array {
  return bytes.slice(network, Math.min(end, network + LONGEST_QUOTE));
}
