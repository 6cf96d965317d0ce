import { writeSync } from "node:fs";
import test from "ava";
import { NetnsError } from "../../src/errors.js";
import { prepareTap } from "../../src/link/tap.js";
import { native } from "../../src/native/binding.js";
import type { Channel } from "../../src/native/channel.js";
import {
  COMMAND_STRIDE,
  CONTROL_AREA,
  Control,
  MAX_LINKS,
  Op,
  SLOT_SIZE,
  VNET_HEADER,
} from "../../src/native/engine.js";
import { pattern, Rig } from "./rig.js";
import "./stop-rigs.js";

/** A link of the engine whose other end is a packet socket here: it reads and writes frame by frame, as a TAP does. */
function link(rig: Rig, plain?: boolean): { number: number; wire: Channel; written: Buffer[] } {
  const written: Buffer[] = [];
  const wire = native().openChannel(
    (bytes) => written.push(Buffer.from(bytes)),
    () => {},
  );
  return { number: rig.engine.addLink(wire.peer, plain), wire, written };
}

function write(rig: Rig, number: number, offset: number, length: number): void {
  const { control, commands } = rig.engine.memory;
  const record = control[Control.CommandCount]++;
  commands.set([Op.Write, number, offset, length, 0, 0], record * COMMAND_STRIDE);
}

test("frames come in one slot each, in order, and leave from slots and from the area for small frames", async (t) => {
  const rig = new Rig();
  const { number, wire, written } = link(rig);
  const frames = Array.from({ length: 20 }, (_, i) => pattern(60 + i * 300, i + 1));
  for (const frame of frames) t.is(wire.send(frame), 0);
  await rig.until("all frames", () => rig.frames.length === frames.length);
  t.true(rig.frames.every(({ link, bytes }, i) => link === number && bytes.equals(frames[i])));

  const small = pattern(66, 5);
  const large = pattern(5000, 6);
  const { memory } = rig.engine;
  await rig.turn(() => {
    const area = memory.slots * SLOT_SIZE;
    t.is(memory.slab.byteLength, area + CONTROL_AREA);
    rig.slab.set(small, area + 1000);
    write(rig, number, area + 1000, small.length);
    memory.control[Control.SpareUsed] = 1;
    rig.slab.set(large, memory.spares[0] * SLOT_SIZE + 7);
    write(rig, number, memory.spares[0] * SLOT_SIZE + 7, large.length);
  });
  while (written.length < 2) await new Promise((resolve) => setImmediate(resolve));
  t.true(written[0].equals(small));
  t.true(written[1].equals(large));
  wire.close();
  rig.stop();
});

test("a plain link: frames come behind twelve zeros, and leave without them", async (t) => {
  const rig = new Rig();
  rig.slab.fill(0xff); // whatever the slots held before
  const { number, wire, written } = link(rig, true);
  const frames = [pattern(60, 1), pattern(1514, 2), pattern(1, 3)];
  for (const frame of frames) t.is(wire.send(frame), 0);
  await rig.until("all frames", () => rig.frames.length === frames.length);
  const zeros = Buffer.alloc(VNET_HEADER);
  t.true(rig.frames.every(({ link, bytes }, i) => link === number && bytes.equals(Buffer.concat([zeros, frames[i]]))));

  const { memory } = rig.engine;
  await rig.turn(() => {
    memory.control[Control.SpareUsed] = 1;
    rig.slab.set(pattern(3000, 4), memory.spares[0] * SLOT_SIZE);
    write(rig, number, memory.spares[0] * SLOT_SIZE, 3000);
    write(rig, number, memory.spares[0] * SLOT_SIZE + SLOT_SIZE - 13, 13);
  });
  while (written.length < 2) await new Promise((resolve) => setImmediate(resolve));
  t.true(written[0].equals(pattern(3000, 4).subarray(VNET_HEADER)));
  t.is(written[1].length, 1);
  wire.close();
  rig.stop();
});

test("a descriptor that is no TAP is told from one", (t) => {
  const [one, other] = native().openPair();
  t.is(native().prepareTap(one), -22);
  t.is(native().prepareTap(1_000_000), -9);
  t.throws(() => native().prepareTap(-1), { instanceOf: TypeError });
  t.throws(() => native().prepareTap("1" as unknown as number), { instanceOf: TypeError });
  t.throws(() => prepareTap(one), {
    instanceOf: NetnsError,
    message: /^descriptor \d+ is not a TAP device.*IFF_TAP \| IFF_NO_PI$/,
  });
  native().closeFd(one);
  native().closeFd(other);
});

