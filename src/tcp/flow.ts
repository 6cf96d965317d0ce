/**
 * One TCP connection of the sandbox, and the host socket that it belongs to.
 *
 * Theory of operation. The flow terminates the sandbox's connection: towards the sandbox it is a TCP end point (RFC 9293)
 * with the address and port that the sandbox believes to talk to; towards the host it is the handler of a stream socket.
 * No payload is kept here. Names are the RFC's: RCV is what comes from the sandbox, SND what goes to it.
 *
 *   outbound   Dialing ─ connected() → SynReceived ─ ACK → Established          (handshake.ts)
 *   inbound    SynSent ─ SYN/ACK → Established, or refused: the socket goes back to whoever accepted it
 *   sandbox → host   receiver.ts: payload goes to streams.send() straight from the slot it came in; the window is what the
 *                    socket's backlog leaves; FIN → shutdown(), RST → reset()
 *   host → sandbox   sender.ts: streams.credit() says how much the window permits, data() brings that much and becomes
 *                    segments at once; ACKs become consume(); a loss becomes rewind()
 *
 * Turns. What a turn changes about the socket's stream (consume, rewind, credit) and the acknowledgement is carried out once,
 * by flush() at the end of the turn. Events of a turn were collected before its commands are carried out, so data() and end()
 * that come after a decision to rewind, in the same turn, belong to the old position and are passed over (`rewinding`).
 *
 * One timer per flow serves SYN and SYN/ACK retransmission, data retransmission, zero-window probes and TIME-WAIT, of which
 * a flow needs one at a time.
 */
import type { TimerOwner, Timer as WheelTimer } from "../flow/timers.js";
import { Timer } from "../flow/timers.js";
import type { Report, StreamHandler } from "../host/sockets.js";
import { MAX_PAYLOAD } from "../native/engine.js";
import type { Address, Family } from "../wire/address.js";
import type { TcpContext } from "./context.js";
import { dialed, retransmitHandshake } from "./handshake.js";
import type { Reassembly } from "./reassembly.js";
import { drained, fillGap, flushReceiver } from "./receiver.js";
import { RetransmissionTimeout } from "./rto.js";
import type { Scoreboard } from "./scoreboard.js";
import { flushSender, hostData, hostEnded, senderExpired } from "./sender.js";
import { receiving, State } from "./state.js";
import { sendAck, sendReset } from "./transmit.js";

/** Who published the port through which an inbound connection came. Hears nothing if the client goes away before. */
export interface InboundListener {
  /** The sandbox did not take the connection; the socket is open, nothing of its stream was consumed, and it wants an owner. */
  refused(socket: number): void;
  established(socket: number): void;
}

export class TcpFlow implements StreamHandler, TimerOwner {
  readonly context: TcpContext;
  readonly link: number;
  readonly family: Family;
  /** The sandbox's end. */
  readonly inside: Address;
  readonly insidePort: number;
  /** Our end, as the sandbox sees it. */
  readonly outside: Address;
  readonly outsidePort: number;
  readonly timer: Timer;
  readonly timeout: RetransmissionTimeout;

  state: State = State.Dialing;
  /** Id in the flow table, -1 when it is in none. */
  id = -1;
  /** The host socket, -1 when it has been given back. */
  socket = -1;
  /** Sweeps since a segment of the sandbox came; the socket has been put under the host's keep-alive (keep-alive.ts). */
  quietFor = 0;
  keptAlive = false;
  /** Counts among the half-open flows. */
  halfOpen = true;
  /** flush() is due at the end of this turn. */
  marked = false;
  /** While dialling: the SYN from its IP header on, for an ICMP error. */
  original: Uint8Array | null = null;
  /** Of an inbound connection, until the handshake is over. */
  listener: InboundListener | null = null;

  // Send sequence space (RFC 9293, 3.3.1).
  sndUna = 0;
  /** Where the host's stream is read: the next byte to send, or to send again where it is before `sndMax`. */
  sndNxt = 0;
  /** The highest sequence number that was ever sent. */
  sndMax = 0;
  sndWindow = 0;
  /** The largest window that the sandbox offered. */
  sndWindowMax = 0;
  sndWl1 = 0;
  sndWl2 = 0;
  sndScale = 0;
  /** Payload bytes of one segment, and of one super-frame (a multiple of it). */
  mss = 536;
  chunk = 536;
  /** Where the header of the last data segment lies, if it was sent in the turn `dataTurn` and nothing after it. */
  dataAt = 0;
  dataTurn = -1;
  finSent = false;
  /** Sequence number of our FIN. */
  finSeq = 0;
  /** Bytes of the host's stream that the engine may still report. */
  credit = 0;
  /** Acknowledged bytes that the stream may forget at the end of this turn. */
  consumed = 0;
  /** The stream is read elsewhere from the next turn on: what this turn reports of it is passed over. */
  rewinding = false;
  /** Send something although the window, or the rule against silly windows, forbids it: a probe. */
  probing = false;
  /** Bytes in flight that we allow ourselves: less after a loss, growing with what is acknowledged. */
  flightLimit: number;
  duplicates = 0;
  /** Both ends acknowledge selectively (RFC 2018). */
  sack = false;
  /** What the sandbox has beyond `sndUna`; made when it first says so. */
  scoreboard: Scoreboard | null = null;
  /** After a loss, until everything that was in flight then, that is up to `recover`, is acknowledged. */
  recovering = false;
  recover = 0;
  /** Meanwhile: what is missing before `lostTo` is sent again, and has been before `resent`. */
  lostTo = 0;
  resent = 0;
  /** Since when what is in flight has had no answer; -1: the last probe of a closed window was answered. */
  progressAt = 0;

