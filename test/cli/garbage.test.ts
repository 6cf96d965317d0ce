import { getHeapSpaceStatistics } from "node:v8";
import test from "ava";
import { collectGarbage } from "../../src/cli/garbage.js";

const MEBI = 1 << 20;

/** Bytes of V8's young generation, full or not. */
function young(): number {
  return getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")?.space_size ?? Number.NaN;
}

test("garbage goes, and the room that it took in the young generation with it", (t) => {
  const kept: object[] = [];
  for (let i = 0; i < 1_000_000; i++) kept[i % 20_000] = { numbers: [i] };
  t.true(young() >= 8 * MEBI, `${young()} bytes: the load was too small to show anything`);
  const before = process.memoryUsage();
  collectGarbage();
  const after = process.memoryUsage();
  t.true(young() <= 2 * MEBI, `${young()} bytes`);
  t.true(after.heapTotal < before.heapTotal - 4 * MEBI, `${before.heapTotal} to ${after.heapTotal} bytes`);
  t.true(Math.abs(after.external - before.external) < MEBI, `${before.external} to ${after.external} bytes`);
  t.is(kept.length, 20_000);
});
