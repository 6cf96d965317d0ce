import test from "ava";
import dns from "dns-packet";
import fc from "fast-check";
import { Counters } from "../../../src/flow/counters.js";
import { Timers } from "../../../src/flow/timers.js";
import { DnsForwarder, LONGEST_QUERY, MAX_IN_FLIGHT, MAX_OVER_TCP } from "../../../src/services/dns.js";
import { type Asked, type Asker, TOTAL_MS, TRY_MS, type Transport } from "../../../src/services/dns-exchange.js";
import { setMessageId } from "../../../src/services/dns-message.js";
import { OwnNames } from "../../../src/services/own-names.js";
import { PROBE_MS, Upstreams } from "../../../src/services/upstreams.js";
import { type Endpoint, endpoint, formatEndpoint, parseAddress } from "../../../src/wire/address.js";
import { answerTo, query, read } from "./messages.js";

/** One question that the forwarder put to a resolver. */
interface Question {
  readonly to: string;
  readonly sent: Uint8Array;
  open: boolean;
  answer(bytes: Uint8Array): boolean;
  failed(): void;
}

/** A forwarder whose resolvers and time are in the test's hands. */
class Bench {
  readonly asked: Question[] = [];
  readonly answers: Uint8Array[] = [];
  readonly counters = new Counters();
  readonly timers = new Timers(0);
  readonly forwarder: DnsForwarder;
  resolvers: Endpoint[];
  /** Resolvers that cannot even be sent to. */
  readonly unreachable = new Set<string>();
  readonly protocol: "udp" | "tcp";
  #now = 0;
  #id = 0xbeef;

