/**
 * Host → sandbox: credit, segments, acknowledgements, loss.
 *
 * Theory of operation. The bytes stay in the host socket's kernel buffer until the sandbox has acknowledged them; the engine
 * only reports them ahead ("peeks"), as far as `credit` permits. So what may be sent is decided in one place, flushSender():
 * the sandbox's window and our own limit of bytes in flight, less what is in flight, in whole segments (RFC 9293, 3.8.6.2.1:
 * no silly windows).
 *
 * Loss is rare (the path is memory: it happens where very many connections at once overflow the TAP's queue). It is noticed by what
 * the sandbox has beyond a gap (scoreboard.ts; RFC 6675: three blocks, or more than two segments), or, from a sandbox that
 * does not acknowledge selectively, by three duplicate ACKs (RFC 5681, 3.2), or by a timeout (RFC 6298, 5). Then `recovering`:
 *
 *     sndUna ──── resent ──── lostTo ──── recover ≤ sndMax
 *       sent again    to be sent    not (yet)       until this is acknowledged
 *                     again         known as lost
 *
 * What is missing before `lostTo` is sent again, gap by gap, by moving the place where the host's stream is read; then it goes on
 * behind sndMax. After a timeout, and without selective acknowledgements, everything is lost that nobody says has arrived. A loss halves
 * the bytes in flight, a timeout to two segments; they double again per round trip. An acknowledgement of a part says that the gap
 * that it ends at is a loss too (RFC 6582): nothing overtakes on a TAP.
 *
 * The sandbox may take back what it acknowledged selectively (RFC 2018, 8): a timeout at the beginning of a block, or the second
 * timeout without progress, forgets all blocks. What they say about the acknowledged (D-SACK, RFC 2883) or the unsent is passed over.
 *
 * The zero-window probe (RFC 1122, 4.2.2.17) is a credit of one byte after a timeout: if the host has nothing to send, nothing
 * is sent, and nobody wakes up. The FIN takes part in all of this as the last sequence number.
 *
 * Left out: congestion control beyond the above, losses of what was sent again before the timeout, undoing what was no loss,
 * Nagle (host programs have had theirs).
 */
import type { TcpFlow } from "./flow.js";
import { Scoreboard } from "./scoreboard.js";
import { blockCount, FLAGS, Flag, HEADER, PROTOCOL_TCP, type Segment, writeHeader } from "./segment.js";
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
  const again = before(flow.sndNxt, flow.sndMax);
  flow.sndNxt = (flow.sndNxt + length) | 0;
  if (again) {
    flow.resent = flow.sndNxt;
    flow.context.counters.add("tcp.bytes_again", length);
  }
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
  // Reported again after a rewind, but the FIN has been repeated meanwhile, or has arrived.
  if (flow.finSent && (flow.sndNxt !== flow.finSeq || flow.scoreboard?.skip(flow.finSeq) === flow.sndMax)) return;
  const { clock, timers } = flow.context;
  if (!flow.finSent) {
    flow.finSent = true;
    flow.finSeq = flow.sndNxt;
    if (flow.sndUna === flow.sndMax) flow.progressAt = clock.now();
    if (flow.state === State.Established) flow.state = State.FinWait1;
    else if (flow.state === State.CloseWait) flow.state = State.LastAck;
  }
  if (!appendFin(flow)) sendFin(flow);
  const again = before(flow.sndNxt, flow.sndMax);
  flow.sndNxt = (flow.sndNxt + 1) | 0;
  if (again) flow.resent = flow.sndNxt;
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
    // It had kept what followed the gap.
    flow.sndNxt = ack;
    flow.rewinding = true;
  }
  flow.timeout.acknowledged(ack, now);
  flow.progressAt = now;
  flow.duplicates = 0;
  flow.probing = false;
  flow.scoreboard?.forget(ack);
  if (flow.recovering) {
    if (!before(ack, flow.recover)) flow.recovering = false;
    else if (flow.sack) flow.lostTo = later(flow.lostTo, flow.scoreboard?.gapEnd(ack, flow.recover) ?? flow.recover);
  }
  if (flow.flightLimit < options.maxFlight) {
    flow.flightLimit = Math.min(flow.flightLimit + bytes, options.maxFlight);
  }
  if (ack === flow.sndMax) timers.cancel(flow.timer);
  else timers.arm(flow.timer, now, flow.timeout.milliseconds);
  if (finished) flow.rewinding = false;
}

/** An acknowledgement of nothing new, with data in flight, that RFC 5681, section 2, calls a duplicate; from a sandbox without SACK. */
export function duplicate(flow: TcpFlow): void {
  if (++flow.duplicates !== DUPLICATES || flow.recovering) return;
  recover(flow, flow.sndMax);
  flow.rewinding = true;
}

/** Takes the blocks of a segment, whose acknowledgement has been taken: what the sandbox has beyond it (RFC 6675, 5). */
export function selective(flow: TcpFlow, segment: Segment, view: DataView): void {
  const at = segment.blocks(view);
  if (at < 0) return;
  const { sndUna, sndMax } = flow;
  let news = false;
  for (let i = 0; i < blockCount(view, at); i++) {
    const start = view.getInt32(at + 8 * i);
    const end = view.getInt32(at + 8 * i + 4);
    if (!after(start, sndUna) || !after(end, start) || after(end, sndMax)) continue;
    flow.scoreboard ??= new Scoreboard();
    if (flow.scoreboard.add(start, end)) news = true;
  }
  if (!news || flow.scoreboard === null) return;
  const lostTo = flow.scoreboard.lostTo(sndUna, flow.mss);
  if (flow.recovering) {
    flow.lostTo = later(flow.lostTo, lostTo);
  } else if (++flow.duplicates >= DUPLICATES || after(lostTo, sndUna)) {
    // After three duplicates, the first segment at least is lost.
    recover(flow, later(lostTo, flow.scoreboard.gapEnd(sndUna, (sndUna + flow.mss) | 0)));
  }
  flow.context.mark(flow);
}

