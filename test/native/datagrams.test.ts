import dgram from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import test from "ava";
import { Control } from "../../src/native/engine.js";
import { ENDPOINT_LENGTH, endpointFamily, endpointPort, formatEndpoint } from "../../src/wire/address.js";
import { at, Mailbox, pattern, Rig } from "./rig.js";
import "./stop-rigs.js";

const ECONNREFUSED = 111;
const EMSGSIZE = 90;
const ICMP_UNREACHABLE = 3;
const ICMP_PORT = 3;

async function peer(): Promise<{ socket: dgram.Socket; port: number; got: Buffer[]; from: number[] }> {
  const socket = dgram.createSocket("udp4");
  const got: Buffer[] = [];
  const from: number[] = [];
  socket.on("message", (message, remote) => {
    got.push(message);
    from.push(remote.port);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  socket.unref(); // should the test fail before it is closed
  return { socket, port: socket.address().port, got, from };
}

async function wait(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; !holds(); ) {
    if (Date.now() > end) throw new Error(`not within 5 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

test("request and reply, with the addresses of both", async (t) => {
  const rig = new Rig();
  const other = await peer();
  const mailbox = new Mailbox(rig);
  const socket = rig.sockets.open(4, null, mailbox);
  const port = rig.port(socket);
  t.true(port > 0);
  await rig.turn(() =>
    t.true(rig.sockets.sendCopyTo(socket, Buffer.from("request"), at("127.0.0.1", other.port), null)),
  );
  await wait("the request", () => other.got.length === 1);
  t.is(String(other.got[0]), "request");
  t.is(other.from[0], port);
  other.socket.send("reply", port, "127.0.0.1");
  await rig.until("the reply", () => mailbox.datagrams.length === 1);
  const [reply] = mailbox.datagrams;
  t.is(String(reply.bytes), "reply");
  t.is(formatEndpoint(reply.from), `127.0.0.1:${other.port}`);
  t.is(formatEndpoint(reply.to), `127.0.0.1:${port}`);
  other.socket.close();
  rig.stop();
});

test("datagrams of 0, 60,000 and 65,507 bytes, both ways", async (t) => {
  const rig = new Rig();
  const other = await peer();
  const mailbox = new Mailbox(rig);
  const socket = rig.sockets.open(4, at("127.0.0.1", 0), mailbox);
  for (const size of [0, 60_000, 65_507]) {
    const bytes = pattern(size, size + 1);
    await rig.turn(() => rig.sockets.sendCopyTo(socket, bytes, at("127.0.0.1", other.port), null));
    await wait(`${size} bytes out`, () => other.got.length === 1);
    t.true(other.got.pop()?.equals(bytes));
    other.socket.send(bytes, rig.port(socket), "127.0.0.1");
    await rig.until(`${size} bytes in`, () => mailbox.datagrams.length === 1);
    t.true(mailbox.datagrams.pop()?.bytes.equals(bytes));
  }
  other.socket.close();
  rig.stop();
});

test("one super-frame becomes its datagrams, and equally long ones leave together and arrive apart", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const mailbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
  const sender = rig.sockets.open(4, at("127.0.0.1", 0), mailbox);
  const to = at("127.0.0.1", rig.port(receiver));
  const payload = pattern(40 * 1000 + 300);
  const { control, spares } = rig.engine.memory;
  await rig.turn(() => {
    const offset = spares[0] * 69_632;
    control[Control.SpareUsed] = 1;
    rig.slab.set(payload, offset);
    rig.sockets.sendTo(sender, offset, payload.length, 1000, to, null);
  });
  await rig.until("41 datagrams", () => inbox.single.length === 41);
  t.true(Buffer.concat(inbox.single).equals(payload));
  t.is(inbox.single[40].length, 300);
  inbox.datagrams.length = 0;

  // Different pieces of memory, same length, same place: one call, whose last may be shorter.
  const before = rig.engine.counters()["datagrams.sent"];
  const parts = [...Array.from({ length: 10 }, (_, i) => pattern(500, i + 1)), pattern(77, 99)];
  await rig.turn(() => {
    for (const part of parts) rig.sockets.sendCopyTo(sender, part, to, null);
  });
  await rig.until("11 datagrams", () => inbox.single.length === 11);
  t.true(inbox.single.every((bytes, i) => bytes.equals(parts[i])));
  t.is(rig.engine.counters()["datagrams.sent"] - before, 11);
  t.is(mailbox.failures.length, 0);
  rig.stop();
});

test("segments that do not fit the route's packets are sent one by one", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
  const sender = rig.sockets.open(4, at("127.0.0.1", 0), new Mailbox(rig));
  // Loopback's MTU is 65,536: no segment is too long for it, but 65,000 of one byte are too many for one call.
  const payload = pattern(1000);
  const { control, spares } = rig.engine.memory;
  await rig.turn(() => {
    const offset = spares[0] * 69_632;
    control[Control.SpareUsed] = 1;
    rig.slab.set(payload, offset);
    rig.sockets.sendTo(sender, offset, payload.length, 4, at("127.0.0.1", rig.port(receiver)), null);
  });
  await rig.until("250 datagrams", () => inbox.single.length === 250);
  t.true(Buffer.concat(inbox.single).equals(payload));
  rig.stop();
});

test("a closed port is reported with what was sent, by ICMP, and the next datagram still leaves", async (t) => {
  const rig = new Rig();
  const gone = await peer();
  gone.socket.close();
  const other = await peer();
  const mailbox = new Mailbox(rig);
  const socket = rig.sockets.open(4, null, mailbox);
  await rig.turn(() => {
    rig.sockets.sendCopyTo(socket, Buffer.from("anyone there?"), at("127.0.0.1", gone.port), null);
    rig.sockets.sendCopyTo(socket, Buffer.from("hello"), at("127.0.0.1", other.port), null);
  });
  await rig.until("the failure", () => mailbox.failures.length === 1);
  const [failure] = mailbox.failures;
  t.is(failure.errno, ECONNREFUSED);
  t.is(failure.type, ICMP_UNREACHABLE);
  t.is(failure.code, ICMP_PORT);
  t.is(String(failure.bytes), "anyone there?");
  t.is(formatEndpoint(failure.to), `127.0.0.1:${gone.port}`);
  t.is(formatEndpoint(failure.by), "127.0.0.1:0");
  await wait("the other datagram", () => other.got.length === 1);
  t.is(String(other.got[0]), "hello");
  other.socket.close();
  rig.stop();
});

test("what the host itself refuses is reported with type -1", async (t) => {
  const rig = new Rig();
  const mailbox = new Mailbox(rig);
  const socket = rig.sockets.open(4, null, mailbox);
  await rig.turn(() => rig.sockets.sendCopyTo(socket, pattern(65_520), at("127.0.0.1", 9), null));
  await rig.until("the failure", () => mailbox.failures.length === 1);
  const [failure] = mailbox.failures;
  t.is(failure.errno, EMSGSIZE);
  t.is(failure.type, -1);
  t.true(failure.bytes.equals(pattern(65_520).subarray(0, 512)));
  t.is(endpointFamily(failure.by), 0);
  rig.stop();
});

test("the source can be chosen for each datagram", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("0.0.0.0", 0), inbox);
  const sender = rig.sockets.open(4, null, new Mailbox(rig));
  await rig.turn(() => {
    const to = at("127.0.0.5", rig.port(receiver));
    rig.sockets.sendCopyTo(sender, Buffer.from("a"), to, at("127.0.0.7", 0));
    rig.sockets.sendCopyTo(sender, Buffer.from("b"), to, at("127.0.0.8", 0));
  });
  await rig.until("both", () => inbox.single.length === 2);
  t.deepEqual(
    inbox.datagrams.map(({ from }) => formatEndpoint(from)),
    [`127.0.0.7:${rig.port(sender)}`, `127.0.0.8:${rig.port(sender)}`],
  );
  t.is(formatEndpoint(inbox.datagrams[0].to), `127.0.0.5:${rig.port(receiver)}`);
  rig.stop();
});

test("IPv6 datagrams carry both addresses", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(6, at("::1", 0), inbox);
  const sender = rig.sockets.open(6, null, new Mailbox(rig));
  await rig.turn(() => rig.sockets.sendCopyTo(sender, Buffer.from("six"), at("::1", rig.port(receiver)), at("::1", 0)));
  await rig.until("one", () => inbox.datagrams.length === 1);
  t.is(String(inbox.datagrams[0].bytes), "six");
  t.is(formatEndpoint(inbox.datagrams[0].from), `[::1]:${rig.port(sender)}`);
  t.is(formatEndpoint(inbox.datagrams[0].to), `[::1]:${rig.port(receiver)}`);
  // The longest there is: 65,535 bytes with its header (RFC 8200 4.5), 20 more than over IPv4.
  const longest = Buffer.alloc(65_527, 6);
  await rig.turn(() => rig.sockets.sendCopyTo(sender, longest, at("::1", rig.port(receiver)), null));
  await rig.until("the longest", () => inbox.datagrams.length === 2);
  t.is(Buffer.compare(Buffer.from(inbox.datagrams[1].bytes), longest), 0);
  rig.stop();
});

test("a burst longer than one turn arrives whole", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
  const other = dgram.createSocket("udp4").unref();
  const bytes = pattern(100);
  for (let i = 0; i < 300; i++) {
    const part = Buffer.from(bytes);
    part.writeUInt16BE(i, 0);
    await new Promise((resolve) => other.send(part, rig.port(receiver), "127.0.0.1", resolve));
  }
  await rig.until("300", () => inbox.single.length === 300);
  t.deepEqual(
    inbox.single.map((part) => part.readUInt16BE(0)),
    Array.from({ length: 300 }, (_, i) => i),
  );
  other.close();
  rig.stop();
});

/** A socket that sends at once, so that what one loop sends waits together. */
async function connected(port: number): Promise<{ send: (bytes: Buffer) => void; port: number; close: () => void }> {
  const socket = dgram.createSocket("udp4");
  socket.connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.unref();
  return { send: (bytes) => socket.send(bytes), port: socket.address().port, close: () => socket.close() };
}

test("equally long datagrams of one sender that wait together are one record, in order, its last may be shorter", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
  const sender = await connected(rig.port(receiver));
  const parts = [...Array.from({ length: 20 }, (_, i) => pattern(1400, i + 1)), pattern(3, 99)];
  for (const part of parts) sender.send(part);
  await rig.until("21", () => inbox.single.length === 21);
  t.is(inbox.datagrams.length, 1);
  t.is(inbox.datagrams[0].segment, 1400);
  t.true(inbox.single.every((bytes, i) => bytes.equals(parts[i])));
  t.is(rig.engine.counters()["datagrams.received"], 21);
  sender.close();
  rig.stop();
});

test("datagrams of any length from several senders keep their boundaries, their order and their sender", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
  const senders = [await connected(rig.port(receiver)), await connected(rig.port(receiver))];
  const sizes = [100, 100, 101, 101, 1, 1, 0, 0, 1, 30_000, 30_000, 100, 40_000, 9000, 9000, 9000, 9000, 7];
  const sent: { bytes: Buffer; port: number }[] = [];
  for (const [i, size] of sizes.entries()) {
    for (const sender of i % 3 === 0 ? senders : [senders[i % 2]]) {
      sent.push({ bytes: pattern(size, sent.length + 1), port: sender.port });
      sender.send(sent[sent.length - 1].bytes);
    }
  }
  const got = () =>
    inbox.datagrams.flatMap(({ bytes, segment, from }) => {
      const step = segment > 0 ? segment : Math.max(1, bytes.length);
      return Array.from({ length: Math.max(1, Math.ceil(bytes.length / step)) }, (_, i) => ({
        bytes: bytes.subarray(i * step, (i + 1) * step),
        port: endpointPort(from),
      }));
    });
  await rig.until("all", () => got().length >= sent.length);
  t.deepEqual(
    got().map(({ bytes, port }) => [bytes.length, port]),
    sent.map(({ bytes, port }) => [bytes.length, port]),
  );
  t.true(got().every(({ bytes }, i) => bytes.equals(sent[i].bytes)));
  for (const sender of senders) sender.close();
  rig.stop();
});

test("a burst of datagrams makes the engine yield the processor, a single one does not", async (t) => {
  const rig = new Rig();
  const inbox = new Mailbox(rig);
  const receiver = rig.sockets.open(4, at("127.0.0.1", 0), inbox);
  const sender = await connected(rig.port(receiver));
  sender.send(pattern(100));
  await rig.until("one", () => inbox.single.length === 1);
  t.is(rig.engine.counters()["engine.yields"], 0);
  for (let i = 0; i < 200; i++) sender.send(pattern(100));
  await rig.until("201", () => inbox.single.length === 201);
  // It yields after the turn, and thus after this was told.
  await rig.turn(() => {});
  // Where somebody busy took the first of them for long, the others are withheld.
  const { "engine.yields": yields, "engine.yields_withheld": withheld } = rig.engine.counters();
  t.true(yields >= 1);
  t.true(yields + withheld >= 3, "no turn takes more than 64 of them");
  sender.close();
  rig.stop();
});

test("a ping socket sends an echo request and hears the reply, or says that it may not be made", async (t) => {
  const rig = new Rig();
  const mailbox = new Mailbox(rig);
  const socket = rig.sockets.openPing(4, null, mailbox);
  const [from, to] = readFileSync("/proc/sys/net/ipv4/ping_group_range", "utf8").split(/\s+/).map(Number);
  const gid = process.getgid?.() ?? -1;
  if (socket < 0) {
    t.is(socket, -13, "EACCES");
    t.false(gid >= from && gid <= to, "this group may make ping sockets");
  } else {
    const request = Buffer.from([8, 0, 0, 0, 0, 0, 0, 7, ...Buffer.from("payload")]);
    await rig.turn(() => rig.sockets.sendCopyTo(socket, request, at("127.0.0.1", 0), null));
    await rig.until("the reply", () => mailbox.datagrams.length === 1);
    const [{ bytes, from: source }] = mailbox.datagrams;
    t.is(bytes[0], 0);
    t.is(bytes.readUInt16BE(6), 7);
    t.is(String(bytes.subarray(8)), "payload");
    t.is(formatEndpoint(source).split(":")[0], "127.0.0.1");
    const own = new Uint8Array(ENDPOINT_LENGTH);
    t.is(rig.engine.localEndpoint(socket, own), 0);
    t.is(endpointPort(own), bytes.readUInt16BE(4), "its port is its echo id");
  }
  rig.stop();
});
