/**
 * A program for commands.test.ts: some traffic of every kind through one engine, checked. Exits with 0 when all of it came
 * through. It is meant to be run with sanitizers, where what counts is what they see.
 */
import assert from "node:assert";
import dgram from "node:dgram";
import { once } from "node:events";
import net from "node:net";
import { constants } from "node:os";
import { native } from "../../src/native/binding.js";
import { COMMAND_STRIDE, Control, Op, SLOT_SIZE, VNET_HEADER } from "../../src/native/engine.js";
import { at, Mailbox, pattern, Recorder, Rig } from "./rig.js";

const rig = new Rig({ slots: 64, maxSockets: 32 });

// A stream that sends what it gets to a reader that pauses, through a backlog, and closes with one.
const server = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
await once(server, "listening");
const address = server.address();
assert(address !== null && typeof address === "object");
const stream = new Recorder(rig);
await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", address.port), null, stream)));
const [reader] = (await once(server, "connection")) as [net.Socket];
reader.pause();
await rig.until("connected", () => stream.log.includes("connected"));
let sent = 0;
const sizes = [60_000, 200, 1, 8192, 8193, 69_632];
for (let i = 0; i < 400 && rig.sockets.freeMemory > 0.3; i++) {
  const bytes = pattern(sizes[i % sizes.length], i);
  await rig.turn(() => {
    if (rig.sockets.sendCopy(stream.socket, bytes)) sent += bytes.length;
  });
}
assert(rig.sockets.backlog(stream.socket) > 0, "the reader held it back");
reader.write(pattern(300_000));
await rig.until("what the reader wrote", () => stream.received === 300_000);
await rig.turn(() => rig.sockets.close(stream.socket));
let got = 0;
reader.on("data", (data) => {
  got += data.length;
});
reader.resume();
await once(reader, "end");
assert.equal(got, sent);
reader.destroy();

// Rewinding, and a reset with a backlog.
const again = new Recorder(rig, 0);
again.consumes = false;
await rig.turn(() => again.open(rig.sockets.connect(at("127.0.0.1", address.port), null, again)));
const [writer] = (await once(server, "connection")) as [net.Socket];
writer.on("error", () => {});
writer.pause();
writer.write(pattern(60_000)); // what fits the kernel's receive buffer before any of it is consumed
await rig.until("connected again", () => again.log.includes("connected"));
await rig.turn(() => rig.sockets.credit(again.socket, 60_000, 65_483));
await rig.until("all of it", () => again.received === 60_000);
await rig.turn(() => {
  rig.sockets.consume(again.socket, 1000);
  rig.sockets.rewind(again.socket, 500);
  rig.sockets.credit(again.socket, 1 << 20, 1400);
});
await rig.until("most of it again", () => again.received === 60_000 + 58_500);
for (let i = 0; i < 200 && rig.sockets.backlog(again.socket) === 0; i++) {
  await rig.turn(() => {
    for (let k = 0; k < 8; k++) rig.sockets.sendCopy(again.socket, pattern(60_000));
  });
}
await rig.turn(() => rig.sockets.reset(again.socket));
writer.destroy();
server.close();

// Two that are connected with each other: there and back, read again, half-closed, and closed with bytes that nobody took.
const [here, there] = [new Recorder(rig), new Recorder(rig, 0)];
here.consumes = false;
const ends = rig.sockets.pair(here, there);
assert(typeof ends !== "number");
here.open(ends[0]);
there.open(ends[1]);
await rig.until("both connected", () => here.log.includes("connected") && there.log.includes("connected"));
await rig.turn(() => {
  for (let i = 0; i < 3; i++) rig.sockets.sendCopy(there.socket, pattern(60_000, i));
});
await rig.until("what the other sent", () => here.received === 180_000);
await rig.turn(() => {
  rig.sockets.consume(here.socket, 100_000);
  rig.sockets.rewind(here.socket, 20_000);
  rig.sockets.credit(here.socket, 1 << 20, 65_483);
});
await rig.until("the rest again", () => here.received === 240_000);
assert(Buffer.concat(here.chunks).subarray(180_000).equals(pattern(60_000, 2)));
await rig.turn(() => {
  rig.sockets.consume(here.socket, 80_000);
  rig.sockets.sendCopy(here.socket, pattern(1000));
  rig.sockets.shutdown(there.socket);
});
await rig.until("the end", () => here.log.includes("end"));
await rig.turn(() => rig.sockets.close(here.socket));
await rig.turn(() => rig.sockets.credit(there.socket, 4096, 4096));
await rig.until("all and the end", () => there.received === 1000 && there.log.includes("end"));
await rig.turn(() => rig.sockets.close(there.socket));

