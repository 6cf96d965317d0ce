import test from "ava";
import fc from "fast-check";
import { Counters } from "../../src/flow/counters.js";
import { Timers } from "../../src/flow/timers.js";
import { HostSockets } from "../../src/host/host-sockets.js";
import { MAX_TALKS, type ProxyMember, SocksProxy, TALK_MS } from "../../src/proxy/socks-proxy.js";
import { DirectPath } from "../../src/publish/direct.js";
import { endpoint, formatAddress, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { SimulatedEngine } from "../simulation/engine.js";

const CLIENT = endpoint(parseAddress("127.0.0.1"), 50000);
const ECONNREFUSED = 111;
const ETIMEDOUT = 110;

/** A network of two members, red (10.0.2.100) and blue (10.0.2.101), behind a proxy. `lacks`: no socket can be made inside. */
function proxied({ spares = 16, lacks = false } = {}) {
  const engine = new SimulatedEngine({ spares, maxSockets: 1024 });
  const counters = new Counters();
  const timers = new Timers(0);
  const clock = { now: () => engine.now };
  const streams = new HostSockets(engine, { frame: () => {}, linkDown: () => {} });
  const entering: (() => void)[] = [];
  const turns = {
    enter: (action: () => void) => {
      entering.push(action);
      engine.wake();
    },
  };
  engine.start(
    () => {
      streams.dispatch();
      for (const action of entering.splice(0)) action();
      timers.advance(engine.now);
      streams.endOfTurn();
    },
    () => {},
  );
  const inside = {
    socket: () => (lacks ? Promise.reject(new Error("none")) : Promise.resolve(3)),
    discard: () => {},
  };
  const member = (address: string): ProxyMember => {
    const direct = new DirectPath({ streams, counters, turns, inside });
    const targets = ["127.0.0.1", address].map(parseAddress);
    return { connect: (client, _family, port, caller) => direct.connect(client, targets, port, caller) };
  };
  const red = member("10.0.2.100");
  const blue = member("10.0.2.101");
  const names: Record<string, ProxyMember> = { red, blue, "red.tables.internal": red };
  const proxy = new SocksProxy({
    streams,
    bytes: new Uint8Array(engine.memory.slab),
    clock,
    timers,
    turns,
    counters,
    members: {
      named: (name) => (Object.hasOwn(names, name) ? names[name] : null),
      at: (address) => ({ "10.0.2.100": red, "10.0.2.101": blue })[formatAddress(address)] ?? null,
    },
  });
  proxy.open(endpoint(parseAddress("127.0.0.1"), 1080));
  const [listener] = engine.opened;
  if (listener.kind !== "listener") throw new Error("no listener");
  const settle = async () => {
    for (let i = 0; i < 4; i++) {
      engine.settle();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  /** A client that has come to the proxy. `say` tells it something, `heard` is what it was answered since the last time. */
  const client = async () => {
    listener.connect(CLIENT);
    await settle();
    const stream = engine.streams[engine.streams.length - 1];
    return {
      stream,
      say: async (...bytes: number[]) => {
        stream.write(Uint8Array.from(bytes));
        await settle();
      },
      heard: () => stream.received.splice(0),
    };
  };
  /** Sockets made inside that connect, and where to. */
  const dialling = () => engine.streams.filter((stream) => stream.connecting === "pending" && !stream.closed);
  const pass = async (milliseconds: number) => {
    engine.advance(milliseconds);
    await settle();
  };
  return { engine, proxy, counters, settle, client, dialling, pass, clock };
}

const text = (value: string) => [...Buffer.from(value, "latin1")];
const GREETING = [5, 1, 0];
const connectTo = (name: string, port = 80) => [5, 1, 0, 3, name.length, ...text(name), port >> 8, port & 0xff];
const refusal = (code: number) => [5, code, 0, 1, 0, 0, 0, 0, 0, 0];

test("a client that asks for a member is connected inside, told so, and spliced", async (t) => {
  const { engine, counters, settle, client, dialling } = proxied();
  const { say, heard, stream } = await client();
  await say(...GREETING);
  t.deepEqual(heard(), [5, 0]);
  await say(...connectTo("red", 8080));
  t.deepEqual(heard(), []);
  const [inside] = dialling();
  t.is(formatEndpoint(inside.remote), "127.0.0.1:8080");
  inside.establish();
  await settle();
  const port = [inside.local[2], inside.local[3]];
  t.deepEqual(heard(), [5, 0, 0, 1, ...inside.local.subarray(20, 24), ...port]);
  t.deepEqual(engine.spliced, [[engine.sockets.indexOf(stream), engine.sockets.indexOf(inside)]]);
  t.is(counters.get("proxy.connected"), 1);
});

test("what follows the request is left for the destination, to the byte", async (t) => {
  const { engine, settle, client, dialling } = proxied();
  const { say, heard, stream } = await client();
  await say(...GREETING, ...connectTo("red"), ...text("GET / HTTP/1.1\r\n"));
  t.deepEqual(heard(), [5, 0]);
  dialling()[0].establish();
  await settle();
  t.is(heard().length, 10);
  t.is(engine.spliced.length, 1);
  t.is(Buffer.from(stream.stream).toString(), "GET / HTTP/1.1\r\n");
});

test("what is said a byte at a time is understood the same", async (t) => {
  const { client, dialling, counters } = proxied();
  const { say, heard } = await client();
  for (const byte of [...GREETING, ...connectTo("red.tables.internal")]) await say(byte);
  t.deepEqual(heard(), [5, 0]);
  t.is(dialling().length, 1);
  t.deepEqual(counters.snapshot(), {});
});

test("members are reached by name and by address, and at the next of their addresses where one refuses", async (t) => {
  for (const request of [connectTo("blue"), connectTo("10.0.2.101"), [5, 1, 0, 1, 10, 0, 2, 101, 0, 80]]) {
    const { client, dialling, settle, engine } = proxied();
    const { say } = await client();
    await say(...GREETING, ...request);
    t.is(formatEndpoint(dialling()[0].remote), "127.0.0.1:80");
    dialling()[0].fail(ECONNREFUSED);
    await settle();
    t.is(formatEndpoint(dialling()[0].remote), "10.0.2.101:80");
    dialling()[0].establish();
    await settle();
    t.is(engine.spliced.length, 1);
  }
});

test("who is no member is not allowed, whoever it is", async (t) => {
  const others = ["green", "host.internal", "localhost", "www.bed.test", "127.0.0.1", "10.0.2.2", "0.0.0.0", "::1", ""];
  const addresses = [
    [5, 1, 0, 1, 127, 0, 0, 1, 0, 80],
    [5, 1, 0, 4, ...new Array<number>(15).fill(0), 1, 0, 80],
  ];
  for (const request of [...others.map((name) => connectTo(name)), ...addresses]) {
    const { client, dialling, counters, settle } = proxied();
    const { say, heard, stream } = await client();
    await say(...GREETING, ...request);
    t.deepEqual(heard(), [5, 0, ...refusal(2)]);
    t.is(dialling().length, 0);
    t.true(stream.shutdown);
    t.is(counters.get("proxy.not_allowed"), 1);
    stream.finish();
    await settle();
    t.true(stream.closed);
    t.false(stream.wasReset);
  }
});

test("other commands, address types and methods have their replies", async (t) => {
  const asked: [number[], number[], string][] = [
    [[...GREETING, 5, 2, 0, 1, 10, 0, 2, 100, 0, 80], [5, 0, ...refusal(7)], "proxy.not_connect"],
    [[...GREETING, 5, 3, 0, 3, 3, ...text("red"), 0, 80], [5, 0, ...refusal(7)], "proxy.not_connect"],
    [[...GREETING, 5, 1, 0, 9, 3, 1, 2, 3], [5, 0, ...refusal(8)], "proxy.unknown_address"],
    [[5, 1, 2, 1, 2, 3], [5, 255], "proxy.wants_authentication"],
    [[5, 0], [5, 255], "proxy.wants_authentication"],
  ];
  for (const [said, answer, counter] of asked) {
    const { client, counters, dialling } = proxied();
    const { say, heard, stream } = await client();
    await say(...said);
    t.deepEqual(heard(), answer);
    t.true(stream.shutdown);
    t.is(dialling().length, 0);
    t.is(counters.get(counter), 1);
  }
});

test("what speaks another protocol is closed without a word", async (t) => {
  for (const said of [text("GET / HTTP/1.1\r\n\r\n"), [4, 1, 0, 80, 10, 0, 2, 100, 0]]) {
    const { client, counters } = proxied();
    const { say, heard, stream } = await client();
    await say(...said);
    t.deepEqual(heard(), []);
    t.true(stream.closed);
    t.is(counters.get("proxy.not_socks5"), 1);
  }
});

test("a member that refuses, does not answer, or can make no socket, is told as such", async (t) => {
  for (const [errno, code] of [
    [ECONNREFUSED, 5],
    [ETIMEDOUT, 4],
    [101, 3],
    [5, 1],
  ]) {
    const { client, dialling, settle, counters } = proxied();
    const { say, heard, stream } = await client();
    await say(...GREETING, ...connectTo("red"), ...text("too early"));
    for (let i = 0; i < 2; i++) {
      dialling()[0].fail(errno);
      await settle();
    }
    t.deepEqual(heard(), [5, 0, ...refusal(code)]);
    t.is(counters.get("proxy.refused"), 1);
    t.true(stream.shutdown);
    t.is(stream.stream.length, 0, "what came too early was read");
    stream.finish();
    await settle();
    t.true(stream.closed);
    t.false(stream.wasReset);
  }
  const { client } = proxied({ lacks: true });
  const { say, heard } = await client();
  await say(...GREETING, ...connectTo("red"));
  t.deepEqual(heard(), [5, 0, ...refusal(1)]);
});

test("a client that goes away is forgotten, in every state", async (t) => {
  for (const said of [[], GREETING, [...GREETING, ...connectTo("red")], [...GREETING, ...connectTo("green")]]) {
    const { client, dialling, settle, proxy, engine } = proxied();
    const { say, stream } = await client();
    if (said.length > 0) await say(...said);
    stream.fail(104);
    await settle();
    t.is(proxy.talks.size, 0);
    t.is(dialling().length, 0);
    t.is(engine.streams.length, 0);
  }
});

test("who ends its side before it has asked is closed", async (t) => {
  const { client, counters, settle } = proxied();
  const { say, stream } = await client();
  await say(...GREETING);
  stream.finish();
  await settle();
  t.true(stream.closed);
  t.is(counters.get("proxy.cut"), 1);
});

test("who does not say in time what it wants, or does not go, is closed", async (t) => {
  const { client, counters, pass, proxy } = proxied();
  const silent = await client();
  const slow = await client();
  await pass(TALK_MS - 1000);
  await slow.say(5);
  const refused = await client();
  await refused.say(...GREETING, ...connectTo("green"));
  t.is(proxy.talks.size, 3);
  await pass(1001);
  t.true(silent.stream.closed);
  t.true(slow.stream.closed);
  t.is(counters.get("proxy.late"), 2);
  t.false(refused.stream.closed);
  await pass(1000);
  t.true(refused.stream.closed);
  t.is(proxy.talks.size, 0);
});

test("a connection on its way inside is not hurried by the proxy", async (t) => {
  const { client, dialling, pass, settle, engine } = proxied();
  const { say } = await client();
  await say(...GREETING, ...connectTo("red"));
  await pass(TALK_MS * 2);
  dialling()[0].establish();
  await settle();
  t.is(engine.spliced.length, 1);
});

test("more than so many that have not said what they want are reset", async (t) => {
  const { client, counters, proxy, engine } = proxied();
  for (let i = 0; i < MAX_TALKS; i++) await client();
  t.is(proxy.talks.size, MAX_TALKS);
  await client();
  t.is(proxy.talks.size, MAX_TALKS);
  t.is(engine.streams.length, MAX_TALKS);
  t.is(counters.get("proxy.talks_limit"), 1);
});

test("with no memory to spare in a turn the answers come in the next ones, in their order", async (t) => {
  const { engine, client, dialling, settle } = proxied({ spares: 1 });
  const both = [await client(), await client()];
  for (const { stream } of both) stream.write(Uint8Array.from([...GREETING, ...connectTo("red")]));
  await settle();
  for (const { heard } of both) t.deepEqual(heard(), [5, 0]);
  for (const inside of dialling()) inside.establish();
  await settle();
  for (const { heard } of both) t.is(heard().length, 10);
  t.is(engine.spliced.length, 2);
});

test("at its end it listens no more, ends who has not said where to, and leaves the others", async (t) => {
  const { proxy, client, dialling, settle, engine } = proxied();
  const early = await client();
  const late = await client();
  await late.say(...GREETING, ...connectTo("red"));
  proxy.close();
  await settle();
  t.true(early.stream.wasReset);
  t.is(engine.opened[0].closed, true);
  dialling()[0].establish();
  await settle();
  t.is(engine.spliced.length, 1);
});

test("whatever is said, in whatever pieces, ends in an answer or in silence, and nothing is left of it", async (t) => {
  const piece = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 300 }),
    fc
      .constantFrom([...GREETING], connectTo("red"), connectTo("green"), [5, 255], [5, 1, 0, 3, 255])
      .map((bytes) => Uint8Array.from(bytes)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 6 }), fc.boolean(), async (pieces, finishes) => {
      const { client, dialling, proxy, pass, settle, engine } = proxied();
      const { stream, say } = await client();
      for (const bytes of pieces) await say(...bytes);
      if (finishes) stream.finish();
      await settle();
      t.true(dialling().length <= 1);
      for (let i = 0; i < 2; i++) {
        for (const inside of dialling()) inside.fail(ECONNREFUSED);
        await settle();
      }
      await pass(TALK_MS + 1);
      await pass(TALK_MS + 1);
      t.is(proxy.talks.size, 0);
      t.is(engine.streams.length, 0);
    }),
    { numRuns: 60 },
  );
});
