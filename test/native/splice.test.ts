import { createHash } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import net from "node:net";
import test from "ava";
import { at, pattern, Recorder, Rig } from "./rig.js";
import "./stop-rigs.js";

/** A client and a server of Node with a spliced pair of the engine between them. */
async function between(
  rig: Rig,
  early = "",
): Promise<{ client: net.Socket; server: net.Socket; ended: Promise<number>; first: number }> {
  const listening = net.createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(listening, "listening");
  listening.unref(); // should the test fail before it is closed
  const serverPort = (listening.address() as AddressInfo).port;
  const inner = new Recorder(rig, 0);
  let accepted = -1;
  const { port } = rig.listen({
    accepted: (_listener, socket) => {
      accepted = socket;
      const outer = new Recorder(rig, 0);
      outer.consumes = false;
      rig.sockets.own(socket, outer);
      // Reported but not consumed: it must be sent by the pair all the same.
      rig.sockets.credit(socket, 1000, 1000);
      inner.open(rig.sockets.connect(at("127.0.0.1", serverPort), null, inner));
    },
  });
  const client = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  if (early) client.write(early);
  const [[server]] = await Promise.all([once(listening, "connection"), once(client, "connect")]);
  await rig.until("connected", () => inner.log.includes("connected"));
  let settle: (errno: number) => void = () => {};
  const ended = new Promise<number>((resolve) => {
    settle = resolve;
  });
  await rig.turn(() => rig.sockets.splice(accepted, inner.socket, settle));
  listening.close();
  return { client, server: server as net.Socket, ended, first: accepted };
}

async function drainTo(socket: net.Socket): Promise<string> {
  const hash = createHash("sha256");
  socket.on("data", (data) => hash.update(data));
  await once(socket, "end");
  return hash.digest("hex");
}

test("a long stream that pauses: what came before the pause is not held back, nor what comes after it", async (t) => {
  const rig = new Rig();
  const { client, server, ended } = await between(rig);
  let received = 0;
  let arrived: () => void = () => {};
  server.on("data", (data) => {
    received += data.length;
    arrived();
  });
  const block = pattern(1 << 20, 7);
  for (let i = 0; i < 100; i++) if (!client.write(block)) await once(client, "drain");
  for (let sent = 100 << 20; sent < (100 << 20) + 5; sent++) {
    while (received < sent) await new Promise<void>((resolve) => (arrived = resolve));
    client.write("x");
  }
  client.end();
  await once(server, "end");
  t.is(received, (100 << 20) + 5);
  server.end();
  client.resume();
  t.is(await ended, 0);
  rig.stop();
});

test("both directions at once, 64 MB each, every byte; then both sockets are closed", async (t) => {
  const rig = new Rig();
  const { client, server, ended } = await between(rig);
  const expected: Record<string, string> = {};
  const feed = async (name: string, socket: net.Socket, seed: number): Promise<void> => {
    const hash = createHash("sha256");
    const block = pattern(1 << 20, seed);
    for (let i = 0; i < 64; i++) {
      hash.update(block);
      if (!socket.write(block)) await once(socket, "drain");
    }
    socket.end();
    expected[name] = hash.digest("hex");
  };
  const [atServer, atClient] = await Promise.all([
    drainTo(server),
    drainTo(client),
    feed("client", client, 1),
    feed("server", server, 2),
  ]);
  t.is(atServer, expected.client);
  t.is(atClient, expected.server);
  t.is(await ended, 0);
  const counters = rig.engine.counters();
  t.is(counters["sockets.open"], 1, "the listener");
  t.is(counters["splice.bytes"], 2 * 64 * (1 << 20));
  rig.stop();
});

test("what was reported and not consumed is sent, and half-close crosses", async (t) => {
  const rig = new Rig();
  const { client, server, ended } = await between(rig, "early ");
  client.end("late");
  const chunks: Buffer[] = [];
  server.on("data", (data) => chunks.push(data));
  await once(server, "end");
  t.is(Buffer.concat(chunks).toString(), "early late");
  server.end("answer after the end");
  const answers: Buffer[] = [];
  client.on("data", (data) => answers.push(data));
  await once(client, "end");
  t.is(Buffer.concat(answers).toString(), "answer after the end");
  t.is(await ended, 0);
  rig.stop();
});

