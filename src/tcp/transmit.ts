/** Segments without payload, and the window that every segment carries. */
import type { Output } from "../link/output.js";
import type { Address } from "../wire/address.js";
import type { TcpFlow } from "./flow.js";
import {
  Flag,
  HEADER,
  PROTOCOL_TCP,
  SYN_HEADER,
  sackHeader,
  writeBlocks,
  writeHeader,
  writeSynOptions,
} from "./segment.js";
import { distance } from "./sequence.js";
import { State } from "./state.js";

/** The window scale that we offer (RFC 7323): units of 1 KiB. */
export const WINDOW_SCALE = 10;
const LARGEST_UNSCALED = 0xffff;
/** Below this share of free slots, windows shrink in proportion. */
export const LOW_MEMORY = 0.25;
/** Rounding to the window's unit may move the right edge by this part of the window (a shift) in all; then it is rounded down. */
const ROUNDING = 4;

/** Bytes of the IP header of a packet without options. */
export function networkHeader(flow: TcpFlow): number {
  return flow.family === 4 ? 20 : 40;
}

/**
 * The window field of the next segment, and with it the new right edge (RFC 9293, 3.8.6; RFC 1122, 4.2.3.3).
 * The window is what the socket's backlog leaves of the receive window. What was handed over in this very turn does not
 * count: the socket will most probably take it. The edge moves by a segment at least, and never to the left.
 */
export function windowField(flow: TcpFlow): number {
  const { streams, options } = flow.context;
  const scale = flow.rcvScale;
  const open = distance(flow.rcvNxt, flow.rcvEdge);
  if (flow.socket < 0) return Math.min(open >> scale, LARGEST_UNSCALED);
  let limit = options.receiveWindow;
  const free = streams.freeMemory;
  if (free < LOW_MEMORY) {
    limit = Math.floor((limit * free) / LOW_MEMORY);
    flow.context.starved(flow);
  }
  const kept = streams.backlog(flow.socket) - flow.sentThisTurn;
  let field = Math.min(Math.max(0, limit - kept) >> scale, LARGEST_UNSCALED);
  if ((field << scale) - open < Math.min(flow.mss, limit >> 1)) {
    // Not worth telling: hold the edge. Rounded up, or else it would move to the left by less than a unit.
    field = (open + (1 << scale) - 1) >> scale;
    if ((field << scale) + kept > limit + (limit >> ROUNDING)) field = open >> scale;
  }
  if (field << scale > open) flow.rcvEdge = (flow.rcvNxt + (field << scale)) | 0;
  return field;
}

/** Sends an empty segment at `seq`; nothing when this turn has no more room. */
function sendEmpty(flow: TcpFlow, flags: number, seq: number): void {
  const { output, counters } = flow.context;
  const at = output.small(HEADER);
  if (at < 0) {
    counters.add("tcp.no_room");
    return;
  }
  const ack = flags & Flag.Ack ? flow.rcvNxt : 0;
  const window = flags & Flag.Rst ? 0 : windowField(flow);
  writeHeader(output.view, at, flow.outsidePort, flow.insidePort, seq, ack, flags, window);
  output.send(flow.link, PROTOCOL_TCP, flow.outside, flow.inside, at, HEADER, HEADER, 0);
}

/** Acknowledges everything that has been received, and what is kept behind a gap. */
export function sendAck(flow: TcpFlow): void {
  acknowledged(flow);
  const { outOfOrder, context } = flow;
  if (flow.sack && outOfOrder !== null && outOfOrder.size > 0) {
    const count = outOfOrder.blocks(context.blocks, flow.rcvNxt);
    if (count > 0) {
      sendBlocks(flow, count);
      return;
    }
  }
  sendEmpty(flow, Flag.Ack, acceptable(flow));
}

