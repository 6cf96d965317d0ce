import { createSocket } from "node:dgram";
import test from "ava";
import dns from "dns-packet";
import fc from "fast-check";
import { Counters } from "../../../src/flow/counters.js";
import { DnsForwarder, MAX_IN_FLIGHT, TOTAL_MS, TRY_MS, type UpstreamEvents } from "../../../src/services/dns.js";
import { OwnNames } from "../../../src/services/own-names.js";
import { type Endpoint, endpoint, formatEndpoint, parseAddress } from "../../../src/wire/address.js";
import { answerTo, query, read } from "./messages.js";

/** One socket that the forwarder opened. */
interface Opened extends UpstreamEvents {
  readonly to: string;
  sent: Uint8Array[];
  closed: boolean;
}

/** A forwarder whose resolvers and time are in the test's hands. */
class Bench {
  readonly opened: Opened[] = [];
  readonly answers: Uint8Array[] = [];
  readonly counters = new Counters();
  readonly forwarder: DnsForwarder;
  resolvers: Endpoint[];
  #now = 0;
  #alarms: { at: number; action: () => void }[] = [];
  #random = 0xbeef0001;

  constructor(resolvers: string[] = ["192.0.2.1", "192.0.2.2"]) {
    this.resolvers = resolvers.map((address) => endpoint(parseAddress(address), 53));
    this.forwarder = new DnsForwarder({
      resolvers: () => this.resolvers,
      ownNames: new OwnNames([
        { name: "host.internal", address: parseAddress("10.0.2.2") },
        { name: "Box", address: parseAddress("10.0.2.100") },
      ]),
      random: { uint32: () => this.#random++ },
      counters: this.counters,
      open: (resolver, events) => {
        const socket: Opened = { ...events, to: formatEndpoint(resolver), sent: [], closed: false };
        this.opened.push(socket);
        return {
          send: (bytes) => socket.sent.push(bytes),
          close: () => {
            socket.closed = true;
          },
        };
      },
      schedule: (milliseconds, action) => {
        const alarm = { at: this.#now + milliseconds, action };
        this.#alarms.push(alarm);
        return () => {
          this.#alarms = this.#alarms.filter((each) => each !== alarm);
        };
      },
    });
  }

  ask(bytes: Uint8Array): void {
    this.forwarder.request(bytes, (answer) => this.answers.push(answer));
  }

  pass(milliseconds: number): void {
    const until = this.#now + milliseconds;
    for (;;) {
      const next = this.#alarms.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#alarms = this.#alarms.filter((each) => each !== next);
      this.#now = next.at;
      next.action();
    }
    this.#now = until;
  }

  get alarms(): number {
    return this.#alarms.length;
  }

  get open(): number {
    return this.opened.filter(({ closed }) => !closed).length;
  }
}

const A = [{ type: "A" as const, name: "www.example", ttl: 60, data: "203.0.113.7" }];

test("a query goes to the first resolver under another id, and its answer comes back under the first", (t) => {
  const bench = new Bench();
  const asked = query("www.example");
  bench.ask(asked);
  t.is(bench.opened.length, 1);
  const [socket] = bench.opened;
  t.is(socket.to, "192.0.2.1:53");
  t.not(read(socket.sent[0]).id, 0x1234);
  t.deepEqual(socket.sent[0].slice(2), Uint8Array.from(asked).slice(2));
  socket.answer(answerTo(socket.sent[0], A));
  t.deepEqual(bench.answers, [answerTo(asked, A)]);
  t.is(bench.open, 0);
  t.is(bench.alarms, 0);
  t.is(bench.forwarder.inFlight, 0);
});

test("each query has an id of its own", (t) => {
  const bench = new Bench();
  for (let i = 0; i < 50; i++) bench.ask(query("www.example"));
  t.is(new Set(bench.opened.map(({ sent }) => read(sent[0]).id)).size, 50);
});

test("the bytes asked are copied: the slot that they were in may be used again", (t) => {
  const bench = new Bench();
  const asked = query("www.example");
  bench.ask(asked);
  asked.fill(0xff);
  bench.pass(TRY_MS);
  t.is(read(bench.opened[1].sent[0]).questions?.[0]?.name, "www.example");
});

test("an answer with another id, another question, or that is no answer, is not taken", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  const [{ sent, answer }] = bench.opened;
  const good = answerTo(sent[0], A);
  const otherId = good.slice();
  otherId[1] ^= 1;
  answer(otherId);
  answer(answerTo(query("evil.example", "A", read(sent[0]).id), A));
  answer(answerTo(query("www.example", "AAAA", read(sent[0]).id), A));
  answer(sent[0].slice());
  answer(good.slice(0, 11));
  answer(new Uint8Array());
  t.is(bench.answers.length, 0);
  t.is(bench.counters.get("dns.wrong_answer"), 6);
  answer(good);
  t.is(bench.answers.length, 1);
});

test("a resolver may answer with the name in another case", (t) => {
  const bench = new Bench();
  bench.ask(query("WWW.eXample"));
  const [{ sent, answer }] = bench.opened;
  answer(answerTo(query("www.example", "A", read(sent[0]).id), A));
  t.is(bench.answers.length, 1);
});

test("after silence the next is asked, and a late answer of the first still counts", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.pass(TRY_MS - 1);
  t.is(bench.opened.length, 1);
  bench.pass(1);
  t.deepEqual(
    bench.opened.map(({ to }) => to),
    ["192.0.2.1:53", "192.0.2.2:53"],
  );
  t.not(read(bench.opened[0].sent[0]).id, read(bench.opened[1].sent[0]).id);
  bench.opened[0].answer(answerTo(bench.opened[0].sent[0], A));
  t.is(bench.answers.length, 1);
  t.is(bench.open, 0);
});

