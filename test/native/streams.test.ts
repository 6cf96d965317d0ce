import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import net from "node:net";
import test from "ava";
import { at, pattern, Recorder, Rig } from "./rig.js";
import "./stop-rigs.js";

const ECONNRESET = 104;
const ECONNREFUSED = 111;
const EMFILE = 24;

async function server(handler: (socket: net.Socket) => void): Promise<{ server: net.Server; port: number }> {
  const listening = net
    .createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {}); // engines that stop reset what they have
      handler(socket);
    })
    .listen(0, "127.0.0.1");
  await once(listening, "listening");
  listening.unref(); // should the test fail before it is closed
  return { server: listening, port: (listening.address() as AddressInfo).port };
}

/** Sends back what comes in, with a window of its own: what the other side does not take closes it. */
class Echo extends Recorder {
  readonly #rig: Rig;
  most = 0;

  constructor(rig: Rig) {
    super(rig);
    this.#rig = rig;
  }

  override data(socket: number, offset: number, length: number): void {
    const { sockets } = this.#rig;
    this.received += length;
    sockets.send(socket, offset, length);
    sockets.consume(socket, length);
    this.#open(socket);
  }

  override end(): void {
    this.#rig.sockets.shutdown(this.socket);
    this.log.push("end");
  }

  override drained(): void {
    this.#open(this.socket);
  }

  #open(socket: number): void {
    const backlog = this.#rig.sockets.backlog(socket);
    this.most = Math.max(this.most, backlog);
    this.#rig.sockets.credit(socket, Math.max(0, 1_048_576 - backlog), 65_483);
  }
}

for (const peekOffset of [true, false]) {
  test(`100 MB come back as they went, through a reader that pauses (peek offset ${peekOffset})`, async (t) => {
    const rig = new Rig({ peekOffset });
    const echo = new Echo(rig);
    const { port } = rig.listen({
      accepted: (_listener, socket) => {
        rig.sockets.own(socket, echo.open(socket));
        rig.sockets.credit(socket, 1 << 20, 65_483);
      },
    });
    const size = (peekOffset ? 100 : 20) * 1_000_000;
    const block = pattern(1_000_000);
    const sent = createHash("sha256");
    const received = createHash("sha256");
    const client = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    let back = 0;
    client.on("data", (data: Buffer) => {
      received.update(data);
      const before = back;
      back += data.length;
      if (Math.floor(before / 20_000_000) !== Math.floor(back / 20_000_000)) {
        client.pause();
        setTimeout(() => client.resume(), 50);
      }
    });
    for (let done = 0; done < size; done += block.length) {
      sent.update(block);
      if (!client.write(block)) await once(client, "drain");
    }
    client.end();
    await once(client, "end");
    t.is(back, size);
    t.is(received.digest("hex"), sent.digest("hex"));
    t.true(echo.most <= 1_048_576 + 65_483, `backlog of ${echo.most}`);
    t.is(rig.error, null);
    rig.stop();
  });

  test(`what is not consumed can be reported again (peek offset ${peekOffset})`, async (t) => {
    const rig = new Rig({ peekOffset });
    const peer = await server((socket) => socket.end("0123456789abcdef"));
    const stream = new Recorder(rig, 0);
    await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
    await rig.until("connected", () => stream.log.includes("connected"));
    stream.consumes = false;
    await rig.turn(() => rig.sockets.credit(stream.socket, 10, 4));
    await rig.until("ten bytes", () => stream.received === 10);
    t.deepEqual(stream.chunks.map(String), ["0123", "4567", "89"]);
    await rig.turn(() => {
      rig.sockets.consume(stream.socket, 3);
      rig.sockets.rewind(stream.socket, 2);
      rig.sockets.credit(stream.socket, 100, 100);
    });
    await rig.until("the end", () => stream.log.includes("end"));
    t.is(stream.text, "0123456789" + "56789abcdef");
    await rig.turn(() => {
      // As an ACK for what was in flight before the rewind: more than was reported since.
      rig.sockets.rewind(stream.socket, 0);
      rig.sockets.consume(stream.socket, 10);
      rig.sockets.credit(stream.socket, 100, 100);
    });
    await rig.until("the end again", () => stream.log.filter((entry) => entry === "end").length === 2);
    t.is(stream.text, "0123456789" + "56789abcdef" + "def");
    peer.server.close();
    rig.stop();
  });

  test(`small pieces that are consumed one by one are gone for the peer too (peek offset ${peekOffset})`, async (t) => {
    const rig = new Rig({ peekOffset });
    const pieces = 100;
    const peer = await server((socket) => {
      let sent = 0;
      socket.on("data", () => socket.write(String(sent++ % 10)));
      socket.on("end", () => socket.end());
    });
    const stream = new Recorder(rig, 0);
    await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
    await rig.until("connected", () => stream.log.includes("connected"));
    const ask = (): Promise<void> =>
      rig.turn(() => {
        rig.sockets.credit(stream.socket, 100, 100);
        rig.sockets.sendCopy(stream.socket, Buffer.from("?"));
      });
    for (let piece = 1; piece <= pieces; piece++) {
      await ask();
      await rig.until(`piece ${piece}`, () => stream.received === piece);
      // In the middle, again from the front: what was consumed does not come back.
      if (piece === 50) await rig.turn(() => rig.sockets.rewind(stream.socket, 0));
    }
    t.is(stream.text, "0123456789".repeat(10));
    await rig.turn(() => rig.sockets.shutdown(stream.socket));
    await rig.until("the end", () => stream.log.includes("end"));
    // With something unread, this would be a reset.
    await rig.turn(() => rig.sockets.close(stream.socket));
    t.false(stream.log.some((entry) => entry.startsWith("failed")));
    peer.server.close();
    rig.stop();
  });

  test(`all data comes before a reset (peek offset ${peekOffset})`, async (t) => {
    const rig = new Rig({ peekOffset });
    const peer = await server((socket) => socket.write("last words", () => socket.resetAndDestroy()));
    const stream = new Recorder(rig, 0);
    stream.consumes = false;
    await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
    await rig.until("connected", () => stream.log.includes("connected"));
    await rig.turn(() => rig.sockets.credit(stream.socket, 4, 4));
    await rig.until("four bytes", () => stream.received === 4);
    t.false(stream.log.some((entry) => entry.startsWith("failed")));
    await rig.turn(() => rig.sockets.credit(stream.socket, 100, 100));
    await rig.until("failure", () => stream.log.includes(`failed ${ECONNRESET}`));
    t.is(stream.text, "last words");
    peer.server.close();
    rig.stop();
  });
}

