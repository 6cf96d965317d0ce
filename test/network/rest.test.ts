import test from "ava";
import { Timers } from "../../src/flow/timers.js";
import { Rest } from "../../src/network/rest.js";

/** A network whose turns are told by hand: advances the clock in steps, as turns of its timers. */
function rig() {
  let now = 0;
  let rests = 0;
  let begins = 0;
  const timers = new Timers(0);
  const rest = new Rest(timers, () => now, { began: () => begins++, rested: () => rests++ });
  const pass = (milliseconds: number, eventsPerStep = 0) => {
    for (const end = now + milliseconds; now < end; ) {
      now += 10;
      timers.advance(now);
      rest.turn(eventsPerStep);
    }
  };
  return { timers, pass, begins: () => begins, rests: () => rests };
}

test("a load that has ended is followed by one rest, and then nothing wakes", (t) => {
  const { timers, pass, rests } = rig();
  pass(5000, 100);
  t.is(rests(), 0, "not while it lasts");
  pass(5000);
  t.is(rests(), 1);
  t.is(timers.size, 0);
  pass(60_000);
  t.is(rests(), 1);
  pass(1000, 100);
  pass(5000);
  t.is(rests(), 2, "after the next load again");
});

test("a few events after a load are none, and few alone lead to no rest", (t) => {
  const { timers, pass, rests } = rig();
  pass(15_000, 1);
  t.is(timers.size, 0);
  t.is(rests(), 0);
  pass(1000, 1000);
  for (let second = 0; second < 10; second++) {
    pass(990);
    pass(10, 5);
  }
  t.is(rests(), 1);
});

test("the first load is told when it begins; a start and a request are none, and later ones are not told", (t) => {
  const { pass, begins } = rig();
  pass(10, 40);
  t.is(begins(), 0);
  pass(10, 40);
  t.is(begins(), 1, "while it lasts");
  pass(5000, 100);
  pass(5000);
  pass(5000, 100);
  t.is(begins(), 1);
});