test("silence from all ends with SERVFAIL in time", (t) => {
  const bench = new Bench();
  const asked = query("www.example");
  bench.ask(asked);
  bench.pass(TOTAL_MS - 1);
  t.is(bench.answers.length, 0);
  bench.pass(1);
  const [answer] = bench.answers;
  t.is(read(answer).code, 2);
  t.is(read(answer).id, 0x1234);
  t.is(read(answer).questions?.[0]?.name, "www.example");
  t.is(bench.open, 0);
  t.is(bench.alarms, 0);
  t.is(bench.counters.get("dns.timeout"), 1);
});

test("a resolver that refuses is passed over at once, and when all did it is SERVFAIL at once", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.opened[0].failed();
  t.is(bench.opened[1].to, "192.0.2.2:53");
  t.is(bench.answers.length, 0);
  bench.opened[1].failed();
  t.is(read(bench.answers[0]).code, 2);
  t.is(bench.opened.length, 2);
  t.is(bench.alarms, 0);
});

test("SERVFAIL, NOTIMP and REFUSED lead to the next resolver; the last one's word is passed on", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.opened[0].answer(answerTo(bench.opened[0].sent[0], [], 2));
  t.is(bench.opened.length, 2);
  bench.opened[1].answer(answerTo(bench.opened[1].sent[0], [], 5));
  t.is(read(bench.answers[0]).code, 5);
  t.is(read(bench.answers[0]).id, 0x1234);
});

test("NXDOMAIN is an answer like any other", (t) => {
  const bench = new Bench();
  bench.ask(query("no.example"));
  bench.opened[0].answer(answerTo(bench.opened[0].sent[0], [], 3));
  t.is(read(bench.answers[0]).code, 3);
  t.is(bench.opened.length, 1);
});

test("resolvers that are set while it runs are asked from the next query on", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.resolvers = [endpoint(parseAddress("2001:db8::53"), 5353)];
  bench.ask(query("www.example"));
  t.is(bench.opened[1].to, "[2001:db8::53]:5353");
});