test("a refused connection fails with ECONNREFUSED, at once or as an event", async (t) => {
  const rig = new Rig();
  const peer = await server(() => {});
  const { port } = peer;
  await new Promise((resolve) => peer.server.close(resolve));
  const stream = new Recorder(rig);
  const result = await rig.turn(() => rig.sockets.connect(at("127.0.0.1", port), null, stream));
  if (result >= 0) {
    await rig.until("failure", () => stream.log.length > 0);
    t.deepEqual(stream.log, [`failed ${ECONNREFUSED}`]);
  } else {
    t.is(result, -ECONNREFUSED);
  }
  t.is(rig.engine.counters()["sockets.open"], 0);
  rig.stop();
});

test("half-close: after shutdown the peer sees the end and still can answer", async (t) => {
  const rig = new Rig();
  const peer = await server((socket) => {
    let text = "";
    socket.on("data", (data) => {
      text += data;
    });
    socket.on("end", () => socket.end(`got ${text}`));
  });
  const stream = new Recorder(rig);
  await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
  await rig.until("connected", () => stream.log.includes("connected"));
  await rig.turn(() => {
    t.true(rig.sockets.sendCopy(stream.socket, Buffer.from("question")));
    rig.sockets.shutdown(stream.socket);
  });
  await rig.until("the end", () => stream.log.includes("end"));
  t.is(stream.text, "got question");
  peer.server.close();
  rig.stop();
});

test("the end is told without credit when nothing is left to read", async (t) => {
  const rig = new Rig();
  const peer = await server((socket) => socket.end());
  const stream = new Recorder(rig, 0);
  await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
  await rig.until("the end", () => stream.log.includes("end"));
  t.deepEqual(stream.log, ["connected", "end"]);
  peer.server.close();
  rig.stop();
});

test("without credit nothing is read and nothing is polled", async (t) => {
  const rig = new Rig();
  const peer = await server((socket) => socket.write("unread"));
  const stream = new Recorder(rig, 0);
  await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
  await rig.until("connected", () => stream.log.includes("connected"));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const before = rig.engine.counters();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const after = rig.engine.counters();
  t.is(stream.received, 0);
  t.true(after["engine.wakeups"] - before["engine.wakeups"] <= 2);
  t.is(after["streams.receives"], 0);
  peer.server.close();
  rig.stop();
});

