/** The DNS service on its sockets: a simulated engine below, questions handed to it, answers taken from it. */
import test from "ava";
import { Timer } from "../../../src/flow/timers.js";
import type { StreamHandler } from "../../../src/host/sockets.js";
import { DnsService } from "../../../src/services/dns-service.js";
import { CONVERSATIONS, IDLE_MS } from "../../../src/services/dns-streams.js";
import { SOCKETS } from "../../../src/services/dns-udp.js";
import { OwnNames } from "../../../src/services/own-names.js";
import { endpoint, formatEndpoint, parseAddress } from "../../../src/wire/address.js";
import { SimulatedNetwork } from "../../simulation/network.js";
import type { SimulatedStream } from "../../simulation/sockets.js";
import { answerTo, query, read } from "./messages.js";

const FIRST = endpoint(parseAddress("192.0.2.1"), 53);
const SECOND = endpoint(parseAddress("2001:db8::2"), 53);
const SANDBOX = parseAddress("10.0.2.100");
const DNS = parseAddress("10.0.2.3");
const A = [{ type: "A" as const, name: "www.example", ttl: 60, data: "203.0.113.7" }];
const ECONNREFUSED = 111;

class Bench {
  readonly network = new SimulatedNetwork();
  readonly service: DnsService;
  readonly answers: { port: number; bytes: Uint8Array }[] = [];

  constructor() {
    const { egress: output, sockets, timers, clock, random, counters } = this.network;
    this.service = new DnsService({
      output,
      streams: sockets,
      datagrams: sockets,
      timers,
      clock,
      random,
      counters,
      upstreams: [FIRST, SECOND],
      names: new OwnNames([{ name: "host.internal", address: parseAddress("10.0.2.2") }]),
      respond: (_link, source, sourcePort, destination, port, bytes) => {
        if (source !== DNS || sourcePort !== 53 || destination !== SANDBOX) throw new Error("not the way back");
        this.answers.push({ port, bytes: bytes.slice() });
      },
    });
  }

  /** Does something within a turn, and what follows from it. */
  turn(action: () => void): void {
    const timer = new Timer({ expired: action });
    this.network.timers.arm(timer, this.network.clock.now(), 0);
    this.network.pass(1);
  }

  ask(bytes: Uint8Array, port = 5000): void {
    this.turn(() => this.service.request(0, SANDBOX, port, DNS, 53, bytes));
  }

  /** A connection of the sandbox, with what it is sent. */
  connect(): Connection {
    const connection = new Connection(this.network);
    this.turn(() => {
      connection.socket = this.service.connect(connection);
    });
    return connection;
  }

  /** Connections to resolvers. */
  get dialled(): SimulatedStream[] {
    return this.network.engine.streams.filter(({ other }) => other === null);
  }
}

class Connection implements StreamHandler {
  socket = -1;
  readonly received: number[] = [];
  ended = false;
  readonly #network: SimulatedNetwork;

  constructor(network: SimulatedNetwork) {
    this.#network = network;
  }

  get answers(): ReturnType<typeof read>[] {
    const messages = [];
    for (let at = 0; at < this.received.length; ) {
      const length = this.received[at] * 256 + this.received[at + 1];
      messages.push(read(Uint8Array.from(this.received.slice(at + 2, at + 2 + length))));
      at += 2 + length;
    }
    return messages;
  }

  connected(socket: number): void {
    this.#network.sockets.credit(socket, 1 << 20, 65_483);
  }

