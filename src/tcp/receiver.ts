/**
 * Sandbox → host: acceptance of segments, payload, acknowledgements to the sandbox, window.
 *
 * Theory of operation. The checks are those of RFC 9293, 3.10.7.4, in its order, with the stricter ones of RFC 5961 for RST,
 * SYN and the acknowledgement number. Payload that is next in the stream goes to the host socket straight from the slot that
 * it came in; what the socket does not take stays in that slot, and the window shrinks by as much. Payload that is early is
 * kept as a copy, within bounds, and answered with a duplicate ACK that names what is kept (RFC 2018). What overlaps is cut to
 * what is new. Data segments of ours carry no such names, so as to be of one size; each early segment has had its own answer.
 *
 * ACKs are coalesced: one after ACK_FRAMES frames or ACK_BYTES bytes, and one at the end of the turn (an ACK per frame
 * costs a quarter of the throughput). Duplicate ACKs are sent at once, as the sandbox counts them. A single short segment is
 * most probably a request: its ACK waits for the answer, which carries it, but not longer than until there is nothing else to
 * do, or ACK_DELAY (RFC 1122, 4.2.3.2; tcp.ts holds the flows that wait).
 *
 * The window opens again when the socket's backlog drains (drained()), and when memory that was short is back
 * (Tcp.endOfTurn looks after `starved` flows). Should that ACK be lost, the sandbox probes, and the answer has the window.
 *
 * Urgent data is ordinary data here (RFC 6093).
 */
import type { Packet } from "../wire/packet.js";
import type { TcpFlow } from "./flow.js";
import { completed, synSentReceived } from "./handshake.js";
import { Reassembly } from "./reassembly.js";
import { Flag, type Segment } from "./segment.js";
import { advance, duplicate, reopened, selective } from "./sender.js";
import { before, distance } from "./sequence.js";
import { receiving, State } from "./state.js";
import { sendAck, sendStrayReset, sendSyn } from "./transmit.js";

const ACK_FRAMES = 8;
const ACK_BYTES = 256 << 10;
/** Below this share of free slots no payload is taken at all. */
const NO_MEMORY = 0.05;

/** A segment of the sandbox for this flow. */
export function receive(flow: TcpFlow, segment: Segment, packet: Packet): void {
  if (flow.state === State.Dialing) dialing(flow, segment);
  else if (flow.state === State.SynSent) synSentReceived(flow, segment);
  else synchronized(flow, segment, packet);
}

/** Nothing has been answered yet: only a reset means something, and a repeated SYN means patience. */
function dialing(flow: TcpFlow, segment: Segment): void {
  if ((segment.flags & Flag.Rst) === 0 || distance(flow.rcvNxt, segment.seq) !== 0) return;
  flow.context.counters.add("tcp.dial_cancelled");
  flow.abort();
}

function synchronized(flow: TcpFlow, segment: Segment, packet: Packet): void {
  flow.quietFor = 0;
  const { flags, seq } = segment;
  const early = distance(flow.rcvNxt, seq);
  const window = distance(flow.rcvNxt, flow.rcvEdge);
  const length = segment.length + (flags & Flag.Fin);
  if (flags & (Flag.Rst | Flag.Syn)) {
    if (flags & Flag.Rst) reset(flow, early, window);
    else again(flow, segment, early);
    return;
  }
  if (early > window || (early < 0 && early + length <= 0)) {
    // A keep-alive or a zero-window probe comes one byte early, a retransmission carries data: both want their answer.
    if (length > 0 || early === -1) sendAck(flow);
    else challenge(flow);
    if (flow.state === State.TimeWait && flags & Flag.Fin) restartTimeWait(flow);
    return;
  }
  if ((flags & Flag.Ack) === 0) return;
  if (flow.state === State.SynReceived && !finishHandshake(flow, segment, segment.window << flow.sndScale)) return;
  if (!acknowledgement(flow, segment, packet)) return;
  if (length === 0) return;
  if (!receiving(flow.state)) {
    sendAck(flow);
    return;
  }
  payload(flow, segment, packet, early, window);
}

/** RFC 5961, 3.2: only the exact number resets; one within the window is questioned. */
function reset(flow: TcpFlow, early: number, window: number): void {
  if (early === 0) {
    flow.context.counters.add("tcp.sandbox_reset");
    if (flow.listener !== null && flow.socket >= 0) refuse(flow);
    else flow.abort();
  } else if (early > 0 && early <= window) {
    challenge(flow);
  }
}

/** After a simultaneous open the sandbox may still refuse. */
function refuse(flow: TcpFlow): void {
  const { listener, socket } = flow;
  flow.socket = -1;
  flow.remove();
  listener?.refused(socket);
}