// Datagrams: alone, in runs, refused by the other side and by this host.
const inbox = new Mailbox(rig);
const outbox = new Mailbox(rig);
const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
const sender = rig.sockets.open(4, at("127.0.0.1", 0), outbox);
await rig.turn(() => {
  const to = at("127.0.0.1", rig.port(receiver));
  for (let i = 0; i < 12; i++) rig.sockets.sendCopyTo(sender, pattern(900), to, at("127.0.0.1", 0));
  rig.sockets.sendCopyTo(sender, pattern(65_507), to, null);
  rig.sockets.sendCopyTo(sender, pattern(65_508), to, null);
  rig.sockets.sendCopyTo(sender, pattern(10), at("127.0.0.1", 1), null);
});
await rig.until("13 datagrams", () => inbox.single.length === 13);
await rig.until("two failures", () => outbox.failures.length === 2);
// One by one, so that it is the engine that puts them behind each other.
const single = dgram.createSocket("udp4");
single.connect(rig.port(receiver), "127.0.0.1");
await once(single, "connect");
const lengths = [
  1400,
  1400,
  1401,
  60_000,
  30_000,
  30_000,
  30_000,
  65_507,
  1,
  0,
  1,
  ...Array<number>(80).fill(2),
  3,
  9000,
];
for (const length of lengths) single.send(pattern(length));
await rig.until("the single ones", () => inbox.single.length === 13 + lengths.length);
assert.deepEqual(
  inbox.single.slice(13).map(({ length }) => length),
  lengths,
);
single.close();

// A plain link: frames there and back, the shortest and the longest.
const [wire, device] = native().openPair();
const plain = rig.engine.addLink(device, true);
const frames = [1, 60, 1514, 65_535, 80_000].map((length) => pattern(length, length));
for (const frame of frames) assert.equal(native().sendPacket(wire, frame), 0);
await rig.until("the frames", () => rig.frames.length === frames.length);
assert.deepEqual(
  rig.frames.map(({ bytes }) => bytes.length - VNET_HEADER),
  [1, 60, 1514, 65_535, SLOT_SIZE - VNET_HEADER],
);
await rig.turn(() => {
  const { control, spares, commands } = rig.engine.memory;
  control[Control.SpareUsed] = 1;
  const slot = spares[0] * SLOT_SIZE;
  for (const [offset, length] of [
    [slot, 8000],
    [slot + SLOT_SIZE - 13, 13],
  ]) {
    commands.set([Op.Write, plain, offset, length, 0, 0], control[Control.CommandCount]++ * COMMAND_STRIDE);
  }
});
const into = new Uint8Array(SLOT_SIZE);
for (const expected of [7988, 1]) {
  let length = native().receivePacket(wire, into);
  for (; length < 0; length = native().receivePacket(wire, into)) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(length, expected);
}
native().closeFd(wire);

// A pair, half-closed by both.
const target = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
await once(target, "listening");
const targetAddress = target.address();
assert(targetAddress !== null && typeof targetAddress === "object");
const inner = new Recorder(rig, 0);
let outer = -1;
const { port } = rig.listen({
  accepted: (_listener, socket) => {
    outer = socket;
    inner.open(rig.sockets.connect(at("127.0.0.1", targetAddress.port), null, inner));
  },
});
const client = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
await rig.until("inner connected", () => inner.log.includes("connected"));
const ended = new Promise<number>((resolve) => void rig.turn(() => rig.sockets.splice(outer, inner.socket, resolve)));
const payload = pattern(3_000_000);
client.end(payload);
const echoed: Buffer[] = [];
for await (const chunk of client) echoed.push(chunk as Buffer);
assert(Buffer.concat(echoed).equals(payload));
assert.equal(await ended, 0);
target.close();

const { EAGAIN, EMSGSIZE, EPIPE } = constants.errno;
// Packets outside of the engine: what does not fit is lost, and no byte of it written beyond.
const [one, other] = native().openPair();
const room = new Uint8Array(100).fill(0xee);
assert.equal(native().receivePacket(other, room), -EAGAIN);
for (const length of [1, 50, 51, 70_000]) assert.equal(native().sendPacket(one, pattern(length)), 0);
const part = room.subarray(10, 60);
assert.equal(native().receivePacket(other, part), 1);
assert.equal(native().receivePacket(other, part), 50);
assert(Buffer.from(part).equals(pattern(50)));
assert.equal(native().receivePacket(other, part), -EMSGSIZE);
assert.equal(native().receivePacket(other, part), -EMSGSIZE);
assert.equal(native().receivePacket(other, part), -EAGAIN);
assert(room.every((byte, i) => byte === 0xee || (i >= 10 && i < 60)));
native().closeFd(other);
assert.equal(native().sendPacket(one, pattern(1)), -EPIPE);
native().closeFd(one);
assert.equal(rig.error, null);
rig.stop();
