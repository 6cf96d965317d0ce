/**
 * The retransmission timeout (RFC 6298): from measured round trips, doubled at each expiry.
 *
 * One segment is timed at a time, and none that was sent twice (Karn's algorithm). The path is memory, so the measured
 * times are far below `minimum`, which then decides.
 */

import type { TcpOptions } from "./context.js";
import { before } from "./sequence.js";

/** Expiries after which the timeout is not doubled any further; long before that it is at its maximum. */
const MAX_BACKOFF = 16;

export class RetransmissionTimeout {
  readonly #options: TcpOptions;
  #smoothed = -1;
  #variation = 0;
  #timeout: number;
  #backoff = 0;
  #timing = false;
  #timedEnd = 0;
  #timedAt = 0;

  constructor(options: TcpOptions) {
    this.#options = options;
    this.#timeout = options.initialTimeout;
  }

  /** Milliseconds until the next retransmission. */
  get milliseconds(): number {
    if (this.#backoff === 0) return this.#timeout;
    return Math.min(this.#timeout * 2 ** this.#backoff, this.#options.maximumTimeout);
  }

  /** Expiries since something was acknowledged. */
  get expiries(): number {
    return this.#backoff;
  }

  /** A segment that ends before `end` was sent for the first time. */
  sent(end: number, now: number): void {
    if (this.#timing) return;
    this.#timing = true;
    this.#timedEnd = end;
    this.#timedAt = now;
  }

  /** The sandbox shows that it lives. */
  answered(): void {
    this.#backoff = 0;
  }

  /** Everything before `ack` has arrived. */
  acknowledged(ack: number, now: number): void {
    this.#backoff = 0;
    if (!this.#timing || before(ack, this.#timedEnd)) return;
    this.#timing = false;
    this.#measured(now - this.#timedAt);
  }

  /** What is in flight will be sent again: it says nothing about the round trip any more. */
  forget(): void {
    this.#timing = false;
  }

  expired(): void {
    this.#timing = false;
    if (this.#backoff < MAX_BACKOFF) this.#backoff++;
  }

  #measured(roundTrip: number): void {
    if (this.#smoothed < 0) {
      this.#smoothed = roundTrip;
      this.#variation = roundTrip / 2;
    } else {
      this.#variation += (Math.abs(this.#smoothed - roundTrip) - this.#variation) / 4;
      this.#smoothed += (roundTrip - this.#smoothed) / 8;
    }
    const timeout = this.#smoothed + Math.max(1, 4 * this.#variation);
    this.#timeout = Math.min(Math.max(timeout, this.#options.minimumTimeout), this.#options.maximumTimeout);
  }
}