/** Something before `lostTo` was lost, and what was sent after it has arrived. */
function recover(flow: TcpFlow, lostTo: number): void {
  const { context } = flow;
  context.counters.add("tcp.fast_retransmit");
  const flight = distance(flow.sndUna, flow.sndMax);
  startAgain(flow, lostTo, Math.max(flight >> 1, 2 * flow.mss));
  context.timers.arm(flow.timer, context.clock.now(), flow.timeout.milliseconds);
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
  const { scoreboard } = flow;
  if (scoreboard !== null && (flow.timeout.expiries > 1 || scoreboard.skip(flow.sndUna) !== flow.sndUna)) {
    counters.add("tcp.sack_forgotten");
    scoreboard.clear();
  }
  // Behind a closed window nothing was lost: the sandbox did not take it.
  goBack(flow, flow.sndWindow === 0 ? flow.flightLimit : 2 * flow.mss);
  flow.probing = true;
}

/** The window was closed and is not any more: what was sent meanwhile was not taken, and need not wait for its timeout. */
export function reopened(flow: TcpFlow): void {
  flow.timeout.answered();
  sendAgain(flow);
}

/** What is not acknowledged did not get there in this form, and congestion is not the matter. */
export function sendAgain(flow: TcpFlow): void {
  if (!sending(flow.state) || flow.sndUna === flow.sndMax) return;
  // All of it, also what is said to be there: then there is something to go back to.
  flow.scoreboard?.clear();
  goBack(flow, flow.flightLimit);
  flow.context.timers.arm(flow.timer, flow.context.clock.now(), flow.timeout.milliseconds);
}

/** Sends everything again that has not arrived as far as we know, from the next turn on. */
function goBack(flow: TcpFlow, flightLimit: number): void {
  startAgain(flow, flow.sndMax, flightLimit);
  flow.rewinding = true;
}

function startAgain(flow: TcpFlow, lostTo: number, flightLimit: number): void {
  flow.recovering = true;
  flow.recover = flow.sndMax;
  flow.resent = flow.sndUna;
  flow.lostTo = lostTo;
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
  const place = nextToSend(flow);
  if (flow.finSent && after(place, flow.finSeq)) flow.rewinding = false; // there is nothing to be read
  const moves = flow.rewinding || place !== flow.sndNxt;
  if (moves) {
    streams.rewind(socket, distance(flow.sndUna, place));
    flow.rewinding = false;
    flow.sndNxt = place;
  }
  const allowed = permitted(flow);
  if (allowed !== flow.credit || moves) {
    flow.credit = allowed;
    streams.credit(socket, allowed, flow.chunk);
  }
  if (allowed === 0 && flow.sndUna === flow.sndMax && !flow.timer.armed) {
    timers.arm(flow.timer, clock.now(), flow.timeout.milliseconds);
  }
}

/** Where the stream is to be read: at the first loss that was not sent again, else behind all that was sent. */
function nextToSend(flow: TcpFlow): number {
  const { sndUna, sndNxt, scoreboard } = flow;
  if (flow.recovering) {
    const from = later(flow.resent, sndUna);
    const lost = scoreboard === null ? from : scoreboard.skip(from);
    if (before(lost, flow.lostTo)) return lost;
  }
  // Behind a FIN there is nothing, and to read to the end again would repeat it.
  return flow.finSent ? sndNxt : flow.sndMax;
}

/** Bytes that may be sent now, from `sndNxt` on. */
function permitted(flow: TcpFlow): number {
  const { mss, sndUna, sndNxt, sndMax } = flow;
  const again = flow.recovering && before(sndNxt, flow.lostTo);
  if (flow.finSent && !again && sndNxt !== sndMax) return 0;
  let free = flow.flightLimit - inFlight(flow);
  // RFC 6675, 5, step 4.3: the first segment goes at once.
  if (again && sndNxt === sndUna && !after(flow.resent, sndUna)) free = Math.max(free, mss);
  const usable = Math.min(flow.sndWindow - distance(sndUna, sndNxt), free);
  if (again) {
    const end = flow.scoreboard?.gapEnd(sndNxt, flow.lostTo) ?? flow.lostTo;
    const gap = distance(sndNxt, end);
    // The last piece of a gap may be short. Behind the last gap the stream simply goes on.
    if (end !== sndMax && gap <= usable) return gap;
  }
  if (usable >= mss) return usable - (usable % mss);
  if (usable > 0 && usable * 2 >= flow.sndWindowMax) return usable;
  if (!flow.probing || sndNxt !== sndUna) return 0;
  return usable > 0 ? usable : 1;
}

/** Bytes that are on their way, as far as we know (the pipe of RFC 6675, 2). */
function inFlight(flow: TcpFlow): number {
  const { sndUna, sndNxt, sndMax, scoreboard } = flow;
  if (!flow.recovering) return distance(sndUna, sndNxt);
  const lostTo = later(flow.lostTo, sndUna);
  const resent = later(flow.resent, sndUna);
  const again = before(resent, lostTo) ? resent : lostTo;
  if (scoreboard === null) return distance(sndUna, again) + distance(lostTo, sndMax);
  return scoreboard.missing(sndUna, again) + scoreboard.missing(lostTo, sndMax);
}

function later(a: number, b: number): number {
  return after(a, b) ? a : b;
}
