/**
 * Timers in a hierarchical wheel (Varghese and Lauck, 1987): arming, re-arming and cancelling cost O(1) for any number.
 *
 * Theory of operation. Time is counted in ticks of one millisecond since construction. Five wheels of 64 slots each hold
 * timers that end within 64 ticks, 64², … 64⁵ (12 days; a longer delay is cut to that). A timer is filed in the lowest
 * wheel whose 64 slots reach it, as a link of its slot's list. advance() walks to the next slot that holds something, found by
 * one bit per slot: there timers of the lowest wheel end, and those of a higher one are filed again further down.
 *
 * A timer is an object that its owner makes once and arms many times. Arming it for later than it is filed only notes the
 * new time: it is filed again when its slot comes up. So re-arming at every acknowledgement is one store.
 *
 * A timer never ends early, and at most one tick after advance() was called with its time. What ends while advance() runs may
 * arm and cancel any timer, itself too.
 */
export interface TimerOwner {
  expired(timer: Timer): void;
}

const WHEELS = 5;
const SLOT_BITS = 6;
const SLOTS = 1 << SLOT_BITS;
/** Ticks per slot of each wheel. */
const UNIT = Array.from({ length: WHEELS }, (_, wheel) => SLOTS ** wheel);
const LONGEST = SLOTS ** WHEELS - SLOTS ** (WHEELS - 1);

export class Timer {
  readonly owner: TimerOwner;
  /** The tick at which it ends, and the one for which it is filed (not later); -1 when it is not armed. */
  deadline = -1;
  filed = -1;
  /** Index of the slot that it is filed in, and its neighbours there. */
  slot = -1;
  previous: Timer | null = null;
  next: Timer | null = null;

  constructor(owner: TimerOwner) {
    this.owner = owner;
  }

  get armed(): boolean {
    return this.deadline >= 0;
  }
}

export class Timers {
  /** The time of tick 0, in milliseconds of the clock. */
  readonly #origin: number;
  /** The tick up to which everything has been done. */
  #tick = 0;
  readonly #slots: (Timer | null)[] = new Array(WHEELS * SLOTS).fill(null);
  /** Per wheel two words, one bit per slot that is not empty. */
  readonly #occupied = new Int32Array(WHEELS * 2);
  #count = 0;

  /** @param now the clock's present time in milliseconds */
  constructor(now: number) {
    this.#origin = now;
  }

  /** Armed timers. */
  get size(): number {
    return this.#count;
  }

  /**
   * Arms a timer, or arms it anew.
   * @param now the clock's time, milliseconds
   * @param delay milliseconds, 0 or more; it ends in the first advance() at least so long after `now`
   */
  arm(timer: Timer, now: number, delay: number): void {
    const wished = Math.ceil(now - this.#origin + delay);
    const deadline = Math.min(Math.max(wished, this.#tick + 1), this.#tick + LONGEST);
    if (timer.deadline >= 0) {
      timer.deadline = deadline;
      if (deadline >= timer.filed) return;
      this.#unfile(timer);
    } else {
      timer.deadline = deadline;
      this.#count++;
    }
    this.#file(timer, deadline);
  }

  /** Disarms a timer; one that is not armed stays so. */
  cancel(timer: Timer): void {
    if (timer.deadline < 0) return;
    this.#unfile(timer);
    timer.deadline = -1;
    this.#count--;
  }

  /** Lets every timer end whose time has come. Call it once per turn, before anything that reads what timers change. */
  advance(now: number): void {
    const target = Math.floor(now - this.#origin);
    while (this.#tick < target) {
      const next = this.#nextTick();
      if (next < 0 || next > target) {
        this.#tick = target;
        return;
      }
      this.#tick = next;
      for (let wheel = WHEELS - 1; wheel >= 0; wheel--) {
        if (next % UNIT[wheel] === 0) this.#empty(wheel * SLOTS + ((next / UNIT[wheel]) % SLOTS));
      }
    }
  }

  /** Milliseconds from `now` until advance() has something to do, rounded up; 0: at once; -1: never. */
  nextDeadline(now: number): number {
    const next = this.#nextTick();
    if (next < 0) return -1;
    return Math.max(0, Math.ceil(next - (now - this.#origin)));
  }

  /** The next tick at which a timer ends or is to be filed again, -1 for none. */
  #nextTick(): number {
    let nearest = -1;
    for (let wheel = 0; wheel < WHEELS; wheel++) {
      const low = this.#occupied[wheel * 2];
      const high = this.#occupied[wheel * 2 + 1];
      if ((low | high) === 0) continue;
      const current = Math.floor(this.#tick / UNIT[wheel]);
      const tick = (current + distance(low, high, current % SLOTS)) * UNIT[wheel];
      if (nearest < 0 || tick < nearest) nearest = tick;
    }
    return nearest;
  }

  /** Takes everything out of a slot whose time has come: what is due ends, the rest is filed again. */
  #empty(slot: number): void {
    // One at a time from the front: an owner may cancel any other timer of the same slot meanwhile.
    for (let timer = this.#slots[slot]; timer !== null; timer = this.#slots[slot]) {
      this.#unfile(timer);
      if (timer.deadline > this.#tick) {
        this.#file(timer, timer.deadline);
      } else {
        timer.deadline = -1;
        this.#count--;
        timer.owner.expired(timer);
      }
    }
  }

  /** Files a timer for a later tick. */
  #file(timer: Timer, tick: number): void {
    let wheel = 0;
    while (Math.floor(tick / UNIT[wheel]) - Math.floor(this.#tick / UNIT[wheel]) >= SLOTS) wheel++;
    const place = Math.floor(tick / UNIT[wheel]) % SLOTS;
    const slot = wheel * SLOTS + place;
    const first = this.#slots[slot];
    timer.filed = tick;
    timer.slot = slot;
    timer.previous = null;
    timer.next = first;
    if (first !== null) first.previous = timer;
    this.#slots[slot] = timer;
    this.#occupied[wheel * 2 + (place >>> 5)] |= 1 << (place & 31);
  }

  #unfile(timer: Timer): void {
    const { slot, previous, next } = timer;
    if (next !== null) next.previous = previous;
    if (previous !== null) previous.next = next;
    else this.#slots[slot] = next;
    if (this.#slots[slot] === null) {
      const place = slot % SLOTS;
      this.#occupied[Math.floor(slot / SLOTS) * 2 + (place >>> 5)] &= ~(1 << (place & 31));
    }
    timer.previous = null;
    timer.next = null;
    timer.slot = -1;
    timer.filed = -1;
  }
}

/** How many slots after `from`, 1 to 63, the first bit is set (64: only the one at `from` is). At least one bit is set. */
function distance(low: number, high: number, from: number): number {
  for (let step = 1; step <= SLOTS; ) {
    const place = (from + step) % SLOTS;
    const bits = (place < 32 ? low : high) >>> (place & 31);
    if (bits !== 0) return step + (31 - Math.clz32(bits & -bits));
    step += 32 - (place & 31);
  }
  return SLOTS;
}