  // Receive sequence space.
  rcvNxt = 0;
  /** The right edge of the window that we have advertised; it never moves left. */
  rcvEdge = 0;
  rcvScale = 0;
  ackDue = false;
  /** Segments and bytes that are not acknowledged yet. */
  ackFrames = 0;
  ackBytes = 0;
  /** The acknowledgement waits for a segment that could carry it. */
  delayed = false;
  /** Bytes handed to the socket in this turn. */
  sentThisTurn = 0;
  starved = false;
  outOfOrder: Reassembly | null = null;

  /** The addresses are kept, not copied. */
  constructor(
    context: TcpContext,
    link: number,
    family: Family,
    inside: Address,
    insidePort: number,
    outside: Address,
    outsidePort: number,
  ) {
    this.context = context;
    this.link = link;
    this.family = family;
    this.inside = inside;
    this.insidePort = insidePort;
    this.outside = outside;
    this.outsidePort = outsidePort;
    this.timer = new Timer(this);
    this.timeout = new RetransmissionTimeout(context.options);
    this.flightLimit = context.options.maxFlight;
  }

  /** Takes the segment size that the sandbox's SYN named (0: none), no larger than `largest`. */
  agreeOnSize(offered: number, largest: number): void {
    const size = offered === 0 ? (this.family === 4 ? 536 : 1220) : offered;
    this.segmentsOf(Math.min(size, largest));
  }

  /** Sends segments of `mss` bytes from now on. */
  segmentsOf(mss: number): void {
    this.mss = mss;
    this.chunk = this.context.options.superFrames ? MAX_PAYLOAD - (MAX_PAYLOAD % this.mss) : this.mss;
  }

  // StreamHandler

  connected(socket: number): void {
    if (socket === this.socket && this.state === State.Dialing) dialed(this);
  }

  data(socket: number, offset: number, length: number): void {
    if (socket === this.socket) hostData(this, offset, length);
  }

  end(socket: number): void {
    if (socket === this.socket) hostEnded(this);
  }

  failed(socket: number, errno: number, report?: Report): void {
    if (socket !== this.socket) return;
    this.socket = -1;
    if (this.state === State.Dialing) {
      this.context.unreachable(this, errno, report);
    } else {
      this.context.counters.add("tcp.host_reset");
      sendReset(this);
      this.remove();
    }
  }

  drained(socket: number): void {
    if (socket === this.socket) drained(this);
  }

  // TimerOwner

  expired(_timer: WheelTimer): void {
    switch (this.state) {
      case State.SynSent:
      case State.SynReceived:
        retransmitHandshake(this);
        break;
      case State.TimeWait:
        this.remove();
        break;
      case State.Closed:
      case State.Dialing:
        break;
      default:
        senderExpired(this);
    }
  }

  // The life of a flow

  /** Called once at the end of each turn in which the flow was marked. */
  flush(): void {
    if (this.state === State.Closed) return;
    if (this.state >= State.Established && this.socket >= 0) flushSender(this);
    flushReceiver(this);
  }

  /** There is room for what was kept behind a gap. */
  fill(): void {
    if (receiving(this.state) && this.socket >= 0 && fillGap(this)) sendAck(this);
  }

  /** Both streams have ended: the socket is closed once its backlog is sent. */
  closeSocket(): void {
    if (this.socket >= 0) {
      // A socket that is closed with bytes unread sends a reset, which would destroy what is still on its way to the host.
      if (this.consumed > 0) this.context.streams.consume(this.socket, this.consumed);
      this.consumed = 0;
      if (this.context.streams.backlog(this.socket) > 0) this.context.flushing(this.socket, this.link);
      this.context.streams.close(this.socket);
    }
    this.socket = -1;
  }

  /** Ends the flow at once; the host sees a reset. */
  abort(): void {
    if (this.socket >= 0) this.context.streams.reset(this.socket);
    this.socket = -1;
    this.remove();
  }

  /** Forgets the flow. */
  remove(): void {
    if (this.state === State.Closed) return;
    this.state = State.Closed;
    this.outOfOrder?.clear();
    this.outOfOrder = null;
    this.scoreboard = null;
    this.original = null;
    this.listener = null;
    this.context.timers.cancel(this.timer);
    this.context.remove(this);
  }
}
