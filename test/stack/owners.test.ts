import test from "ava";
import fc from "fast-check";
import { NOBODY, Owners } from "../../src/stack/owners.js";

const random = { uint32: () => 12345 };

test("the table says what a map says, whatever is put in and removed", (t) => {
  const address = fc.tuple(
    fc.integer({ min: 0, max: 2 }),
    fc.integer({ min: -2, max: 2 }),
    fc.constant(0),
    fc.integer({ min: 0, max: 40 }),
  );
  const step = fc.record({ address, owner: fc.integer({ min: 0, max: 3 }), remove: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new Owners(random);
      const map = new Map<string, number>();
      for (const { address, owner, remove } of steps) {
        const key = address.join();
        if (!remove) {
          table.put(...address, owner);
          map.set(key, owner);
        } else {
          table.remove(...address, owner);
          if (map.get(key) === owner) map.delete(key);
        }
        if (table.find(...address) !== (map.get(key) ?? NOBODY) || table.size !== map.size) return false;
      }
      return steps.every(({ address }) => table.find(...address) === (map.get(address.join()) ?? NOBODY));
    }),
  );
  t.pass();
});