test("more queries at once than there is room for get SERVFAIL, and room comes back", (t) => {
  const bench = new Bench();
  for (let i = 0; i < MAX_IN_FLIGHT; i++) bench.ask(query("www.example"));
  t.is(bench.answers.length, 0);
  bench.ask(query("www.example"));
  t.is(read(bench.answers[0]).code, 2);
  t.is(bench.counters.get("dns.limit"), 1);
  bench.opened[0].answer(answerTo(bench.opened[0].sent[0], A));
  bench.ask(query("www.example"));
  t.is(bench.opened.length, MAX_IN_FLIGHT + 1);
});

test("close() ends everything without an answer", (t) => {
  const bench = new Bench();
  for (let i = 0; i < 10; i++) bench.ask(query("www.example"));
  bench.forwarder.close();
  t.is(bench.open, 0);
  t.is(bench.alarms, 0);
  t.is(bench.forwarder.inFlight, 0);
  t.is(bench.answers.length, 0);
});

test("what is no query is dropped, a query without a sound question gets FORMERR", (t) => {
  const bench = new Bench();
  bench.ask(new Uint8Array(11));
  bench.ask(answerTo(query("www.example"), A));
  t.is(bench.answers.length, 0);
  t.is(bench.counters.get("dns.malformed"), 2);
  const sound = Uint8Array.from(query("www.example"));
  const two = sound.slice();
  two[5] = 2;
  const pointer = sound.slice();
  pointer[12] = 0xc0;
  for (const bytes of [two, pointer, sound.slice(0, -1), sound.slice(0, 12)]) bench.ask(bytes);
  t.deepEqual(
    bench.answers.map((answer) => [answer.length, answer[0], answer[1], answer[2] & 0x80, answer[3] & 0xf]),
    Array(4).fill([12, 0x12, 0x34, 0x80, 1]),
  );
  const notify = sound.slice();
  notify[2] |= 4 << 3;
  bench.ask(notify);
  t.is(bench.answers[4][3] & 0xf, 4);
  t.is(bench.opened.length, 0);
});

test("a name as long as names may be is forwarded, a longer one is not", (t) => {
  const bench = new Bench();
  const label = "a".repeat(61);
  // Four labels of 62 bytes with their lengths, one of 6, the root: 255 bytes.
  bench.ask(query(`${label}.${label}.${label}.${label}.aaaaa`));
  t.is(bench.opened.length, 1);
  bench.ask(query(`${label}.${label}.${label}.${label}.aaaaaa`));
  t.is(bench.opened.length, 1);
  t.is(bench.answers[0][3] & 0xf, 1);
});

for (const [name, type, expected] of [
  ["host.internal", "A", ["10.0.2.2"]],
  ["HOST.Internal", "A", ["10.0.2.2"]],
  ["box", "A", ["10.0.2.100"]],
  ["host.internal", "AAAA", []],
  ["host.internal", "TXT", []],
  ["100.2.0.10.in-addr.arpa", "PTR", ["Box"]],
  ["2.2.0.10.in-addr.arpa", "PTR", ["host.internal"]],
  ["2.2.0.10.in-addr.arpa", "A", []],
] as const) {
  test(`our own name: ${name} ${type}`, async (t) => {
    const bench = new Bench();
    const answer = await new Promise<Uint8Array>((resolve) => bench.forwarder.request(query(name, type), resolve));
    const { code, id, questions, answers } = read(answer);
    t.is(code, 0);
    t.is(id, 0x1234);
    t.is(questions?.[0]?.name, name);
    t.deepEqual(
      answers?.map((each) => ("data" in each ? each.data : null)),
      [...expected],
    );
    t.is(bench.opened.length, 0, "nobody else is asked");
  });
}

test("an own name asked with more than a question and its options is refused without a look at it", (t) => {
  const bench = new Bench();
  const sound = query("host.internal");
  const long = new Uint8Array(60_000);
  long.set(sound);
  bench.ask(long);
  t.deepEqual([bench.answers.length, bench.answers[0][3] & 0xf, bench.answers[0].length], [1, 1, 12]);
});