  data(socket: number, offset: number, length: number): void {
    this.received.push(...this.#network.egress.bytes.subarray(offset, offset + length));
    this.#network.sockets.consume(socket, length);
  }

  end(): void {
    this.ended = true;
  }

  failed(): void {
    this.ended = true;
  }

  drained(): void {}
}

const framed = (bytes: Uint8Array) => Uint8Array.from([bytes.length >> 8, bytes.length & 255, ...bytes]);

test("an answer for a link that is gone goes to nobody, also where another has its number by then", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"), 5001);
  bench.service.removeLink(0);
  bench.ask(query("www.example"), 5002);
  for (const socket of bench.network.engine.datagrams) {
    const [{ bytes, remote }] = socket.take();
    socket.deliver(answerTo(bytes, A), remote);
  }
  bench.network.pass(1);
  t.deepEqual(
    bench.answers.map(({ port }) => port),
    [5002],
  );
});

test("each question has a socket and an id of its own, and the socket goes with the answer", (t) => {
  const bench = new Bench();
  const { engine } = bench.network;
  for (let port = 1; port <= 10; port++) bench.ask(query("www.example"), port);
  t.is(engine.datagrams.length, 10);
  for (const socket of [...engine.datagrams].reverse()) {
    const [{ bytes, remote }] = socket.take();
    t.is(formatEndpoint(remote), "192.0.2.1:53");
    socket.deliver(answerTo(bytes, A), FIRST);
    engine.settle();
  }
  t.deepEqual(
    bench.answers.map(({ port }) => port),
    [10, 9, 8, 7, 6, 5, 4, 3, 2, 1],
  );
  t.deepEqual(bench.answers[0].bytes, answerTo(query("www.example"), A));
  t.is(engine.datagrams.length, 0);
});

test("beyond a number of sockets questions share them, each under an id that no other there has", (t) => {
  const bench = new Bench();
  const { engine } = bench.network;
  bench.turn(() => {
    for (let i = 0; i < 10 * SOCKETS; i++) bench.service.request(0, SANDBOX, i, DNS, 53, query("www.example"));
  });
  t.is(engine.datagrams.length, SOCKETS);
  let questions = 0;
  for (const socket of engine.datagrams) {
    const sent = socket.take();
    questions += sent.length;
    t.is(new Set(sent.map(({ bytes }) => read(bytes).id)).size, sent.length);
    for (const { bytes } of sent) socket.deliver(answerTo(bytes, A), FIRST);
  }
  t.is(questions, 10 * SOCKETS);
  engine.settle();
  t.is(new Set(bench.answers.map(({ port }) => port)).size, 10 * SOCKETS);
  t.is(engine.datagrams.length, 0);
});

test("only the resolver that was asked can answer, from its own port; several answers in one run are all taken", (t) => {
  const bench = new Bench();
  const { engine, counters } = bench.network;
  bench.ask(query("www.example"));
  const [socket] = engine.datagrams;
  const good = answerTo(socket.take()[0].bytes, A);
  socket.deliver(good, endpoint(parseAddress("192.0.2.9"), 53));
  socket.deliver(good, endpoint(parseAddress("192.0.2.1"), 5353));
  socket.deliver(good.slice(0, 1), FIRST);
  socket.deliver(new Uint8Array(0), FIRST);
  engine.settle();
  t.is(counters.get("dns.wrong_answer"), 4);
  t.is(bench.answers.length, 0);
  const wrong = good.slice();
  wrong[0] ^= 1;
  socket.deliver(Uint8Array.from([...wrong, ...good]), FIRST, socket.local, good.length);
  engine.settle();
  t.is(bench.answers.length, 1);
});

test("a resolver that refuses is left for the next at once, of the other family too", (t) => {
  const bench = new Bench();
  const { engine } = bench.network;
  bench.ask(query("www.example"));
  const [socket] = engine.datagrams;
  const [{ bytes }] = socket.take();
  socket.fail(bytes, endpoint(parseAddress("192.0.2.7"), 53), null, { errno: ECONNREFUSED, type: 3, code: 3, info: 0 });
  engine.settle();
  t.false(socket.closed, "an error for somebody else");
  socket.fail(bytes, FIRST, null, { errno: ECONNREFUSED, type: 3, code: 3, info: 0 });
  engine.settle();
  t.true(socket.closed);
  const [{ remote }] = engine.datagrams[0].take();
  t.is(formatEndpoint(remote), "[2001:db8::2]:53");
});