/** A SYN on a connection that exists: our SYN/ACK was lost, or a simultaneous open (RFC 9293, 3.5), or RFC 5961, 4.2. */
function again(flow: TcpFlow, segment: Segment, early: number): void {
  if (flow.state !== State.SynReceived || early !== -1) {
    challenge(flow);
  } else if (segment.flags & Flag.Ack) {
    // The window of a SYN is not scaled.
    if (finishHandshake(flow, segment, segment.window)) sendAck(flow);
  } else {
    sendSyn(flow, Flag.Syn | Flag.Ack);
  }
}

/** Asks the sandbox whether it meant that (RFC 5961, 7: limited in number). */
function challenge(flow: TcpFlow): void {
  if (flow.context.mayChallenge()) sendAck(flow);
}

/** SYN-RECEIVED: our SYN must be acknowledged (RFC 9293, 3.10.7.4, fifth). */
function finishHandshake(flow: TcpFlow, segment: Segment, window: number): boolean {
  if (segment.ack !== flow.sndMax) {
    const { output, counters } = flow.context;
    counters.add("tcp.handshake_ack");
    sendStrayReset(
      output,
      flow.link,
      flow.outside,
      flow.outsidePort,
      flow.inside,
      flow.insidePort,
      segment.ack,
      0,
      Flag.Rst,
    );
    return false;
  }
  flow.sndUna = segment.ack;
  flow.sndNxt = segment.ack;
  completed(flow, window, segment.seq, segment.ack);
  return true;
}

/** Takes the acknowledgement and the window. False if the segment is to be dropped, or the connection is over. */
function acknowledgement(flow: TcpFlow, segment: Segment, packet: Packet): boolean {
  const { ack, seq } = segment;
  const bytes = distance(flow.sndUna, ack);
  const flight = distance(flow.sndUna, flow.sndMax);
  if (bytes > flight || bytes < -flow.sndWindowMax) {
    challenge(flow);
    return false;
  }
  if (bytes < 0) return true;
  const window = segment.window << flow.sndScale;
  const same = window === flow.sndWindow;
  const closed = flow.sndWindow === 0;
  if (before(flow.sndWl1, seq) || (flow.sndWl1 === seq && !before(ack, flow.sndWl2))) {
    flow.sndWindow = window;
    flow.sndWl1 = seq;
    flow.sndWl2 = ack;
    if (window > flow.sndWindowMax) flow.sndWindowMax = window;
  }
  if (bytes > 0) {
    advance(flow, ack, bytes);
    if (ack === flow.sndMax && flow.finSent) return finAcknowledged(flow);
  } else if (closed && flow.sndWindow > 0) {
    reopened(flow);
  } else if (flight > 0) {
    // A closed window is acknowledged as often as we probe: that is a sign of life, and no sign of loss.
    if (window === 0) flow.progressAt = -1;
    else if (same && !flow.sack && segment.length === 0 && (segment.flags & Flag.Fin) === 0) duplicate(flow);
  }
  if (flow.sack && segment.offset > segment.options) selective(flow, segment, packet.view);
  flow.context.mark(flow);
  return true;
}

function finAcknowledged(flow: TcpFlow): boolean {
  switch (flow.state) {
    case State.FinWait1:
      flow.state = State.FinWait2;
      flow.context.mark(flow);
      return true;
    case State.Closing:
      timeWait(flow);
      return true;
    case State.LastAck:
      flow.closeSocket();
      flow.remove();
      return false;
    default:
      return true;
  }
}

/** Cuts the payload to what is new and in the window, and takes it, or keeps it for later. */
function payload(flow: TcpFlow, segment: Segment, packet: Packet, early: number, window: number): void {
  let { offset, length } = segment;
  let fin = (segment.flags & Flag.Fin) !== 0;
  let ahead = early;
  if (ahead < 0) {
    offset -= ahead;
    length += ahead;
    ahead = 0;
  }
  if (length > window - ahead) {
    length = window - ahead;
    fin = false;
  }
  if (ahead > 0) {
    if (length > 0) keep(flow, packet, offset, length, (flow.rcvNxt + ahead) | 0);
    sendAck(flow);
    return;
  }
  if (length > 0 && !deliver(flow, packet, offset, length)) return;
  if (length <= 0 && !fin) {
    // Beyond a closed window: a probe.
    sendAck(flow);
    return;
  }
  if (fin) finReceived(flow);
  else if (flow.outOfOrder !== null && flow.outOfOrder.size > 0) {
    fillGap(flow);
    sendAck(flow);
  } else if (flow.ackFrames >= ACK_FRAMES || flow.ackBytes >= ACK_BYTES) sendAck(flow);
}