test("more queries for own names at once than there is room for get SERVFAIL, and room comes back", async (t) => {
  const bench = new Bench();
  for (let i = 0; i < MAX_IN_FLIGHT; i++) bench.ask(query("host.internal"));
  t.is(bench.answers.length, 0);
  bench.ask(query("host.internal"));
  t.deepEqual([bench.answers.length, bench.answers[0][3] & 0xf], [1, 2]);
  while (bench.answers.length <= MAX_IN_FLIGHT) await new Promise((resolve) => setImmediate(resolve));
  const answer = await new Promise<Uint8Array>((resolve) => bench.forwarder.request(query("host.internal"), resolve));
  t.is(read(answer).code, 0);
});

test("an own name asked with EDNS is answered with EDNS", async (t) => {
  const bench = new Bench();
  const asked = dns.encode({
    type: "query",
    id: 7,
    questions: [{ name: "host.internal", type: "A" }],
    additionals: [
      {
        type: "OPT",
        name: ".",
        udpPayloadSize: 4096,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  });
  const answer = await new Promise<Uint8Array>((resolve) => bench.forwarder.request(asked, resolve));
  t.is(read(answer).additionals?.[0]?.type, "OPT");
});

test("any bytes: no throw, and never more than one answer", (t) => {
  const bench = new Bench([]);
  bench.resolvers = [endpoint(parseAddress("192.0.2.1"), 53)];
  const mutated = fc
    .tuple(fc.constantFrom(query("www.example"), query("a.b.c.example", "TXT")), fc.nat(40), fc.nat(255))
    .map(([bytes, at, value]) => {
      const copy = Uint8Array.from(bytes);
      copy[at % copy.length] = value;
      return copy;
    });
  fc.assert(
    fc.property(
      fc.oneof(fc.uint8Array({ maxLength: 600 }), mutated),
      fc.uint8Array({ maxLength: 600 }),
      (asked, answered) => {
        let answers = 0;
        const before = bench.opened.length;
        bench.forwarder.request(asked, () => answers++);
        for (const { answer, failed } of bench.opened.slice(before)) {
          answer(answered.slice());
          failed();
        }
        t.true(answers <= 1);
        t.is(bench.forwarder.inFlight, 0);
      },
    ),
    { numRuns: 2000 },
  );
});

test("over real sockets: a large answer, a resolver that is not there, and a stranger who answers", async (t) => {
  const counters = new Counters();
  const server = createSocket("udp4");
  const large = { type: "TXT" as const, name: "big.example", ttl: 60, data: Array<string>(200).fill("x".repeat(200)) };
  const ports = new Set<number>();
  server.on("message", (message, from) => {
    ports.add(from.port);
    const stranger = createSocket("udp4");
    stranger.send(answerTo(message, A), from.port, from.address, () => {
      stranger.close();
      server.send(answerTo(message, [large]), from.port, from.address);
    });
  });
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const loopback = parseAddress("127.0.0.1");
  const nobody = createSocket("udp4");
  await new Promise<void>((resolve) => nobody.bind(0, "127.0.0.1", resolve));
  const deadPort = nobody.address().port;
  await new Promise<void>((resolve) => nobody.close(resolve));

  const forwarder = new DnsForwarder({
    resolvers: () => [endpoint(loopback, deadPort), endpoint(loopback, server.address().port)],
    ownNames: new OwnNames([]),
    random: { uint32: () => 4711 },
    counters,
  });
  const asked = query("big.example", "TXT");
  const began = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => new Promise<Uint8Array>((resolve) => forwarder.request(asked, resolve))),
  );
  t.true(performance.now() - began < TRY_MS, "a refusal is not waited for");
  for (const answer of answers) t.deepEqual(Uint8Array.from(answer), Uint8Array.from(answerTo(asked, [large])));
  t.true(ports.size >= 20, "each query has a port of its own");
  t.is(counters.get("dns.upstream_failed"), 20);
  t.is(forwarder.inFlight, 0);
  server.close();
});
