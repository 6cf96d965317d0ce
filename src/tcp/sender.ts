/**
 * Host → sandbox: credit, segments, acknowledgements, loss.
 *
 * Theory of operation. The bytes stay in the host socket's kernel buffer until the sandbox has acknowledged them; the engine
 * only reports them ahead ("peeks"), as far as `credit` permits. So what may be sent is decided in one place, flushSender():
 * the sandbox's window and our own limit of bytes in flight, less what is in flight, in whole segments (RFC 9293, 3.8.6.2.1:
 * no silly windows).
 *
 * Loss is rare (the path is memory) and repaired by going back to the first byte that is not acknowledged: after three
 * duplicate ACKs (RFC 5681, 3.2) or a timeout (RFC 6298, 5). What the sandbox has already is acknowledged as soon as the gap is
 * filled, and skipped. Both halve the bytes in flight, a timeout to two segments; they double again per round trip.
 *
 * The zero-window probe (RFC 1122, 4.2.2.17) is a credit of one byte after a timeout: if the host has nothing to send, nothing
 * is sent, and nobody wakes up. The FIN takes part in all of this as the last sequence number.
 *
 * Left out: SACK, congestion control beyond the above, Nagle (host programs have had theirs).
 */
import type { TcpFlow } from "./flow.js";
import { FLAGS, Flag, HEADER, PROTOCOL_TCP, writeHeader } from "./segment.js";
import { after, before, distance } from "./sequence.js";
import { State, sending } from "./state.js";
import { acknowledged as ackCarried, sendFin, sendReset, windowField } from "./transmit.js";

const DUPLICATES = 3;

/** The engine reports `length` bytes of the host's stream at `offset`, the next after what it reported before. */
export function hostData(flow: TcpFlow, offset: number, length: number): void {
  flow.credit -= length;
  if (flow.rewinding || !sending(flow.state)) return;
  const { output, clock } = flow.context;
  const at = offset - HEADER;
  // Less than was asked for: this was all that the host had.
  const flags = length < flow.chunk ? Flag.Ack | Flag.Psh : Flag.Ack;
  ackCarried(flow);
  writeHeader(output.view, at, flow.outsidePort, flow.insidePort, flow.sndNxt, flow.rcvNxt, flags, windowField(flow));
  const segment = length > flow.mss ? flow.mss : 0;
  output.send(flow.link, PROTOCOL_TCP, flow.outside, flow.inside, at, length + HEADER, HEADER, segment);
  flow.dataAt = at;
  flow.dataTurn = flow.context.turn;
  flow.probing = false;
  const idle = flow.sndUna === flow.sndMax;
  flow.sndNxt = (flow.sndNxt + length) | 0;
  if (after(flow.sndNxt, flow.sndMax)) {
    flow.sndMax = flow.sndNxt;
    flow.timeout.sent(flow.sndMax, clock.now());
  }
  if (idle) {
    flow.progressAt = clock.now();
    flow.context.timers.arm(flow.timer, flow.progressAt, flow.timeout.milliseconds);
  }
  flow.context.mark(flow);
}

/** The host will send no more, and everything that it sent has been reported. */
export function hostEnded(flow: TcpFlow): void {
  // Too early for a FIN, and told but once: reading the stream again from its beginning has it told again.
  if (flow.state < State.Established) flow.rewinding = true;
  if (flow.rewinding || !sending(flow.state)) return;
  // Reported again after a rewind, but the FIN has been repeated meanwhile.
  if (flow.finSent && flow.sndNxt !== flow.finSeq) return;
  const { clock, timers } = flow.context;
  if (!flow.finSent) {
    flow.finSent = true;
    flow.finSeq = flow.sndNxt;
    if (flow.sndUna === flow.sndMax) flow.progressAt = clock.now();
    if (flow.state === State.Established) flow.state = State.FinWait1;
    else if (flow.state === State.CloseWait) flow.state = State.LastAck;
  }
  if (!appendFin(flow)) sendFin(flow);
  flow.sndNxt = (flow.sndNxt + 1) | 0;
  if (after(flow.sndNxt, flow.sndMax)) flow.sndMax = flow.sndNxt;
  timers.arm(flow.timer, clock.now(), flow.timeout.milliseconds);
  flow.context.mark(flow);
}

/** Makes the FIN part of the data segment that this turn ends with, if there is one and the window has room. */
function appendFin(flow: TcpFlow): boolean {
  if (flow.dataTurn !== flow.context.turn || distance(flow.sndUna, flow.sndNxt) >= flow.sndWindow) return false;
  const { view } = flow.context.output;
  const at = flow.dataAt + FLAGS;
  view.setUint8(at, view.getUint8(at) | Flag.Fin | Flag.Psh);
  return true;
}