/** Hands payload that is next in the stream to the host socket. False if there is no memory for it. */
function deliver(flow: TcpFlow, packet: Packet, offset: number, length: number): boolean {
  const { streams, counters } = flow.context;
  if (streams.freeMemory < NO_MEMORY) {
    counters.add("tcp.no_memory");
    return false;
  }
  if (packet.inSlab) {
    streams.send(flow.socket, offset, length);
  } else if (!streams.sendCopy(flow.socket, packet.bytes.subarray(offset, offset + length))) {
    counters.add("tcp.no_spare");
    return false;
  }
  taken(flow, length);
  return true;
}

function taken(flow: TcpFlow, length: number): void {
  flow.rcvNxt = (flow.rcvNxt + length) | 0;
  flow.sentThisTurn += length;
  flow.ackBytes += length;
  flow.ackFrames++;
  flow.ackDue = true;
  flow.context.mark(flow);
}

function keep(flow: TcpFlow, packet: Packet, offset: number, length: number, seq: number): void {
  const { outOfOrder, options, counters } = flow.context;
  flow.outOfOrder ??= new Reassembly(outOfOrder, options.outOfOrderPerFlow);
  const kept = flow.outOfOrder.keep(seq, packet.bytes.subarray(offset, offset + length));
  counters.add(kept ? "tcp.out_of_order" : "tcp.out_of_order_dropped");
}

/** The gap may be filled now: hands over what was kept behind it, and what finds no room in the next turn. True if it did something. */
export function fillGap(flow: TcpFlow): boolean {
  const { context, outOfOrder: kept } = flow;
  const before = flow.rcvNxt;
  for (let bytes = kept?.next(flow.rcvNxt) ?? null; bytes !== null; bytes = kept?.next(flow.rcvNxt) ?? null) {
    if (!context.streams.sendCopy(flow.socket, bytes)) {
      context.counters.add("tcp.no_spare");
      context.nextTurn(flow);
      break;
    }
    taken(flow, bytes.length);
    kept?.taken();
  }
  return flow.rcvNxt !== before;
}

/** The sandbox will send no more. */
function finReceived(flow: TcpFlow): void {
  flow.rcvNxt = (flow.rcvNxt + 1) | 0;
  // A window that was full has no room for a FIN, and needs none.
  if (before(flow.rcvEdge, flow.rcvNxt)) flow.rcvEdge = flow.rcvNxt;
  flow.outOfOrder?.clear();
  flow.outOfOrder = null;
  flow.ackDue = true;
  flow.context.mark(flow);
  switch (flow.state) {
    case State.Established:
      flow.state = State.CloseWait;
      break;
    case State.FinWait1:
      flow.state = State.Closing;
      break;
    default:
      // Closing ends the host's stream as well.
      timeWait(flow);
      return;
  }
  flow.context.streams.shutdown(flow.socket);
}

/** Both ends have said FIN, the sandbox last: what is left is to repeat the last ACK if need be (RFC 9293, 3.6.1). */
function timeWait(flow: TcpFlow): void {
  flow.state = State.TimeWait;
  flow.closeSocket();
  restartTimeWait(flow);
}

function restartTimeWait(flow: TcpFlow): void {
  const { timers, clock, options } = flow.context;
  timers.arm(flow.timer, clock.now(), options.timeWait);
}

/** The socket has taken its backlog, or half of it: tells the sandbox, if its window is much smaller than it could be. */
export function drained(flow: TcpFlow): void {
  if (!receiving(flow.state)) return;
  const { options, streams } = flow.context;
  const open = distance(flow.rcvNxt, flow.rcvEdge);
  const room = options.receiveWindow - streams.backlog(flow.socket);
  if (room - open >= Math.min(options.receiveWindow >> 2, 2 * flow.mss)) {
    flow.ackDue = true;
    flow.context.mark(flow);
  }
}

/** At the end of a turn: the acknowledgement of what came in it. */
export function flushReceiver(flow: TcpFlow): void {
  if (flow.ackDue) {
    if (maybeRequest(flow)) flow.context.delayAck(flow);
    else sendAck(flow);
  }
  flow.sentThisTurn = 0;
}

/**
 * One segment, not a full one, is all that was not acknowledged, and an answer may come; for a FIN that is the other side's. Nobody
 * waits for the acknowledgement of the last FIN, so others go first.
 */
function maybeRequest(flow: TcpFlow): boolean {
  if (flow.state === State.Established) return flow.ackFrames === 1 && flow.ackBytes < flow.mss;
  return (
    (flow.state === State.CloseWait || flow.state === State.TimeWait) && flow.ackFrames <= 1 && flow.ackBytes < flow.mss
  );
}