/** An acknowledgement with the first `count` of the context's blocks. */
function sendBlocks(flow: TcpFlow, count: number): void {
  const { output, counters, blocks } = flow.context;
  const length = sackHeader(count);
  const at = output.small(length);
  if (at < 0) {
    counters.add("tcp.no_room");
    return;
  }
  writeHeader(
    output.view,
    at,
    flow.outsidePort,
    flow.insidePort,
    acceptable(flow),
    flow.rcvNxt,
    Flag.Ack,
    windowField(flow),
  );
  writeBlocks(output.view, at, blocks, count);
  output.send(flow.link, PROTOCOL_TCP, flow.outside, flow.inside, at, length, length, 0);
}

/** A segment that the sandbox has to answer if it knows the connection: it repeats the last number before what it expects. */
export function sendKeepAlive(flow: TcpFlow): void {
  acknowledged(flow);
  sendEmpty(flow, Flag.Ack, (flow.sndUna - 1) | 0);
}

/** The highest sequence number that we have used, but not beyond the window: the sandbox would not look at the segment. */
function acceptable(flow: TcpFlow): number {
  return distance(flow.sndUna, flow.sndMax) <= flow.sndWindow ? flow.sndMax : (flow.sndUna + flow.sndWindow) | 0;
}

/** Some segment of this moment carries the acknowledgement. */
export function acknowledged(flow: TcpFlow): void {
  flow.ackDue = false;
  flow.ackFrames = 0;
  flow.ackBytes = 0;
}

/** FIN, at the end of the stream. */
export function sendFin(flow: TcpFlow): void {
  acknowledged(flow);
  sendEmpty(flow, Flag.Fin | Flag.Ack, flow.finSeq);
}

/** Resets the sandbox's end, at the place where it most probably expects us to go on (RFC 5961, 3). */
export function sendReset(flow: TcpFlow): void {
  switch (flow.state) {
    case State.Closed:
    case State.Dialing:
      sendEmpty(flow, Flag.Rst | Flag.Ack, 0);
      break;
    case State.SynSent:
      sendEmpty(flow, Flag.Rst, flow.sndMax);
      break;
    case State.SynReceived:
      // Its window is not known yet; what it expects follows our SYN, whether it has that or not (RFC 9293, 3.10.7.3).
      sendEmpty(flow, Flag.Rst | Flag.Ack, flow.sndMax);
      break;
    default:
      sendEmpty(flow, Flag.Rst | Flag.Ack, acceptable(flow));
  }
}

/** SYN, or SYN/ACK, with our options (RFC 9293, 3.7.1; RFC 7323, 2.2; RFC 2018, 2). */
export function sendSyn(flow: TcpFlow, flags: number): void {
  const { output, counters, options } = flow.context;
  const at = output.small(SYN_HEADER);
  if (at < 0) {
    counters.add("tcp.no_room");
    return;
  }
  // The window of a SYN is not scaled.
  const window = Math.min(options.receiveWindow, LARGEST_UNSCALED);
  flow.rcvEdge = (flow.rcvNxt + window) | 0;
  const ack = flags & Flag.Ack ? flow.rcvNxt : 0;
  const answers = (flags & Flag.Ack) !== 0;
  const scale = answers && flow.rcvScale === 0 ? -1 : WINDOW_SCALE;
  writeHeader(output.view, at, flow.outsidePort, flow.insidePort, flow.sndUna, ack, flags, window);
  writeSynOptions(output.view, at, output.mtu - networkHeader(flow) - HEADER, scale, !answers || flow.sack);
  output.send(flow.link, PROTOCOL_TCP, flow.outside, flow.inside, at, SYN_HEADER, SYN_HEADER, 0);
}

/** A reset for a segment that belongs to no flow (RFC 9293, 3.10.7.1). `ack` counts if `flags` has Ack. */
export function sendStrayReset(
  output: Output,
  link: number,
  outside: Address,
  outsidePort: number,
  inside: Address,
  insidePort: number,
  seq: number,
  ack: number,
  flags: number,
): boolean {
  const at = output.small(HEADER);
  if (at < 0) return false;
  writeHeader(output.view, at, outsidePort, insidePort, seq, ack, flags, 0);
  output.send(link, PROTOCOL_TCP, outside, inside, at, HEADER, HEADER, 0);
  return true;
}