  constructor(resolvers: string[] = ["192.0.2.1", "192.0.2.2"], protocol: "udp" | "tcp" = "udp") {
    this.protocol = protocol;
    this.resolvers = resolvers.map((address) => endpoint(parseAddress(address), 53));
    const clock = { now: () => this.#now };
    this.forwarder = new DnsForwarder({
      upstreams: new Upstreams(() => this.resolvers, clock),
      ownNames: new OwnNames(
        [
          { name: "host.internal", address: parseAddress("10.0.2.2") },
          { name: "host.internal", address: parseAddress("fd00::2") },
          { name: "Box", address: parseAddress("10.0.2.100") },
        ],
        [
          { network: parseAddress("10.0.2.0"), prefix: 24 },
          { network: parseAddress("fd00::"), prefix: 64 },
        ],
      ),
      timers: this.timers,
      clock,
      random: { uint32: () => 0 },
      counters: this.counters,
      udp: this.#transport(true),
      tcp: this.#transport(false),
    });
  }

  ask(bytes: Uint8Array): boolean {
    return this.forwarder.request(this.protocol, bytes, (answer) => this.answers.push(answer.slice()));
  }

  /** The answer to what is answered at once. */
  askOwn(bytes: Uint8Array): Uint8Array {
    this.ask(bytes);
    return this.answers[this.answers.length - 1];
  }

  pass(milliseconds: number): void {
    const until = this.#now + milliseconds;
    for (;;) {
      const next = this.timers.nextDeadline(this.#now);
      if (next < 0 || this.#now + next > until) break;
      this.#now += next;
      this.timers.advance(this.#now);
    }
    this.#now = until;
  }

  get open(): number {
    return this.asked.filter(({ open }) => open).length;
  }

  /** Who was asked, from the `from`-th question on. */
  to(from = 0): string[] {
    return this.asked.slice(from).map(({ to }) => to);
  }

  #transport(lossy: boolean): Transport {
    return {
      lossy,
      ask: (upstream, bytes, asker: Asker) => {
        const to = formatEndpoint(upstream.endpoint).replace(/:53$/, "");
        if (this.unreachable.has(to)) return null;
        const id = this.#id++ & 0xffff;
        const sent = bytes.slice();
        setMessageId(sent, id);
        const handle: Asked = {
          upstream,
          id,
          forget: () => {
            question.open = false;
          },
        };
        const question: Question = {
          to,
          sent,
          open: true,
          answer: (message) => question.open && asker.answered(handle, message.slice()),
          failed: () => {
            if (question.open) asker.failed(handle);
          },
        };
        this.asked.push(question);
        return handle;
      },
    };
  }
}

const A = [{ type: "A" as const, name: "www.example", ttl: 60, data: "203.0.113.7" }];

test("a query goes to the first resolver under another id, and its answer comes back under the first", (t) => {
  const bench = new Bench();
  const asked = query("www.example");
  bench.ask(asked);
  t.is(bench.asked.length, 1);
  const [socket] = bench.asked;
  t.is(socket.to, "192.0.2.1");
  t.not(read(socket.sent).id, 0x1234);
  t.deepEqual(socket.sent.slice(2), Uint8Array.from(asked).slice(2));
  socket.answer(answerTo(socket.sent, A));
  t.deepEqual(bench.answers, [answerTo(asked, A)]);
  t.is(bench.open, 0);
  t.is(bench.timers.size, 0);
  t.is(bench.forwarder.inFlight, 0);
});

test("an answer with another id, another question, or that is no answer, is not taken", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  const [{ sent, answer }] = bench.asked;
  const good = answerTo(sent, A);
  const otherId = good.slice();
  otherId[1] ^= 1;
  t.false(answer(otherId));
  t.false(answer(answerTo(query("evil.example", "A", read(sent).id), A)));
  t.false(answer(answerTo(query("www.example", "AAAA", read(sent).id), A)));
  t.false(answer(sent.slice()));
  t.false(answer(good.slice(0, 11)));
  t.false(answer(new Uint8Array()));
  t.is(bench.answers.length, 0);
  t.true(answer(good));
  t.is(bench.answers.length, 1);
});

test("a resolver may answer with the name in another case", (t) => {
  const bench = new Bench();
  bench.ask(query("WWW.eXample"));
  const [{ sent, answer }] = bench.asked;
  answer(answerTo(query("www.example", "A", read(sent).id), A));
  t.is(bench.answers.length, 1);
});

test("after silence the next is asked, and a late answer of the first still counts", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.pass(TRY_MS - 1);
  t.is(bench.asked.length, 1);
  bench.pass(1);
  t.deepEqual(bench.to(), ["192.0.2.1", "192.0.2.2"]);
  t.not(read(bench.asked[0].sent).id, read(bench.asked[1].sent).id);
  bench.asked[0].answer(answerTo(bench.asked[0].sent, A));
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
  t.is(bench.timers.size, 0);
  t.is(bench.counters.get("dns.timeout"), 1);
});

test("an error of ours has an OPT record where the query has one, and only there (RFC 6891, 6.1.1)", (t) => {
  const bench = new Bench();
  for (const edns of [false, true]) {
    bench.ask(query("www.example", "A", 0x1234, edns));
    bench.pass(TOTAL_MS);
    const { code, questions, additionals } = read(bench.answers[edns ? 1 : 0]);
    t.is(code, 2);
    t.is(questions?.[0]?.name, "www.example");
    t.is(additionals?.length, edns ? 1 : 0);
    if (edns) t.like(additionals?.[0], { type: "OPT", name: ".", udpPayloadSize: 1232, ednsVersion: 0 });
  }
  const trailing = query("www.example", "A", 0x1234, true);
  trailing[11] = 0; // bytes that no count speaks of
  bench.ask(trailing);
  bench.pass(TOTAL_MS);
  t.is(read(bench.answers[2]).additionals?.length, 0);
});

test("a resolver that refuses is passed over at once, and when all did it is SERVFAIL at once", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.asked[0].failed();
  t.is(bench.asked[1].to, "192.0.2.2");
  t.is(bench.answers.length, 0);
  bench.asked[1].failed();
  t.is(read(bench.answers[0]).code, 2);
  t.is(bench.asked.length, 2);
  t.is(bench.timers.size, 0);
});

test("SERVFAIL, NOTIMP and REFUSED lead to the next resolver; the last one's word is passed on", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.asked[0].answer(answerTo(bench.asked[0].sent, [], 2));
  t.is(bench.asked.length, 2);
  bench.asked[1].answer(answerTo(bench.asked[1].sent, [], 5));
  t.is(read(bench.answers[0]).code, 5);
  t.is(read(bench.answers[0]).id, 0x1234);
});

test("NXDOMAIN is an answer like any other", (t) => {
  const bench = new Bench();
  bench.ask(query("no.example"));
  bench.asked[0].answer(answerTo(bench.asked[0].sent, [], 3));
  t.is(read(bench.answers[0]).code, 3);
  t.is(bench.asked.length, 1);
});

