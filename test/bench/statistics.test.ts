import test from "ava";
import fc from "fast-check";
import { advantage, median, summarize } from "../../bench/statistics.js";

test("the median is the middle value, and the mean of the two middle ones of an even number", (t) => {
  t.is(median([3, 1, 2]), 2);
  t.is(median([10, 9, 1, 2]), 5.5);
  t.is(median([7]), 7);
  t.is(median([]), null);
});

test("the median does not sort as text and does not change its argument", (t) => {
  const values = [100, 20, 3];
  t.is(median(values), 20);
  t.deepEqual(values, [100, 20, 3]);
});

test("a summary holds its median between its extremes", (t) => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 9 }), (values) => {
      const summary = summarize(values);
      return summary !== null && summary.min <= summary.median && summary.median <= summary.max;
    }),
  );
  t.is(summarize([]), null);
});

test("an advantage above 1 is better, whichever way the unit runs", (t) => {
  t.is(advantage(30, 10, "higher"), 3);
  t.is(advantage(30, 60, "lower"), 2);
  t.is(advantage(null, 10, "higher"), null);
  t.is(advantage(10, 0, "higher"), null);
});
