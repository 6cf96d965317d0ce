import test from "ava";
import { FlowTable } from "../../src/flow/table.js";
import { parseAddress } from "../../src/wire/address.js";
import { Seeded } from "../tcp/rig.js";

const V4 = Array.from({ length: 40 }, (_, i) => parseAddress(`10.0.${i & 3}.${i}`));
const V6 = Array.from({ length: 40 }, (_, i) => parseAddress(`2001:db8:${i & 3}::${(i + 1).toString(16)}`));

test("100,000 random operations give what a Map gives", (t) => {
  const random = new Seeded(7);
  const table = new FlowTable({ random, limit: 3000 });
  const model = new Map<string, number>();
  const owners = new Map<number, string>();
  const pick = () => {
    const six = random.below(2) === 1;
    const addresses = six ? V6 : V4;
    return {
      protocol: random.below(2) === 0 ? 6 : 17,
      link: random.below(2),
      family: six ? (6 as const) : (4 as const),
      inside: addresses[random.below(40)],
      insidePort: random.below(4) + 65532,
      outside: addresses[random.below(40)],
      outsidePort: random.below(4),
    };
  };
  let refused = 0;
  for (let i = 0; i < 100_000; i++) {
    const k = pick();
    const name = [k.protocol, k.link, k.family, k.inside, k.insidePort, k.outside, k.outsidePort].join("|");
    const id = table.find(k.protocol, k.link, k.family, k.inside, k.insidePort, k.outside, k.outsidePort);
    if (id !== (model.get(name) ?? -1)) t.fail(`operation ${i}: ${id}`);
    // Grow for a while, shrink for a while.
    const growing = Math.floor(i / 10_000) % 2 === 0;
    if (id < 0 && (growing || random.below(3) === 0)) {
      const fresh = table.insert(k.protocol, k.link, k.family, k.inside, k.insidePort, k.outside, k.outsidePort);
      if (fresh < 0) {
        refused++;
        if (model.size !== 3000) t.fail("refused below the limit");
        continue;
      }
      if (owners.has(fresh)) t.fail(`id ${fresh} was given twice`);
      model.set(name, fresh);
      owners.set(fresh, name);
    }
    if (!growing || random.below(20) === 0) {
      const victim = owners.keys().next().value;
      if (victim === undefined) continue;
      table.remove(victim);
      model.delete(owners.get(victim) ?? "");
      owners.delete(victim);
    }
    if (table.size !== model.size) t.fail(`operation ${i}: size`);
  }
  t.true(refused > 0);
  t.is(table.count(6) + table.count(17), model.size);
  for (const id of owners.keys()) table.remove(id);
  t.is(table.size, 0);
  t.is(table.count(6), 0);
});

test("keys that differ in one part only are different flows", (t) => {
  const table = new FlowTable({ random: new Seeded(1), limit: 100 });
  const [a, b] = V4;
  const keys: Parameters<FlowTable["find"]>[] = [
    [6, 0, 4, a, 1, b, 2],
    [17, 0, 4, a, 1, b, 2],
    [6, 1, 4, a, 1, b, 2],
    [6, 0, 4, b, 1, a, 2],
    [6, 0, 4, a, 2, b, 1],
    [6, 0, 4, a, 1, a, 2],
    [6, 0, 6, V6[0], 1, V6[1], 2],
    [6, 0, 6, V6[0], 1, V6[2], 2],
  ];
  const ids = keys.map((key) => table.insert(...key));
  t.is(new Set(ids).size, keys.length);
  t.deepEqual(
    keys.map((key) => table.find(...key)),
    ids,
  );
});

test("an id that is not in use cannot be removed", (t) => {
  const table = new FlowTable({ random: new Seeded(1), limit: 2 });
  t.throws(() => table.remove(0), { instanceOf: RangeError });
  const id = table.insert(6, 0, 4, V4[0], 1, V4[1], 2);
  table.remove(id);
  t.throws(() => table.remove(id), { instanceOf: RangeError });
  t.throws(() => table.remove(-1), { instanceOf: RangeError });
});

test("ten thousand flows of one sandbox spread over the table: a lookup stays as fast as with ten", (t) => {
  const table = new FlowTable({ random: new Seeded(3), limit: 1 << 20 });
  const time = (count: number) => {
    const start = process.hrtime.bigint();
    for (let i = 0; i < 200_000; i++) table.find(6, 0, 4, V4[0], 1024 + (i % count), V4[1], 80);
    return Number(process.hrtime.bigint() - start);
  };
  for (let i = 0; i < 10; i++) table.insert(6, 0, 4, V4[0], 1024 + i, V4[1], 80);
  time(10);
  const few = Math.min(time(10), time(10), time(10));
  for (let i = 10; i < 10_000; i++) table.insert(6, 0, 4, V4[0], 1024 + i, V4[1], 80);
  const many = Math.min(time(10_000), time(10_000), time(10_000));
  t.true(many < few * 20, `${few / 200_000} ns with 10, ${many / 200_000} ns with 10,000`);
});