test("over TCP: names of ours and others, in pieces and several at once; each is asked over TCP", (t) => {
  const bench = new Bench();
  const { engine, sockets } = bench.network;
  const connection = bench.connect();
  const bytes = [...framed(query("host.internal")), ...framed(query("www.example", "A", 7))];
  for (const part of [bytes.slice(0, 1), bytes.slice(1, 20), bytes.slice(20)]) {
    bench.turn(() => void sockets.sendCopy(connection.socket, Uint8Array.from(part)));
  }
  t.deepEqual(
    connection.answers.map(({ id }) => id),
    [0x1234],
  );
  bench.turn(() => sockets.shutdown(connection.socket));
  t.false(connection.ended, "one is still to be answered");
  const [upstream] = bench.dialled;
  t.is(formatEndpoint(upstream.remote), "192.0.2.1:53");
  upstream.establish();
  engine.settle();
  const asked = Uint8Array.from(upstream.received);
  const answer = framed(answerTo(asked.slice(2), A));
  upstream.write(answer.slice(0, 5));
  engine.settle();
  upstream.write(answer.slice(5));
  engine.settle();
  t.deepEqual(
    connection.answers.map(({ id, code }) => [id, code]),
    [
      [0x1234, 0],
      [7, 0],
    ],
  );
  t.true(connection.ended);
  t.is(bench.dialled.length, 0);
});

test("over TCP: a resolver that refuses, or ends without a word, is left for the next", (t) => {
  const bench = new Bench();
  const { engine, sockets } = bench.network;
  const connection = bench.connect();
  bench.turn(() => void sockets.sendCopy(connection.socket, framed(query("www.example"))));
  bench.dialled[0].fail(ECONNREFUSED);
  engine.settle();
  const [second] = bench.dialled;
  t.is(formatEndpoint(second.remote), "[2001:db8::2]:53");
  second.establish();
  engine.settle();
  second.finish();
  engine.settle();
  t.deepEqual(
    connection.answers.map(({ code }) => code),
    [2],
  );
  t.is(bench.dialled.length, 0);
});

test("a connection that says nothing, or no query, is ended; there are not more of them than there may be", (t) => {
  const bench = new Bench();
  const { network } = bench;
  const silent = bench.connect();
  network.pass(IDLE_MS - 10);
  t.false(silent.ended);
  network.pass(20);
  t.true(silent.ended);
  for (const bytes of [framed(new Uint8Array(5)), framed(answerTo(query("www.example"), A)), Uint8Array.of(255, 255)]) {
    const connection = bench.connect();
    bench.turn(() => void network.sockets.sendCopy(connection.socket, bytes));
    t.true(connection.ended);
  }
  const all = Array.from({ length: CONVERSATIONS }, () => bench.connect());
  t.true(all.every(({ socket }) => socket >= 0));
  const say = (connection: { socket: number }, bytes: Uint8Array) =>
    bench.turn(() => void network.sockets.sendCopy(connection.socket, bytes));
  say(all[0], framed(query("www.example")));
  all.push(bench.connect());
  t.deepEqual([all[0].ended, all[1].ended], [false, true], "the one that has waited longest makes room");
  for (const each of all) if (!each.ended && each !== all[0]) say(each, framed(query("www.example")));
  t.is(bench.connect().socket, -ECONNREFUSED, "all of them wait for answers");
  network.pass(5000);
  t.true(bench.connect().socket >= 0, "and have them");
});

test("bytes that make no question do not keep a connection open", (t) => {
  const bench = new Bench();
  const { network } = bench;
  const dribbling = bench.connect();
  network.pass(IDLE_MS - 10);
  bench.turn(() => void network.sockets.sendCopy(dribbling.socket, Uint8Array.of(0)));
  network.pass(20);
  t.true(dribbling.ended);
});
