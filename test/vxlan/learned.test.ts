import test from "ava";
import { Counters } from "../../src/flow/counters.js";
import { AGEING_MS, Learned, MOST } from "../../src/vxlan/learned.js";

function table() {
  const clock = { now: () => time };
  let time = 0;
  const counters = new Counters();
  const learned = new Learned(clock, counters);
  return { learned, counters, pass: (ms: number) => (time += ms) };
}

test("addresses differ in all of their 48 bits, the highest too", (t) => {
  const { learned } = table();
  learned.learn(-2, 7, 1);
  learned.learn(0x7ffffffe, 7, 2);
  learned.learn(-2, 8, 3);
  t.deepEqual(
    [learned.find(-2, 7), learned.find(0x7ffffffe, 7), learned.find(-2, 8), learned.find(-2, 9)],
    [1, 2, 3, -1],
  );
});

test("the table is bounded: one more is not learned, until others are old", (t) => {
  const { learned, counters, pass } = table();
  for (let i = 0; i < MOST; i++) learned.learn(i, 0, 0);
  learned.learn(-1, 0, 1);
  t.is(learned.find(-1, 0), -1);
  t.is(counters.get("vxlan.not_learned"), 1);
  pass(AGEING_MS / 2);
  for (let i = 0; i < 10; i++) learned.learn(i, 0, 0);
  pass(AGEING_MS / 2);
  learned.learn(-1, 0, 1);
  t.is(learned.find(-1, 0), 1);
  t.is(learned.size, 11, "those that went on speaking, and the new one");
  t.is(learned.find(20, 0), -1);
  t.is(learned.find(5, 0), 0);
});