test("more frames than one turn takes arrive all", async (t) => {
  const rig = new Rig({ slots: 64 });
  const { wire } = link(rig);
  let sent = 0;
  while (rig.frames.length < 2000) {
    while (sent < 2000 && wire.send(Buffer.from([sent >> 8, sent & 255, 1, 2])) === 0) sent++;
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.true(rig.frames.every(({ bytes }, i) => bytes.readUInt16BE(0) === i));
  wire.close();
  rig.stop();
});

test("a device that goes away is reported once; frames for it are dropped and counted", async (t) => {
  const rig = new Rig();
  const { number, wire } = link(rig);
  wire.send(Buffer.from("last frame"));
  wire.close();
  await rig.until("down", () => rig.linksDown.length > 0);
  t.deepEqual(rig.linksDown, [number]);
  t.is(rig.frames.length, 1);
  await rig.turn(() => write(rig, number, rig.engine.memory.slots * SLOT_SIZE, 60));
  await rig.until("the drop", () => rig.engine.counters()["links.write_drops"] === 1);
  rig.engine.removeLink(number);
  t.throws(() => rig.engine.removeLink(255), { instanceOf: RangeError });
  t.throws(() => rig.engine.removeLink(-1), { instanceOf: RangeError });
  const again = link(rig);
  t.is(again.number, number, "the number is used again");
  again.wire.close();
  rig.stop();
});

test("a link that never ends takes no more than its share of a turn from the others", async (t) => {
  const rig = new Rig({ slots: 512 });
  const busy = link(rig);
  const calm = [link(rig), link(rig)];
  // Nothing is read before the loop of this thread goes on.
  let flood = 0;
  while (busy.wire.send(pattern(100)) === 0) flood++;
  t.true(flood > 100);
  for (const { wire } of calm) for (let i = 0; i < 10; i++) wire.send(pattern(100, i));
  await rig.until("all frames", () => rig.frames.length === flood + 20);
  const firstTurn = rig.frames.slice(0, 64);
  for (const { number } of calm) t.is(firstTurn.filter((frame) => frame.link === number).length, 10);
  t.is(firstTurn.filter((frame) => frame.link === busy.number).length, 44);
  for (const { wire } of [busy, ...calm]) wire.close();
  rig.stop();
});

test("as many links as there may be, each heard; one more is refused; numbers of those that were removed are used again", async (t) => {
  const rig = new Rig({ slots: 512 });
  const pairs = Array.from({ length: MAX_LINKS }, () => native().openPair());
  const numbers = pairs.map(([end]) => rig.engine.addLink(end));
  t.deepEqual(
    numbers,
    pairs.map((_, i) => i),
  );
  const [beyond, other] = native().openPair();
  t.throws(() => rig.engine.addLink(beyond), { message: /Too many open files/ });
  native().closeFd(other);
  pairs.forEach(([, far], i) => {
    writeSync(far, Buffer.from([i, 1, 2, 3]));
  });
  await rig.until("a frame of each", () => rig.frames.length === MAX_LINKS);
  t.true(rig.frames.every(({ link, bytes }) => bytes[0] === link));
  // Removed while they may have something: nothing of it comes, and nothing of the next one is taken for it.
  for (const number of [200, 7]) {
    writeSync(pairs[number][1], Buffer.from("late"));
    rig.engine.removeLink(number);
  }
  const [again, far] = native().openPair();
  t.is(rig.engine.addLink(again), 7);
  writeSync(far, Buffer.from("new"));
  await rig.until("its frame", () => rig.frames.length > MAX_LINKS);
  await rig.turn(() => {});
  t.deepEqual(
    rig.frames.slice(MAX_LINKS).map(({ link, bytes }) => [link, bytes.toString()]),
    [[7, "new"]],
  );
  for (const fd of [...pairs.map(([, far]) => far), far]) native().closeFd(fd);
  rig.stop();
});

test("process() runs for the deadline, on wake(), and on Again; an idle engine does not run at all", async (t) => {
  const rig = new Rig();
  const { control } = rig.engine.memory;
  await rig.turn(() => {});
  await new Promise((resolve) => setTimeout(resolve, 60));
  const idle = rig.turns;
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.is(rig.turns, idle);

  const begin = performance.now();
  await rig.turn(() => {
    control[Control.Deadline] = 50;
  });
  const before = rig.turns;
  await rig.until("the deadline", () => rig.turns > before);
  const waited = performance.now() - begin;
  t.true(waited >= 45 && waited < 1000, `${waited} ms`);

  let after = 0;
  await rig.turn(() => {
    control[Control.Deadline] = -1;
    control[Control.Again] = 1;
    after = rig.turns;
  });
  await rig.until("again", () => rig.turns > after);
  t.is(control[Control.Again], 0);
  rig.stop();
});

test("an exception out of process() stops the engine; stop() may be called in a turn and twice", async (t) => {
  const rig = new Rig();
  await rig.turn(() => rig.stop());
  rig.stop();
  t.throws(() => rig.engine.wake(), { message: /stopped/ });

  const other = new Rig();
  other.engine.wake();
  const boom = new Error("boom");
  void other.turn(() => {
    throw boom;
  });
  await other.until("stopped", () => other.error !== null);
  t.is(other.error, boom);
  t.throws(() => other.engine.addLink(0), { message: /stopped/ });
});
