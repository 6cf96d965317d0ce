/** What the parts of TCP share: the layers below, and the bounds. */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { Timers } from "../flow/timers.js";
import type { Report, Streams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import type { TcpFlow } from "./flow.js";
import type { ReassemblyBudget } from "./reassembly.js";

export interface TcpOptions {
  /** Flows at once, TIME-WAIT included. */
  readonly maxFlows: number;
  /** Flows at once that are dialling, or whose handshake is not finished. */
  readonly maxHalfOpen: number;
  /** The largest receive window: bytes of one flow that may wait for the host socket. 64 KiB to 16 MiB. */
  readonly receiveWindow: number;
  /** Bytes in flight into the sandbox per flow. */
  readonly maxFlight: number;
  /** Bytes that arrived out of order and are kept: per flow, and of all flows. */
  readonly outOfOrderPerFlow: number;
  readonly outOfOrderTotal: number;
  /** Send several segments as one super-frame: the link has TSO. */
  readonly superFrames: boolean;
  /** Milliseconds: retransmission timeout before the first measurement (RFC 6298, 2.1), its bounds, and TIME-WAIT. */
  readonly initialTimeout: number;
  readonly minimumTimeout: number;
  readonly maximumTimeout: number;
  readonly timeWait: number;
  /** Milliseconds without any progress after which the sandbox is given up (RFC 1122, 4.2.3.5, R2). */
  readonly giveUp: number;
  /** Milliseconds between two looks at all flows, for those that are quiet. */
  readonly quietSweep: number;
  /** Sweeps without a segment of the sandbox after which it is asked whether it still has the connection, once per sweep ... */
  readonly quietSweeps: number;
  /** ... and questions without an answer after which it has not. */
  readonly keepAlives: number;
  /** How often a SYN or SYN/ACK is sent again. */
  readonly synRetries: number;
  /** Challenge ACKs per second (RFC 5961, 7). */
  readonly challengesPerSecond: number;
}

export const DEFAULTS: TcpOptions = {
  maxFlows: 98_304,
  maxHalfOpen: 4096,
  receiveWindow: 1 << 20,
  maxFlight: 4 << 20,
  outOfOrderPerFlow: 256 << 10,
  outOfOrderTotal: 8 << 20,
  superFrames: true,
  initialTimeout: 1000,
  minimumTimeout: 200,
  maximumTimeout: 60_000,
  timeWait: 1000,
  giveUp: 120_000,
  quietSweep: 120_000,
  quietSweeps: 5,
  keepAlives: 3,
  synRetries: 4,
  challengesPerSecond: 100,
};

export interface TcpContext {
  readonly output: Output;
  readonly streams: Streams;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly counters: Counters;
  readonly options: TcpOptions;
  readonly outOfOrder: ReassemblyBudget;
  /** Counts the turns. */
  readonly turn: number;

  /** Has a flow's flush() called at the end of this turn. */
  mark(flow: TcpFlow): void;
  /** Lets a flow's acknowledgement wait for a segment that carries it, for a short while. */
  delayAck(flow: TcpFlow): void;
  /** A flow's socket is closed while the host has not taken all that the sandbox sent. */
  flushing(socket: number, link: number): void;
  /** Takes a flow out of the table. The socket has been given back, or is given back by the caller. */
  remove(flow: TcpFlow): void;
  /** The handshake is over, well or not: the flow counts as half-open no more. */
  settled(flow: TcpFlow): void;
  /** The host did not let a dialled flow through: tells the sandbox, as errno(3) or the ICMP error says, and removes the flow. */
  unreachable(flow: TcpFlow, errno: number, report?: Report): void;
  /** True if one more challenge ACK may be sent now. */
  mayChallenge(): boolean;
  /** Has a flow's fill() called in the next turn, which comes at once: there is room again then. */
  nextTurn(flow: TcpFlow): void;
  /** Where selective acknowledgements are put together: pairs of sequence numbers. */
  readonly blocks: Int32Array;
  /** Remembers a flow whose window is small for want of memory, to open it again when there is some. */
  starved(flow: TcpFlow): void;
}
