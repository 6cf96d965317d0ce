import test from "ava";
import { native } from "../../src/native/binding.js";
import type { Channel } from "../../src/native/channel.js";
import { COMMAND_STRIDE, CONTROL_AREA, Control, Op, SLOT_SIZE } from "../../src/native/engine.js";
import { pattern, Rig } from "./rig.js";

/** A link of the engine whose other end is a packet socket here: it reads and writes frame by frame, as a TAP does. */
function link(rig: Rig): { number: number; wire: Channel; written: Buffer[] } {
  const written: Buffer[] = [];
  const wire = native().openChannel(
    (bytes) => written.push(Buffer.from(bytes)),
    () => {},
  );
  return { number: rig.engine.addLink(wire.peer), wire, written };
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
  t.throws(() => rig.engine.removeLink(63), { instanceOf: RangeError });
  t.throws(() => rig.engine.removeLink(-1), { instanceOf: RangeError });
  const again = link(rig);
  t.is(again.number, number, "the number is used again");
  again.wire.close();
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