test("resolvers that are set while it runs are asked from the next query on", (t) => {
  const bench = new Bench();
  bench.ask(query("www.example"));
  bench.resolvers = [endpoint(parseAddress("2001:db8::53"), 5353)];
  bench.ask(query("www.example"));
  t.is(bench.asked[1].to, "[2001:db8::53]:5353");
});

test("more queries at once than there is room for get SERVFAIL, and room comes back", (t) => {
  const bench = new Bench();
  for (let i = 0; i < MAX_IN_FLIGHT; i++) bench.ask(query("www.example"));
  t.is(bench.answers.length, 0);
  bench.ask(query("www.example"));
  t.is(read(bench.answers[0]).code, 2);
  t.is(bench.counters.get("dns.limit"), 1);
  bench.asked[0].answer(answerTo(bench.asked[0].sent, A));
  bench.ask(query("www.example"));
  t.is(bench.asked.length, MAX_IN_FLIGHT + 1);
});

test("one member's queries leave room for another's", (t) => {
  const bench = new Bench();
  const ask = (link: number) => bench.forwarder.request("udp", query("www.example"), () => {}, link);
  for (let i = 0; i < 2 * MAX_IN_FLIGHT; i++) ask(1);
  const first = bench.asked.length;
  t.true(first >= 5000 && first < MAX_IN_FLIGHT * 0.7, `${first}`);
  for (let i = 0; i < 1000; i++) ask(2);
  t.is(bench.asked.length, first + 1000);
  for (const { answer, sent } of bench.asked.slice(0, first)) answer(answerTo(sent, A));
  for (let i = 0; i < 1000; i++) ask(1);
  t.is(bench.asked.length, first + 2000);
});

test("what is no query is dropped, a query without a sound question gets FORMERR", (t) => {
  const bench = new Bench();
  t.false(bench.ask(new Uint8Array(11)));
  t.false(bench.ask(answerTo(query("www.example"), A)));
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
  t.is(bench.asked.length, 0);
});

test("a name as long as names may be is forwarded, a longer one is not", (t) => {
  const bench = new Bench();
  const label = "a".repeat(61);
  // Four labels of 62 bytes with their lengths, one of 6, the root: 255 bytes.
  bench.ask(query(`${label}.${label}.${label}.${label}.aaaaa`));
  t.is(bench.asked.length, 1);
  bench.ask(query(`${label}.${label}.${label}.${label}.aaaaaa`));
  t.is(bench.asked.length, 1);
  t.is(bench.answers[0][3] & 0xf, 1);
});

for (const [name, type, expected] of [
  ["host.internal", "A", ["10.0.2.2"]],
  ["HOST.Internal", "A", ["10.0.2.2"]],
  ["box", "A", ["10.0.2.100"]],
  ["host.internal", "AAAA", ["fd00::2"]],
  ["box", "AAAA", []],
  ["host.internal", "TXT", []],
  ["100.2.0.10.in-addr.arpa", "PTR", ["Box"]],
  ["2.2.0.10.in-addr.arpa", "PTR", ["host.internal"]],
  ["2.2.0.10.in-addr.arpa", "A", []],
  [`2.${"0.".repeat(27)}0.0.d.f.ip6.arpa`, "PTR", ["host.internal"]],
] as const) {
  test(`our own name: ${name} ${type}`, (t) => {
    const bench = new Bench();
    const { code, id, questions, answers } = read(bench.askOwn(query(name, type)));
    t.is(code, 0);
    t.is(id, 0x1234);
    t.is(questions?.[0]?.name, name);
    t.deepEqual(
      answers?.map((each) => ("data" in each ? each.data : null)),
      [...expected],
    );
    t.is(bench.asked.length, 0, "nobody else is asked");
  });
}

test("the reverse of an address in our subnets that nobody has does not exist; others are asked for", (t) => {
  const bench = new Bench();
  for (const name of ["7.2.0.10.in-addr.arpa", `7.${"0.".repeat(27)}0.0.d.f.ip6.arpa`]) {
    t.is(read(bench.askOwn(query(name, "PTR"))).code, 3, name);
  }
  t.is(bench.asked.length, 0);
  for (const name of ["7.3.0.10.in-addr.arpa", "2.0.10.in-addr.arpa", "1.2.0.010.in-addr.arpa.example", "x.arpa"]) {
    bench.ask(query(name, "PTR"));
  }
  t.is(bench.asked.length, 4);
});

