/**
 * Tells when the first load begins, and when a load has ended: then memory is given back.
 *
 * Theory of operation. A load leaves behind what it needed: slots of the slab that were filled once, and garbage. It costs a
 * load nothing to touch them again, so they are kept while there is one. `turn()` counts the events of each turn; when enough of
 * them have come, a timer is armed, and looks every QUIET_MS whether there were many since it last did. When there were few, it
 * calls `rested` once, and sleeps until enough have come again: an idle network is not woken.
 */
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";

const QUIET_MS = 1500;
/** Events that are none of a start, nor of a single request. */
const SOME = 64;
/** Events that are worth it. */
const MANY = 2000;
/** Events within QUIET_MS that are none of a load: a few a second, such as of keep-alives and names. */
const FEW = 50;

export class Rest implements TimerOwner {
  readonly #timers: Timers;
  readonly #now: () => number;
  readonly #rested: () => void;
  /** Null once it was called. */
  #began: (() => void) | null;
  readonly #timer = new Timer(this);
  /** Events since the last rest, and how many of them the timer has seen. */
  #events = 0;
  #seen = 0;

  /** Both are called within a turn. */
  constructor(timers: Timers, now: () => number, { began, rested }: { began: () => void; rested: () => void }) {
    this.#timers = timers;
    this.#now = now;
    this.#began = began;
    this.#rested = rested;
  }

  /** For every turn, with the number of its events. */
  turn(events: number): void {
    this.#events += events;
    if (this.#began !== null && this.#events >= SOME) {
      this.#began();
      this.#began = null;
    }
    if (this.#events > MANY && !this.#timer.armed) this.#look();
  }

  expired(): void {
    if (this.#events - this.#seen > FEW) {
      this.#look();
      return;
    }
    this.#events = 0;
    this.#seen = 0;
    this.#rested();
  }

  #look(): void {
    this.#seen = this.#events;
    this.#timers.arm(this.#timer, this.#now(), QUIET_MS);
  }
}