test("Reset crosses as a reset, Close as an end", async (t) => {
  const rig = new Rig();
  const ends: Promise<string>[] = [];
  const peer = await server((socket) => {
    ends.push(
      new Promise((resolve) => {
        socket.on("error", (error: NodeJS.ErrnoException) => resolve(String(error.code)));
        socket.on("end", () => resolve("end"));
        socket.resume();
      }),
    );
  });
  for (const [how, expected] of [
    ["reset", "ECONNRESET"],
    ["close", "end"],
  ] as const) {
    const stream = new Recorder(rig);
    await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
    await rig.until("connected", () => stream.log.includes("connected"));
    while (ends.length === 0) await new Promise((resolve) => setImmediate(resolve));
    await rig.turn(() => rig.sockets[how](stream.socket));
    t.is(await ends.pop(), expected);
  }
  t.is(rig.engine.counters()["sockets.open"], 0);
  peer.server.close();
  rig.stop();
});

test("small payloads of a stalled stream lie close together, and a closed stream still delivers all of them", async (t) => {
  const rig = new Rig({ slots: 128 });
  let paused: net.Socket | null = null;
  const peer = await server((socket) => {
    socket.pause();
    paused = socket;
  });
  const stream = new Recorder(rig);
  await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
  await rig.until("connected", () => stream.log.includes("connected"));
  const sent = createHash("sha256");
  let total = 0;
  const send = (bytes: Buffer): void => {
    if (!rig.sockets.sendCopy(stream.socket, bytes)) throw new Error("no spare slot");
    sent.update(bytes);
    total += bytes.length;
  };
  // Fill the kernel's buffers first.
  for (let i = 0; rig.sockets.backlog(stream.socket) === 0 && i < 1000; i++) {
    await rig.turn(() => send(pattern(60_000, i)));
  }
  const filled = rig.sockets.freeMemory;
  for (let i = 0; i < 200; i++)
    await rig.turn(() => Array.from({ length: 10 }, (_, k) => send(pattern(200, i * 10 + k))));
  const slots = Math.round((filled - rig.sockets.freeMemory) * 128);
  t.true(slots <= 8, `2,000 small payloads hold ${slots} slots`);
  await rig.turn(() => rig.sockets.close(stream.socket));
  const received = createHash("sha256");
  let back = 0;
  const socket = paused as net.Socket | null;
  if (!socket) return t.fail("not accepted");
  socket.on("data", (data) => {
    received.update(data);
    back += data.length;
  });
  socket.resume();
  await once(socket, "end");
  t.is(back, total);
  t.is(received.digest("hex"), sent.digest("hex"));
  await rig.until("the socket is free", () => rig.engine.counters()["sockets.open"] === 0);
  t.is(rig.engine.counters()["streams.flushing"], 0);
  t.is(await rig.turn(() => rig.sockets.freeMemory), 1);
  peer.server.close();
  rig.stop();
});

test("a writer hears that its backlog drained", async (t) => {
  const rig = new Rig();
  let peerSocket: net.Socket | null = null;
  const peer = await server((socket) => {
    socket.pause();
    peerSocket = socket;
  });
  const stream = new Recorder(rig);
  await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
  await rig.until("connected", () => stream.log.includes("connected"));
  for (let i = 0; i < 200 && rig.sockets.backlog(stream.socket) < 2_000_000; i++) {
    await rig.turn(() => rig.sockets.sendCopy(stream.socket, pattern(60_000)));
  }
  t.false(stream.log.includes("drained"));
  (peerSocket as net.Socket | null)?.resume();
  await rig.until("empty", () => stream.log.includes("drained") && rig.sockets.backlog(stream.socket) === 0);
  peer.server.close();
  rig.stop();
});

test("when every slot lies in a backlog, the loop sleeps until a reader comes, and then goes on", async (t) => {
  const rig = new Rig({ slots: 64 });
  const peers: net.Socket[] = [];
  const peer = await server((socket) => peers.push(socket.pause()));
  const stream = new Recorder(rig);
  await rig.turn(() => stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream)));
  await rig.until("connected", () => stream.log.includes("connected"));
  // Until there are no spares any more, and the kernel's buffers are full too.
  for (let i = 0, refused = 0; i < 1000 && refused < 10; i++) {
    const taken = await rig.turn(() => rig.sockets.sendCopy(stream.socket, pattern(60_000)));
    refused = taken ? 0 : refused + 1;
  }
  t.true(rig.sockets.backlog(stream.socket) > 1_000_000);
  const before = rig.engine.counters();
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.true(rig.engine.counters()["engine.wakeups"] - before["engine.wakeups"] <= 2, "asleep");
  peers[0].resume();
  await rig.until("empty", () => rig.sockets.backlog(stream.socket) === 0);
  peer.server.close();
  rig.stop();
});

