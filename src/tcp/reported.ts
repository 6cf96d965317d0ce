/**
 * What ICMP errors of the sandbox do to a flow (RFC 9293, 3.9.2.2, with the cautions of RFC 5927).
 *
 * Only an error about a segment that is on its way is looked at: its sequence number lies in what is not acknowledged. While we knock,
 * "not there" of any kind is the sandbox's answer, which spares the client the wait for our last SYN. A connection that stands is
 * never ended by one: TCP finds out by itself. "Too big" makes the segments smaller, for good, but not below SMALLEST, and what
 * is not acknowledged is sent again in that size: somewhere inside is a link that carries less than ours.
 */
import { type Reported, Trouble } from "../wire/reported.js";
import type { TcpFlow } from "./flow.js";
import { refused } from "./handshake.js";
import { HEADER } from "./segment.js";
import { sendAgain } from "./sender.js";
import { distance } from "./sequence.js";
import { State } from "./state.js";
import { networkHeader } from "./transmit.js";

/** Bytes of an IP packet that every path is taken to carry: what Linux does not go below (min_pmtu), and RFC 8200, 5. */
export const SMALLEST = { 4: 552, 6: 1280 };

export function segmentReported(flow: TcpFlow, { trouble, mtu, sequence }: Reported): void {
  const { counters } = flow.context;
  const place = distance(flow.sndUna, sequence);
  if (flow.state === State.Dialing || place < 0 || place >= distance(flow.sndUna, flow.sndMax)) {
    counters.add("tcp.error_out_of_window");
    return;
  }
  if (trouble === Trouble.TooBig) {
    shorten(flow, mtu);
    return;
  }
  const isRefusal = trouble === Trouble.Refused || (flow.state === State.SynSent && trouble === Trouble.Unreachable);
  if (!isRefusal || flow.state > State.SynReceived) {
    counters.add("tcp.error_ignored");
    return;
  }
  counters.add("tcp.inside_refused");
  refused(flow);
}

function shorten(flow: TcpFlow, mtu: number): void {
  const room = Math.max(mtu, SMALLEST[flow.family]) - networkHeader(flow) - HEADER;
  if (room >= flow.mss) {
    flow.context.counters.add("tcp.error_ignored");
    return;
  }
  flow.context.counters.add("tcp.path_mtu");
  flow.segmentsOf(room);
  sendAgain(flow);
}
