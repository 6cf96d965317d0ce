/**
 * Gives memory back after a load.
 *
 * Theory of operation. A load leaves behind what it needed: slots of the slab that were filled once, and garbage. It costs a
 * load nothing to touch them again, so they are kept while there is one. `turn()` counts the events of each turn; when enough of
 * them have come, a timer is armed, and looks every QUIET_MS whether there were many since it last did. When there were few, it
 * calls `rest` once, and sleeps until enough have come again: an idle network is not woken.
 */
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";

const QUIET_MS = 1500;
/** Events that are worth it. */
const MANY = 2000;
/** Events within QUIET_MS that are none of a load: a few a second, such as of keep-alives and names. */
const FEW = 50;

export class Rest implements TimerOwner {
  readonly #timers: Timers;
  readonly #now: () => number;
  readonly #rest: () => void;
  readonly #timer = new Timer(this);
  /** Events since the last rest, and how many of them the timer has seen. */
  #events = 0;
  #seen = 0;

  /** @param rest is called within a turn */
  constructor(timers: Timers, now: () => number, rest: () => void) {
    this.#timers = timers;
    this.#now = now;
    this.#rest = rest;
  }

  /** For every turn, with the number of its events. */
  turn(events: number): void {
    this.#events += events;
    if (this.#events > MANY && !this.#timer.armed) this.#look();
  }

  expired(): void {
    if (this.#events - this.#seen > FEW) {
      this.#look();
      return;
    }
    this.#events = 0;
    this.#seen = 0;
    this.#rest();
  }

  #look(): void {
    this.#seen = this.#events;
    this.#timers.arm(this.#timer, this.#now(), QUIET_MS);
  }
}
