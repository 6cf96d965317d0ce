import test from "ava";
import { Timer, Timers } from "../../src/flow/timers.js";
import { Seeded } from "../tcp/rig.js";

test("random arming, re-arming and cancelling: every timer ends in its own millisecond", (t) => {
  const random = new Seeded(11);
  let now = 12345.25;
  const timers = new Timers(now);
  const due = new Map<Timer, number>();
  let ended = 0;
  const owner = {
    expired(timer: Timer) {
      const deadline = due.get(timer) ?? Number.NaN;
      // Never early; late by less than one tick after the advance that reached it.
      if (!(now >= deadline)) t.fail(`ended at ${now}, due at ${deadline}`);
      due.delete(timer);
      ended++;
      if (random.below(4) === 0) arm(timer);
    },
  };
  const arm = (timer: Timer) => {
    const delay = random.below(10) === 0 ? random.below(20_000_000) : random.below(3000) / 4;
    timers.arm(timer, now, delay);
    due.set(timer, now + delay);
  };
  const all = Array.from({ length: 300 }, () => new Timer(owner));
  for (let i = 0; i < 30_000; i++) {
    const timer = all[random.below(all.length)];
    if (random.below(5) === 0) {
      timers.cancel(timer);
      due.delete(timer);
    } else {
      arm(timer);
    }
    if (random.below(3) === 0) {
      now += random.below(random.below(50) === 0 ? 500_000 : 200) / 4;
      timers.advance(now);
      for (const deadline of due.values()) {
        if (deadline + 1 < now) t.fail(`${deadline} is still armed at ${now}`);
      }
    }
    if (timers.size !== due.size) t.fail(`${timers.size} armed, ${due.size} expected`);
  }
  t.true(ended > 1000);
  // Following nextDeadline() alone misses nothing, and takes few steps.
  let steps = 0;
  for (let wait = timers.nextDeadline(now); wait >= 0 && due.size > 0; wait = timers.nextDeadline(now)) {
    const nearest = Math.min(...due.values());
    if (now + wait > nearest + 2) t.fail("nextDeadline() sleeps past a timer");
    now += wait;
    timers.advance(now);
    steps++;
  }
  t.is(due.size, 0);
  t.true(steps < 5000, `${steps} steps`);
  t.is(timers.nextDeadline(now), -1);
});

test("re-arming for later moves nothing and still ends at the later time only", (t) => {
  const timers = new Timers(0);
  const ends: number[] = [];
  let now = 0;
  const timer = new Timer({ expired: () => ends.push(now) });
  for (; now < 1000; now += 10) {
    timers.advance(now);
    timers.arm(timer, now, 200);
  }
  for (; now < 2000; now += 1) timers.advance(now);
  t.deepEqual(ends, [1190]);
});

test("a timer may arm itself, cancel another of the same moment, and be armed for at once", (t) => {
  const timers = new Timers(0);
  const ends: string[] = [];
  const victim = new Timer({ expired: () => ends.push("victim") });
  const killer = new Timer({
    expired: () => {
      ends.push("killer");
      timers.cancel(victim);
      if (ends.length < 3) timers.arm(killer, 5, 0);
    },
  });
  timers.arm(victim, 0, 5);
  timers.arm(killer, 0, 5);
  timers.advance(5);
  t.deepEqual(ends, ["killer"]);
  t.false(victim.armed);
  t.is(timers.nextDeadline(5), 1);
  timers.advance(6);
  timers.advance(7);
  t.deepEqual(ends, ["killer", "killer", "killer"]);
});

test("delays of weeks are cut, and time may jump over all of them at once", (t) => {
  const timers = new Timers(0);
  let ended = 0;
  const timer = new Timer({ expired: () => ended++ });
  timers.arm(timer, 0, 1e12);
  timers.advance(2 ** 31);
  t.is(ended, 1);
  timers.arm(timer, 2 ** 31, 100);
  timers.advance(2 ** 31 + 99);
  t.is(ended, 1);
  timers.advance(2 ** 31 + 100);
  t.is(ended, 2);
});