/** The sandbox has acknowledged `bytes` more (1 or more), up to `ack`, which is not beyond `sndMax`. */
export function advance(flow: TcpFlow, ack: number, bytes: number): void {
  const { clock, timers, options } = flow.context;
  const now = clock.now();
  const finished = flow.finSent && ack === flow.sndMax;
  flow.consumed += finished ? bytes - 1 : bytes;
  flow.sndUna = ack;
  if (after(ack, flow.sndNxt)) {
    // It had kept what followed the gap: go on behind that.
    flow.sndNxt = ack;
    flow.rewinding = true;
  }
  flow.timeout.acknowledged(ack, now);
  flow.progressAt = now;
  flow.duplicates = 0;
  flow.probing = false;
  if (flow.recovering && !before(ack, flow.recover)) flow.recovering = false;
  if (flow.flightLimit < options.maxFlight) {
    flow.flightLimit = Math.min(flow.flightLimit + bytes, options.maxFlight);
  }
  if (ack === flow.sndMax) timers.cancel(flow.timer);
  else timers.arm(flow.timer, now, flow.timeout.milliseconds);
  if (finished) flow.rewinding = false;
}

/** An acknowledgement of nothing new, with data in flight, that RFC 5681, section 2, calls a duplicate. */
export function duplicate(flow: TcpFlow): void {
  if (++flow.duplicates !== DUPLICATES || flow.recovering) return;
  flow.context.counters.add("tcp.fast_retransmit");
  const flight = distance(flow.sndUna, flow.sndMax);
  goBack(flow, Math.max(flight >> 1, 2 * flow.mss));
  flow.context.timers.arm(flow.timer, flow.context.clock.now(), flow.timeout.milliseconds);
}

/** The flow's timer ended while data may flow: something is not acknowledged, or the window is closed. */
export function senderExpired(flow: TcpFlow): void {
  const { clock, timers, counters, options } = flow.context;
  const now = clock.now();
  if (!sending(flow.state)) return;
  flow.timeout.expired();
  if (flow.sndUna === flow.sndMax) {
    flow.probing = true;
    flow.context.mark(flow);
    return;
  }
  if (flow.progressAt < 0) flow.progressAt = now;
  if (now - flow.progressAt >= options.giveUp) {
    counters.add("tcp.gave_up");
    sendReset(flow);
    flow.abort();
    return;
  }
  counters.add("tcp.timeout");
  timers.arm(flow.timer, now, flow.timeout.milliseconds);
  if (flow.finSent && flow.sndUna === flow.finSeq) {
    sendFin(flow);
    flow.sndNxt = flow.sndMax;
    return;
  }
  // Behind a closed window nothing was lost: the sandbox did not take it.
  goBack(flow, flow.sndWindow === 0 ? flow.flightLimit : 2 * flow.mss);
  flow.probing = true;
}

/** The window was closed and is not any more: what was sent meanwhile was not taken, and need not wait for its timeout. */
export function reopened(flow: TcpFlow): void {
  flow.timeout.answered();
  if (flow.sndUna === flow.sndMax) return;
  goBack(flow, flow.flightLimit);
  flow.context.timers.arm(flow.timer, flow.context.clock.now(), flow.timeout.milliseconds);
}

/** Sends everything again that is not acknowledged, from the next turn on. */
function goBack(flow: TcpFlow, flightLimit: number): void {
  flow.rewinding = true;
  flow.recovering = true;
  flow.recover = flow.sndMax;
  flow.flightLimit = Math.min(flightLimit, flow.context.options.maxFlight);
  flow.duplicates = 0;
  flow.timeout.forget();
  flow.context.mark(flow);
}

/** Tells the engine, once per turn, what of the stream it may forget, where to go on, and how far. */
export function flushSender(flow: TcpFlow): void {
  const { streams, timers, clock } = flow.context;
  const socket = flow.socket;
  if (flow.consumed > 0) {
    streams.consume(socket, flow.consumed);
    flow.consumed = 0;
  }
  if (!sending(flow.state)) return;
  const rewound = flow.rewinding;
  if (rewound) {
    streams.rewind(socket, 0);
    flow.rewinding = false;
    flow.sndNxt = flow.sndUna;
  }
  const allowed = permitted(flow);
  if (allowed !== flow.credit || rewound) {
    flow.credit = allowed;
    streams.credit(socket, allowed, flow.chunk);
  }
  if (allowed === 0 && flow.sndUna === flow.sndMax && !flow.timer.armed) {
    timers.arm(flow.timer, clock.now(), flow.timeout.milliseconds);
  }
}

/** Bytes that may be sent now. */
function permitted(flow: TcpFlow): number {
  const { mss } = flow;
  const usable = Math.min(flow.sndWindow, flow.flightLimit) - distance(flow.sndUna, flow.sndNxt);
  if (usable >= mss) return usable - (usable % mss);
  if (usable > 0 && usable * 2 >= flow.sndWindowMax) return usable;
  if (!flow.probing || flow.sndNxt !== flow.sndUna) return 0;
  return usable > 0 ? usable : 1;
}
