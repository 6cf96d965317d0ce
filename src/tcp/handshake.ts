/**
 * Opening a connection, both ways (RFC 9293, 3.5).
 *
 * Outbound: the sandbox's SYN is answered with SYN/ACK only when the host has connected (dialed()); until then it waits in
 * Dialing. Inbound: our SYN goes to the sandbox with the client's own address (knock()); SYN/ACK establishes, a reset or
 * silence gives the socket back to whoever accepted it. A bare SYN in answer to ours is a simultaneous open.
 */
import type { TcpFlow } from "./flow.js";
import { Flag, HEADER, type Segment } from "./segment.js";
import { State } from "./state.js";
import { networkHeader, sendAck, sendReset, sendStrayReset, sendSyn, WINDOW_SCALE } from "./transmit.js";

/** The sandbox's SYN: its sequence number, segment size, scale, and whether it acknowledges selectively. */
export function synReceived(flow: TcpFlow, segment: Segment): void {
  flow.rcvNxt = (segment.seq + 1) | 0;
  flow.rcvEdge = flow.rcvNxt;
  flow.agreeOnSize(segment.mss, flow.context.output.mtu - networkHeader(flow) - HEADER);
  if (segment.scale >= 0) {
    flow.sndScale = segment.scale;
    flow.rcvScale = WINDOW_SCALE;
  } else {
    flow.sndScale = 0;
    flow.rcvScale = 0;
  }
  flow.sack = segment.sack;
  flow.sndWl1 = segment.seq;
}

/** The first sequence number of ours. */
export function startAt(flow: TcpFlow, iss: number): void {
  flow.sndUna = iss;
  flow.sndNxt = (iss + 1) | 0;
  flow.sndMax = flow.sndNxt;
}

/** The host has connected: answers the sandbox's SYN. */
export function dialed(flow: TcpFlow): void {
  flow.original = null;
  flow.state = State.SynReceived;
  sendSyn(flow, Flag.Syn | Flag.Ack);
  startTimer(flow);
}

/** Sends the first SYN of an inbound connection. */
export function knock(flow: TcpFlow): void {
  flow.state = State.SynSent;
  sendSyn(flow, Flag.Syn);
  startTimer(flow);
}

function startTimer(flow: TcpFlow): void {
  const { timers, clock } = flow.context;
  timers.arm(flow.timer, clock.now(), flow.timeout.milliseconds);
}

/** SYN or SYN/ACK was not answered in time. */
export function retransmitHandshake(flow: TcpFlow): void {
  const { counters, options } = flow.context;
  flow.timeout.expired();
  if (flow.timeout.expiries <= options.synRetries) {
    counters.add("tcp.syn_retransmit");
    sendSyn(flow, flow.state === State.SynSent ? Flag.Syn : Flag.Syn | Flag.Ack);
    startTimer(flow);
    return;
  }
  counters.add("tcp.handshake_timeout");
  refused(flow);
}

/** A segment in SYN-SENT (RFC 9293, 3.10.7.3). */
export function synSentReceived(flow: TcpFlow, segment: Segment): void {
  const { flags, ack } = segment;
  if (flags & Flag.Ack && ack !== flow.sndMax) {
    // An old connection of the sandbox with these ports answers: our reset ends it, and the SYN is sent again.
    if (flags & Flag.Rst) return;
    const { output } = flow.context;
    sendStrayReset(output, flow.link, flow.outside, flow.outsidePort, flow.inside, flow.insidePort, ack, 0, Flag.Rst);
    return;
  }
  if (flags & Flag.Rst) {
    if (flags & Flag.Ack) {
      flow.context.counters.add("tcp.inbound_refused");
      handBack(flow);
    }
    return;
  }
  if ((flags & Flag.Syn) === 0) return;
  synReceived(flow, segment);
  if (flags & Flag.Ack) {
    flow.sndUna = ack;
    flow.sndNxt = ack;
    // The window of a SYN is not scaled.
    completed(flow, segment.window, segment.seq, ack);
    sendAck(flow);
  } else {
    flow.state = State.SynReceived;
    sendSyn(flow, Flag.Syn | Flag.Ack);
  }
}

/** Both sides have acknowledged the other's SYN. */
export function completed(flow: TcpFlow, window: number, seq: number, ack: number): void {
  const { context, listener } = flow;
  const retransmitted = flow.timeout.expiries > 0;
  flow.state = State.Established;
  flow.sndWindow = window;
  flow.sndWindowMax = window;
  flow.sndWl1 = seq;
  flow.sndWl2 = ack;
  flow.listener = null;
  flow.timeout.acknowledged(ack, context.clock.now());
  if (retransmitted) context.counters.add("tcp.slow_handshake");
  context.timers.cancel(flow.timer);
  context.settled(flow);
  context.mark(flow);
  listener?.established(flow.socket);
}

/** The sandbox says by other means than a reset that nobody takes our SYN, or SYN/ACK. */
export function refused(flow: TcpFlow): void {
  if (flow.listener !== null) {
    handBack(flow);
  } else {
    sendReset(flow);
    flow.abort();
  }
}

/** The sandbox does not want this connection: the socket goes back. */
function handBack(flow: TcpFlow): void {
  const { listener, socket } = flow;
  flow.socket = -1;
  flow.remove();
  listener?.refused(socket);
}