test("a reset crosses as a reset, in both directions", async (t) => {
  for (const from of ["client", "server"] as const) {
    const rig = new Rig();
    const pair = await between(rig);
    const other = from === "client" ? pair.server : pair.client;
    const error = once(other, "error");
    pair[from].resetAndDestroy();
    const [cause] = (await error) as [NodeJS.ErrnoException];
    t.is(cause.code, "ECONNRESET");
    t.is(await pair.ended, 104);
    t.is(rig.engine.counters()["sockets.open"], 1);
    rig.stop();
  }
});

test("a reader that stops holds the writer back, and loses nothing", async (t) => {
  const rig = new Rig();
  const { client, server, ended } = await between(rig);
  server.pause();
  const hash = createHash("sha256");
  const block = pattern(1 << 20, 3);
  let blocks = 0;
  while (blocks < 64 && client.write(block)) {
    hash.update(block);
    blocks++;
  }
  hash.update(block);
  blocks++;
  await new Promise((resolve) => setTimeout(resolve, 300));
  const held = rig.engine.counters();
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.true(rig.engine.counters()["engine.wakeups"] - held["engine.wakeups"] <= 2, "nothing is polled meanwhile");
  client.end();
  server.end();
  client.resume();
  const drained = drainTo(server);
  server.resume();
  const digest = await drained;
  t.is(digest, hash.digest("hex"));
  t.is(await ended, 0);
  rig.stop();
});

for (const [when, within] of [
  ["between turns", false],
  ["within a turn", true],
] as const) {
  test(`a pair that is ended ${when}: both ends see a reset, nothing is reported, nothing stays`, async (t) => {
    const rig = new Rig();
    const { client, server, ended, first } = await between(rig);
    client.write("something");
    await once(server, "data");
    t.true(rig.sockets.answers(first));
    const errors = [client, server].map((socket) => once(socket, "error") as Promise<[NodeJS.ErrnoException]>);
    if (within) await rig.turn(() => rig.sockets.unsplice(first));
    else rig.sockets.unsplice(first);
    t.is(await ended, 103);
    t.deepEqual(
      (await Promise.all(errors)).map(([{ code }]) => code),
      ["ECONNRESET", "ECONNRESET"],
    );
    t.false(rig.sockets.answers(first));
    t.is(rig.engine.counters()["sockets.open"], 1, "the listener");
    rig.sockets.unsplice(first); // again: nothing happens
    for (const wrong of [-1, first, 1 << 20]) rig.engine.unsplice(wrong);
    await rig.turn(() => {});
    t.is(rig.error, null);
    rig.stop();
  });
}

test("a pair that is ended in the turn that made it", async (t) => {
  const rig = new Rig();
  const listener = net.createServer((socket) => socket.on("error", () => {})).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  const [first, second] = [1, 2].map(() => new Recorder(rig, 0));
  for (const each of [first, second]) each.open(rig.sockets.connect(at("127.0.0.1", port), null, each));
  await rig.until("connected", () => [first, second].every(({ log }) => log.includes("connected")));
  await rig.turn(() => {
    rig.sockets.consume(first.socket, 0);
    rig.sockets.splice(first.socket, second.socket, () => {});
    rig.sockets.unsplice(first.socket);
  });
  await rig.until("closed", () => rig.engine.counters()["sockets.open"] === 0);
  t.is(rig.error, null);
  listener.close();
  rig.stop();
});

test("a pair that only waits for the first socket's end has nothing open in the second", async (t) => {
  const rig = new Rig();
  const { client, server, ended, first } = await between(rig);
  const open = () => rig.engine.counters()["splice.second_open"];
  t.is(open(), 1);
  t.true(rig.sockets.answers(first));
  server.end("last words");
  t.is((await once(client, "data")).toString(), "last words");
  await once(client, "end");
  t.is(open(), 0);
  t.false(rig.sockets.answers(first));
  client.end();
  server.resume();
  t.is(await ended, 0);
  rig.stop();
});
