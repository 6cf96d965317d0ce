/** What lets several engines work side by side: listeners of one place, and pairs that frames cross from one to another. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import test from "ava";
import { native } from "../../src/native/binding.js";
import { COMMAND_STRIDE, Control, Op } from "../../src/native/engine.js";
import { endpointPort } from "../../src/wire/address.js";
import { at, Rig } from "./rig.js";
import "./stop-rigs.js";

const EADDRINUSE = 98;
const { openListeners, openPair, closeFd } = native();

function listeners(port: number, count: number): number[] {
  const fds = openListeners(at("127.0.0.1", port), 128, count);
  if (typeof fds === "number") throw new Error(`errno ${-fds}`);
  return fds;
}

/** Serves one of the listeners, and counts what it accepts. */
function served(fd: number) {
  const rig = new Rig();
  const accepted: number[] = [];
  const socket = rig.sockets.listenWith(fd, {
    accepted: (_listener, accepted_) => {
      accepted.push(accepted_);
    },
  });
  return { rig, socket, accepted };
}

test("connections to a shared place are dealt out to all of its listeners, and none is lost", async (t) => {
  const shares = listeners(0, 3).map(served);
  const ports = shares.map(({ rig, socket }) => endpointPort(rig.sockets.localEndpoint(socket)));
  t.is(new Set(ports).size, 1);
  const clients = Array.from({ length: 60 }, () => connect(ports[0], "127.0.0.1"));
  await Promise.all(clients.map((client: Socket) => once(client, "connect")));
  const count = () => shares.reduce((sum, { accepted }) => sum + accepted.length, 0);
  await shares[0].rig.until("all accepted", () => {
    shares[1].rig.engine.wake();
    return count() === 60;
  });
  for (const { accepted } of shares) t.true(accepted.length > 5, String(accepted.length));
  for (const client of clients) client.destroy();
  for (const { rig } of shares) rig.stop();
});

test("a port that somebody listens on is refused, whoever shares it already", async (t) => {
  const taken = listeners(0, 2);
  const owner = new Rig();
  const port = endpointPort(owner.sockets.localEndpoint(owner.sockets.listenWith(taken[0], { accepted: () => {} })));
  t.is(openListeners(at("127.0.0.1", port), 128, 2), -EADDRINUSE);
  t.is(openListeners(at("127.0.0.1", port), 128, 1), -EADDRINUSE);
  t.is(owner.engine.listen(at("127.0.0.1", port), 1), -EADDRINUSE);
  owner.stop();
  closeFd(taken[1]);
  // It is free again when all have gone, and not for others while one is alone on it.
  const alone = createServer().listen(port, "127.0.0.1");
  await once(alone, "listening");
  t.is(openListeners(at("127.0.0.1", port), 128, 2), -EADDRINUSE);
  alone.close();
  await once(alone, "close");
  for (const fd of listeners(port, 2)) closeFd(fd);
});

test("what is no listener is refused, and closed", (t) => {
  const rig = new Rig();
  const [first, second] = openPair();
  t.true(rig.engine.listenWith(first) < 0);
  t.true(rig.engine.listenWith(-1) < 0);
  t.throws(() => rig.engine.listenWith("1" as unknown as number));
  closeFd(second);
  t.throws(() => openListeners(at("127.0.0.1", 0), 1, 0), { instanceOf: RangeError });
  t.throws(() => openListeners(new Uint8Array(3), 1, 1), { instanceOf: TypeError });
  rig.stop();
});

/** Writes frames of these lengths to a link, each filled with its number. */
function write(rig: Rig, link: number, lengths: readonly number[]): Promise<void> {
  return rig.turn(() => {
    const { control, commands, spares } = rig.engine.memory;
    lengths.forEach((length, i) => {
      const offset = spares[i] * 69632;
      rig.slab.fill(i + 1, offset, offset + length);
      commands.set([Op.Write, link, offset, length, 0, 0], control[Control.CommandCount]++ * COMMAND_STRIDE);
    });
    control[Control.SpareUsed] = lengths.length;
  });
}

test("frames cross a pair whole and in order, and its end is told", async (t) => {
  const [first, second] = openPair();
  const [a, b] = [new Rig(), new Rig()];
  const from = a.engine.addLink(first);
  const to = b.engine.addLink(second);
  const lengths = [60, 65562, 1, 1514];
  await write(a, from, lengths);
  await b.until("all frames", () => b.frames.length === lengths.length);
  t.deepEqual(
    b.frames.map(({ bytes }) => bytes),
    lengths.map((length, i) => Buffer.alloc(length, i + 1)),
  );
  a.stop();
  await b.until("the end", () => b.linksDown.includes(to));
  b.stop();
});

test("what a pair has no room for is dropped and counted", async (t) => {
  const [first, second] = openPair();
  const rig = new Rig();
  const link = rig.engine.addLink(first);
  for (let i = 0; i < 200; i++) await write(rig, link, [65000, 65000]);
  const counters = rig.engine.counters();
  t.true(counters["links.write_drops"] > 0);
  t.is(counters["links.write_drops"] + counters["links.frames_written"], 400);
  rig.stop();
  closeFd(second);
});
