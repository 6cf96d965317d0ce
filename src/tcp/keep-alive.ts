/**
 * Keep-alive: ends flows whose other end is gone without a word (RFC 1122, 4.2.3.6; RFC 9293, 3.8.4).
 *
 * Theory of operation. A reset of the sandbox may be lost, such as when very many overflow the TAP's queue; then nothing would ever
 * end its flow. So all flows are looked at every `quietSweep` while there are any. A segment of the sandbox sets a flow's
 * `quietFor` to 0 (receiver.ts), a sweep adds 1; from `quietSweeps` on each sweep sends a segment that the sandbox has to answer: an
 * empty one, one number early. A kernel that has forgotten the connection answers with a reset. After `keepAlives` without an answer
 * the flow is given up. What is not acknowledged is the retransmission's business, not ours.
 *
 * When a flow becomes that quiet, its host socket is put under the host kernel's own keep-alive (SO_KEEPALIVE), so that a remote
 * that is gone ends it too. Connections that come and go never cost that system call.
 *
 * RFC 1122 wants two hours and an option, for the sake of traffic and of hosts that are out of reach for a while. The sandbox is
 * memory of the same machine: neither applies. The host's kernel keeps to its own times (net.ipv4.tcp_keepalive_time).
 *
 * Bounds: one timer in all, none where there is no flow; PROBES_PER_STEP segments at once, the next STEP ms later, so that the
 * answers find room in the TAP's queue.
 */
import { Timer, type TimerOwner } from "../flow/timers.js";
import type { TcpContext } from "./context.js";
import type { TcpFlow } from "./flow.js";
import { State } from "./state.js";
import { sendKeepAlive, sendReset } from "./transmit.js";

export const PROBES_PER_STEP = 256;
const STEP = 10;

export class KeepAlive implements TimerOwner {
  readonly #context: TcpContext;
  /** By id of the flow table. */
  readonly #flows: readonly (TcpFlow | null)[];
  readonly #timer = new Timer(this);
  /** Where the sweep goes on. */
  #next = 0;

  constructor(context: TcpContext, flows: readonly (TcpFlow | null)[]) {
    this.#context = context;
    this.#flows = flows;
  }

  /** There is a flow. */
  start(): void {
    if (!this.#timer.armed) this.#arm(this.#context.options.quietSweep);
  }

  /** There is none any more. */
  stop(): void {
    this.#next = 0;
    this.#context.timers.cancel(this.#timer);
  }

  expired(): void {
    const flows = this.#flows;
    let probes = 0;
    while (this.#next < flows.length && probes < PROBES_PER_STEP) {
      const flow = flows[this.#next++];
      if (flow !== null && this.#look(flow)) probes++;
    }
    if (this.#next < flows.length) {
      this.#arm(STEP);
    } else {
      this.#next = 0;
      if (flows.some((flow) => flow !== null)) this.#arm(this.#context.options.quietSweep);
    }
  }

  /** True where it sent something. */
  #look(flow: TcpFlow): boolean {
    const { options, counters, streams } = this.#context;
    if (!waits(flow)) {
      flow.quietFor = 0;
      return false;
    }
    const asked = ++flow.quietFor - options.quietSweeps;
    if (asked < 0) return false;
    if (asked >= options.keepAlives) {
      counters.add("tcp.keep_alive_failed");
      sendReset(flow);
      flow.abort();
      return true;
    }
    if (!flow.keptAlive && flow.socket >= 0) {
      flow.keptAlive = true;
      streams.keepAlive(flow.socket);
    }
    counters.add("tcp.keep_alive");
    sendKeepAlive(flow);
    return true;
  }

  #arm(delay: number): void {
    const { timers, clock } = this.#context;
    timers.arm(this.#timer, clock.now(), delay);
  }
}

/** The connection is open at least one way, and everything that was sent is acknowledged. */
function waits({ state, sndUna, sndMax }: TcpFlow): boolean {
  return (state === State.Established || state === State.FinWait2 || state === State.CloseWait) && sndUna === sndMax;
}