test("a query longer than any has to be is refused without a look at it", (t) => {
  const bench = new Bench();
  for (const name of ["host.internal", "www.example"]) {
    const long = new Uint8Array(LONGEST_QUERY + 1);
    long.set(query(name));
    bench.ask(long);
  }
  t.deepEqual(
    bench.answers.map((answer) => [answer[3] & 0xf, answer.length]),
    [
      [1, 12],
      [1, 12],
    ],
  );
});

test("a resolver that is dead is asked last from then on, and found again without delaying anybody", (t) => {
  const bench = new Bench();
  bench.ask(query("one.example"));
  bench.pass(TRY_MS);
  bench.asked[1].answer(answerTo(bench.asked[1].sent, A));
  bench.ask(query("two.example"));
  t.deepEqual(bench.to(2), ["192.0.2.2"], "the first is thought dead");
  bench.asked[2].answer(answerTo(bench.asked[2].sent, A));
  bench.pass(PROBE_MS);
  bench.ask(query("three.example"));
  t.deepEqual(bench.to(3), ["192.0.2.2", "192.0.2.1"], "both are asked at once");
  bench.asked[4].failed();
  t.is(bench.answers.length, 2, "the probe's failure is nobody's");
  bench.asked[3].answer(answerTo(bench.asked[3].sent, A));
  bench.ask(query("four.example"));
  t.deepEqual(bench.to(5), ["192.0.2.2"], "one probe in that time");
  bench.asked[5].answer(answerTo(bench.asked[5].sent, A));
  bench.pass(PROBE_MS);
  bench.ask(query("five.example"));
  bench.asked[7].answer(answerTo(bench.asked[7].sent, A));
  t.is(bench.answers.length, 5, "the probe's answer is as good as any");
  bench.ask(query("six.example"));
  t.deepEqual(bench.to(8), ["192.0.2.1"], "it is back");
});

test("a resolver that is slow with one name and quick with others is not dead", (t) => {
  const bench = new Bench();
  bench.ask(query("slow.example"));
  bench.pass(TRY_MS / 2);
  bench.ask(query("quick.example"));
  bench.asked[1].answer(answerTo(bench.asked[1].sent, A));
  bench.pass(TRY_MS / 2);
  bench.ask(query("quick.example"));
  t.deepEqual(bench.to(), ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"]);
});

test("where nobody can be reached it is SERVFAIL at once, and the next query finds who came back", (t) => {
  const bench = new Bench();
  bench.unreachable.add("192.0.2.1").add("192.0.2.2");
  bench.ask(query("www.example"));
  t.is(read(bench.answers[0]).code, 2);
  t.is(bench.timers.size, 0);
  bench.unreachable.clear();
  bench.ask(query("www.example"));
  t.deepEqual(bench.to(), ["192.0.2.1"]);
});

test("one resolver is asked again after silence over UDP, and once over TCP", (t) => {
  const [udp, tcp] = [new Bench(["192.0.2.1"]), new Bench(["192.0.2.1"], "tcp")];
  for (const bench of [udp, tcp]) {
    bench.ask(query("www.example"));
    bench.pass(TOTAL_MS - 1);
    t.is(bench.answers.length, 0);
  }
  t.is(udp.asked.length, 4);
  t.is(tcp.asked.length, 1);
  tcp.asked[0].answer(answerTo(tcp.asked[0].sent, A));
  t.is(read(tcp.answers[0]).code, 0);
  const more = new Bench(["192.0.2.1"], "tcp");
  for (let i = 0; i <= MAX_OVER_TCP; i++) more.ask(query("www.example"));
  t.is(read(more.answers[0]).code, 2, "too many at once");
});

test("an own name asked with EDNS is answered with EDNS", (t) => {
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
  t.is(read(bench.askOwn(Uint8Array.from(asked))).additionals?.[0]?.type, "OPT");
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
        const before = bench.asked.length;
        bench.forwarder.request("udp", asked, () => answers++);
        for (const { answer, failed } of bench.asked.slice(before)) {
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