test("a shutdown that is asked for before the connection stands comes after it", async (t) => {
  const rig = new Rig();
  let ended = false;
  const peer = await server((socket) =>
    socket.resume().once("end", () => {
      ended = true;
      socket.end("bye");
    }),
  );
  const stream = new Recorder(rig);
  await rig.turn(() => {
    stream.open(rig.sockets.connect(at("127.0.0.1", peer.port), null, stream));
    rig.sockets.shutdown(stream.socket);
  });
  await rig.until("the answer to the end", () => stream.log.includes("end"));
  t.true(ended);
  t.is(stream.text, "bye");
  peer.server.close();
  rig.stop();
});

test("a full table refuses at once who comes and who dials, and a freed socket is enough to go on", async (t) => {
  const rig = new Rig({ maxSockets: 3 });
  const accepted: number[] = [];
  const errors: string[] = [];
  const { port } = rig.listen({ accepted: (_listener, socket) => accepted.push(socket) });
  const connect = () =>
    net
      .connect({ port, host: "127.0.0.1" })
      .on("error", (error: NodeJS.ErrnoException) => {
        errors.push(`${error.code}`);
        rig.engine.wake();
      })
      .resume();
  const clients = Array.from({ length: 4 }, connect);
  await rig.until("two accepted, two reset", () => accepted.length === 2 && errors.length === 2);
  t.deepEqual(errors, ["ECONNRESET", "ECONNRESET"]);
  t.is(rig.sockets.connect(at("127.0.0.1", port), null, new Recorder(rig)), -EMFILE);
  t.like(rig.engine.counters(), { "streams.accept_refused": 2, "sockets.refused": 1 });
  await rig.turn(() => rig.sockets.close(accepted[0]));
  clients.push(connect());
  await rig.until("a third", () => accepted.length === 3);
  for (const client of clients) client.destroy();
  rig.stop();
});

test("an accepted socket comes with the client's address, and tells the one it connected to when asked", async (t) => {
  const rig = new Rig();
  const addresses: string[] = [];
  const { port } = rig.listen({
    accepted: (_listener, socket, bytes, record) => {
      const own = rig.sockets.localEndpoint(socket);
      addresses.push(Buffer.concat([bytes.subarray(record, record + 48), own]).toString("hex"));
      rig.sockets.close(socket);
    },
  });
  const client = net.connect({ port, host: "127.0.0.1" }).on("error", () => {});
  await once(client, "connect");
  const clientPort = client.localPort ?? 0;
  await rig.until("accepted", () => addresses.length === 1);
  const expected = [at("127.0.0.1", clientPort), new Uint8Array(24), at("127.0.0.1", port)];
  t.is(addresses[0], Buffer.concat(expected).toString("hex"));
  rig.stop();
});

test("IPv6 streams work alike", async (t) => {
  const rig = new Rig();
  const inbound = new Recorder(rig);
  const { port } = rig.listen(
    {
      accepted: (_listener, socket) => {
        rig.sockets.own(socket, inbound.open(socket));
        rig.sockets.credit(socket, 1000, 1000);
      },
    },
    "::1",
  );
  const outbound = new Recorder(rig);
  await rig.turn(() => outbound.open(rig.sockets.connect(at("::1", port), null, outbound)));
  await rig.until("connected", () => outbound.log.includes("connected"));
  await rig.turn(() => rig.sockets.sendCopy(outbound.socket, Buffer.from("six")));
  await rig.until("received", () => inbound.text === "six");
  t.pass();
  rig.stop();
});

test("the host's keep-alive watches an accepted stream from the start, and one that was dialled when that is asked for", async (t) => {
  const rig = new Rig();
  const accepted = new Recorder(rig);
  const { port } = rig.listen({ accepted: (_, socket) => rig.sockets.own(socket, accepted.open(socket)) });
  const dialled = new Recorder(rig);
  await rig.turn(() => dialled.open(rig.sockets.connect(at("127.0.0.1", port), null, dialled)));
  await rig.until("both", () => accepted.socket >= 0 && dialled.log.includes("connected"));
  const watched = (filter: string) =>
    /timer:\(keepalive/.test(execFileSync("ss", ["-tnoH", filter, `127.0.0.1:${port}`], { encoding: "utf8" }));
  t.deepEqual([watched("src"), watched("dst")], [true, false]);
  rig.sockets.keepAlive(dialled.socket);
  t.true(watched("dst"));
  rig.stop();
});
