/** Selective acknowledgements, both ways (RFC 2018, RFC 2883, RFC 6675). */
import test from "ava";
import fc from "fast-check";
import { MAX_RANGES, Scoreboard } from "../../src/tcp/scoreboard.js";
import { Reported, Trouble } from "../../src/wire/reported.js";
import { Conversation, connect } from "./conversation.js";
import { ACK, FIN, pattern, Rig, SANDBOX, SANDBOX_PORT, SERVER, SERVER_PORT, SYN, type Wire } from "./rig.js";

const MSS = 1460;

/** An established connection with `count` segments in flight, of which none is acknowledged. */
function inFlight(count: number, options: Parameters<typeof Conversation.open>[0] = {}) {
  const c = Conversation.open({ sack: true, ...options });
  const data = pattern(count * MSS);
  c.write(data);
  for (let i = 0; i < 4; i++) c.rig.turn();
  c.rig.take();
  const base = c.ack;
  const at = (segment: number) => (base + segment * MSS) >>> 0;
  /** A block of segments [from, to). */
  const block = (from: number, to: number): [number, number] => [at(from), at(to)];
  return { c, data, at, block };
}

/** Which segments are sent now, in order, from the sequence number `una` on: `first`, and in turns until nothing more comes. */
function sent(c: Conversation, una: number, first: readonly Wire[] = []): number[] {
  const segments = first.filter(({ payload }) => payload.length > 0);
  for (let quiet = 0; quiet < 2; quiet++) {
    c.rig.turn();
    const more = c.rig.take().filter(({ payload }) => payload.length > 0);
    if (more.length > 0) quiet = 0;
    segments.push(...more);
  }
  return segments.map(({ seq }) => ((seq - una) >>> 0) / MSS);
}

test("it is offered in our SYN, and in our SYN/ACK only to who offered it", (t) => {
  for (const sack of [true, false]) {
    const rig = new Rig();
    rig.turn([{ flags: SYN, seq: 5000, mss: MSS, window: 64000, scale: 7, sackPermitted: sack }]);
    connect(rig, rig.host.get(0));
    const [answer] = rig.take();
    t.like(answer, { flags: SYN | ACK, mss: MSS, scale: 10, sackPermitted: sack });
  }
  const rig = new Rig();
  const socket = rig.host.make({ connected() {}, data() {}, end() {}, failed() {}, drained() {} });
  const ends = { client: SERVER, clientPort: SERVER_PORT, server: SANDBOX, serverPort: SANDBOX_PORT };
  rig.tcp.accept({ socket: socket.id, link: 0, ...ends, refused() {}, established() {} });
  rig.turn();
  t.like(rig.take()[0], { flags: SYN, mss: 1460, scale: 10, sackPermitted: true });
});

test("what is missing is sent again, and nothing else: one segment, then many", (t) => {
  const one = inFlight(10);
  t.deepEqual(one.c.say({ sack: [one.block(1, 2)] }), []);
  t.deepEqual(one.c.say({ sack: [one.block(1, 3)] }), []);
  t.deepEqual(sent(one.c, one.at(0), one.c.say({ sack: [one.block(1, 4)] })), [0]);
  for (let i = 5; i <= 10; i++) t.deepEqual(sent(one.c, one.at(0), one.c.say({ sack: [one.block(1, i)] })), []);
  t.is(one.c.rig.counters.get("tcp.bytes_again"), MSS);
  one.c.ack = one.at(10);
  one.c.say({});
  t.is(one.c.socket.front, one.data.length);
  const [next] = one.c.write(pattern(100, 3));
  t.is(next.seq, one.at(10));
  t.deepEqual(next.payload, pattern(100, 3));

  const many = inFlight(30);
  const blocks = Array.from({ length: 9 }, (_, i) => many.block(3 * i + 1, 3 * i + 3));
  const again = blocks.flatMap((_, i) => {
    const sack = blocks.slice(Math.max(0, i - 3), i + 1).reverse();
    return sent(many.c, many.at(0), many.c.say({ sack }));
  });
  // Behind the last gap has come no more than the two segments that may have overtaken it.
  t.deepEqual(again, [0, 3, 6, 9, 12, 15, 18, 21]);
});

test("three blocks or more than two segments behind a gap make a loss, less does not", (t) => {
  const cases: [number, string, (b: (from: number, to: number) => [number, number]) => [number, number][]][] = [
    [0, "two segments", (block) => [block(2, 4)]],
    [0, "two blocks of one", (block) => [block(2, 3), block(4, 5)]],
    [1, "three segments", (block) => [block(2, 5)]],
    [1, "three blocks", (block) => [block(2, 3), block(4, 5), block(6, 7)]],
  ];
  for (const [losses, name, blocks] of cases) {
    const { c, block } = inFlight(20);
    c.say({ sack: blocks(block) });
    t.is(c.rig.counters.get("tcp.fast_retransmit"), losses, name);
  }
  // Half segments: three of them are less than two whole ones.
  const { c, at } = inFlight(20);
  c.say({
    sack: [
      [at(2), at(2) + 500],
      [at(4), at(4) + 500],
      [at(6), at(6) + 500],
    ],
  });
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 1);
});

test("a gap of the size of an odd piece is filled with just that piece", (t) => {
  const { c, data, at } = inFlight(20);
  const again = c.say({ sack: [[at(0) + 700, at(9)]] });
  c.rig.turn();
  again.push(...c.rig.take());
  t.deepEqual(
    again.map(({ seq, payload }) => [seq, payload.length]),
    [[at(0), 700]],
  );
  t.deepEqual(again[0].payload, data.slice(0, 700));
});

test("without an offer blocks mean nothing, with one plain duplicates mean nothing", (t) => {
  const without = inFlight(20, { sack: false });
  without.c.say({ sack: [without.block(5, 20)] });
  t.is(without.c.rig.counters.get("tcp.fast_retransmit"), 0);
  const { c, block } = inFlight(20);
  for (let i = 0; i < 10; i++) c.say({});
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 0);
  for (let i = 0; i < 10; i++) c.say({ sack: [block(3, 4)] });
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 0, "the same block again is no news");
});

test("D-SACK, and blocks that cannot be: of the acknowledged, of what was never sent, turned round, empty", (t) => {
  const { c, at, block } = inFlight(20);
  c.ack = at(4);
  const nonsense = [
    [0, 2],
    [3, 4],
    [0, 9],
    [4, 20],
    [5, 21],
    [30, 40],
    [12, 8],
    [6, 6],
  ] as const;
  for (const [from, to] of nonsense) t.deepEqual(c.say({ sack: [block(from, to)] }), [], `${from} to ${to}`);
  // A D-SACK stands before the block that it lies in (RFC 2883, 4).
  t.deepEqual(c.say({ sack: [block(6, 7), block(6, 8)] }), []);
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 0);
});

test("options that are cut short, or longer than the header, are passed over", (t) => {
  const { c, at } = inFlight(20);
  const block = [5, 10, ...word(at(2)), ...word(at(12))];
  const cases: [number, number[]][] = [
    [0, [5, 2, 0, 0]],
    [0, [5, 9, ...block.slice(2), 0, 0]],
    [0, [...block.slice(0, 9), 0, 0, 0].slice(0, 8)],
    [0, [5, 18, ...block.slice(2), 0, 0]],
    [0, [5, 0, ...block.slice(2), 0, 0]],
    [0, [5, 255, 0, 0]],
    [0, [1, 1, 1, 5]],
    [0, [0, ...block, 0]],
    [0, [8, 1, ...block]],
    [1, [8, 10, ...new Array(8).fill(9), ...block]],
  ];
  for (const [losses, options] of cases) {
    const bytes = new Uint8Array(20 + options.length);
    const header = new DataView(bytes.buffer);
    header.setUint16(0, SANDBOX_PORT);
    header.setUint16(2, SERVER_PORT);
    header.setUint32(4, c.seq);
    header.setUint32(8, c.ack);
    header.setUint16(12, (bytes.length << 10) | ACK);
    header.setUint16(14, c.window);
    bytes.set(options, 20);
    c.rig.raw(bytes, true);
    c.rig.turn();
    t.is(c.rig.counters.get("tcp.fast_retransmit"), losses, `${options}`);
  }
});

const word = (value: number) => [24, 16, 8, 0].map((bits) => (value >>> bits) & 0xff);

test("new data goes on behind what was sent, once the gaps are filled", (t) => {
  const { c, at, block } = inFlight(20);
  t.deepEqual(sent(c, at(0), c.say({ sack: [block(5, 20)] })), [0, 1, 2, 3, 4]);
  c.socket.write(pattern(3 * MSS, 7));
  t.deepEqual(sent(c, at(0)), [20, 21, 22]);
  t.deepEqual(sent(c, at(0), c.say({ ack: at(20) })), []);
  c.say({ ack: at(23) });
  t.is(c.socket.front, 23 * MSS);
  t.is(c.rig.counters.get("tcp.timeout"), 0);
});

test("an acknowledgement of a part says that the gap that it ends at is lost too", (t) => {
  const { c, at, block } = inFlight(20);
  // 0 and 18 are missing; behind 18 too little has come to know.
  t.deepEqual(sent(c, at(0), c.say({ sack: [block(1, 18), block(19, 20)] })), [0]);
  c.ack = at(18);
  t.deepEqual(sent(c, at(0), c.say({ sack: [block(19, 20)] })), [18]);
  t.is(c.rig.counters.get("tcp.timeout"), 0);
});

test("what was sent again and lost again is found by the timeout, which passes over what has arrived", (t) => {
  const { c, at, block } = inFlight(20, { tcp: { initialTimeout: 300 } });
  t.deepEqual(sent(c, at(0), c.say({ sack: [block(2, 8), block(10, 20)] })), [0, 1, 8, 9]);
  c.rig.pass(400);
  t.is(c.rig.counters.get("tcp.timeout"), 1);
  t.deepEqual(sent(c, at(0), c.rig.take()), [0, 1], "two segments at first");
  c.ack = at(8);
  t.deepEqual(sent(c, at(0), c.say({ sack: [block(10, 20)] })), [8, 9]);
  c.ack = at(20);
  c.say({});
  t.is(c.socket.front, 20 * MSS);
});

test("blocks that are taken back are sent again after the timeout (reneging)", (t) => {
  const { c, at, block } = inFlight(20, { tcp: { initialTimeout: 300 } });
  t.deepEqual(sent(c, at(0), c.say({ sack: [block(1, 20)] })), [0]);
  // Now it should have everything, but acknowledges the first segment only.
  c.ack = at(1);
  t.deepEqual(sent(c, at(0), c.say({})), []);
  c.rig.pass(400);
  t.is(c.rig.counters.get("tcp.sack_forgotten"), 1);
  const all = new Set<number>();
  for (let i = 0; i < 30 && c.socket.front < 20 * MSS; i++) {
    for (const { seq } of c.rig.out) all.add((seq - at(0)) / MSS);
    c.hear();
    c.rig.turn([c.segment({})]);
  }
  t.is(c.socket.front, 20 * MSS);
  t.deepEqual(
    [...all].sort((a, b) => a - b),
    Array.from({ length: 19 }, (_, i) => i + 1),
  );
});

test("a sandbox that claims to have everything, and acknowledges nothing, is sent it after the second timeout, and given up at last", (t) => {
  const { c, at, block } = inFlight(20, { tcp: { initialTimeout: 300, giveUp: 10_000 } });
  const seen = new Set<number>();
  for (let i = 0; i < 2000 && c.socket.gone === ""; i++) {
    for (const { seq } of c.say({ sack: [block(1, 20)] })) seen.add((seq - at(0)) / MSS);
    c.rig.pass(10);
    for (const { seq } of c.rig.take()) seen.add((seq - at(0)) / MSS);
  }
  t.true(seen.has(0) && seen.has(1), `${[...seen]}`);
  t.is(c.socket.gone, "reset");
  t.is(c.rig.counters.get("tcp.gave_up"), 1);
});

test("a FIN is repeated only if it is missing", (t) => {
  for (const isLost of [true, false]) {
    const { c, data, at, block } = inFlight(10, { tcp: { initialTimeout: 300 } });
    c.socket.ended = true;
    c.rig.turn();
    const [fin] = c.rig.take();
    t.is(fin.flags & FIN, FIN);
    t.is(fin.seq, at(10));
    // Segments 0, 8 and 9 are missing, and the FIN or not.
    const end: [number, number][] = isLost ? [] : [[at(10), at(10) + 1]];
    const again = c.say({ sack: [block(1, 8), ...end] });
    const turns = () => {
      for (let i = 0; i < 5; i++) {
        c.rig.turn();
        again.push(...c.rig.take());
      }
    };
    turns();
    c.ack = at(8);
    again.push(...c.say({ sack: end }));
    turns();
    t.deepEqual(
      again.filter(({ payload }) => payload.length > 0).map(({ seq }) => (seq - at(0)) / MSS),
      [0, 8, 9],
    );
    t.is(
      again.some(({ flags }) => flags & FIN),
      isLost,
    );
    c.ack = (at(10) + 1) >>> 0;
    c.say({});
    t.is(c.socket.front, data.length);
    t.is(c.rig.timers.size, 1, "no timer but the look for quiet flows");
  }
});

test("exactly what was lost is sent again, whatever it was (nothing of it lost twice, the end not lost)", (t) => {
  const COUNT = 60;
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(COUNT - 4), { minLength: 1 }), fc.integer({ min: 1, max: 4 }), (lost, named) => {
      const { c, at } = inFlight(COUNT, { scale: 7, window: 64000 });
      const has = new Set<number>();
      const again: number[] = [];
      let una = 0;
      /** The sandbox's kernel: it answers each segment at once, and names the block with that segment first. */
      const arrives = (segment: number) => {
        has.add(segment);
        while (has.has(una)) una++;
        const blocks: [number, number][] = [];
        for (let from = una; from < COUNT; from++) {
          if (!has.has(from)) continue;
          let to = from;
          while (has.has(to)) to++;
          blocks.push([from, to]);
          from = to;
        }
        blocks.sort(([from, to]) => (from <= segment && segment < to ? -1 : 1));
        c.ack = at(una);
        const sack = blocks.slice(0, named).map(([from, to]): [number, number] => [at(from), at(to)]);
        again.push(...sent(c, at(0), c.say({ sack })));
      };
      for (let i = 0; i < COUNT; i++) if (!lost.includes(i)) arrives(i);
      for (let done = 0; done < again.length; done++) arrives(again[done]);
      t.deepEqual(
        [...again].sort((a, b) => a - b),
        [...lost].sort((a, b) => a - b),
      );
      t.deepEqual([una, c.socket.front, c.rig.now], [COUNT, COUNT * MSS, 1000]);
    }),
    { numRuns: 200 },
  );
});

// Scoreboard

test("the scoreboard says what a set of numbers says", (t) => {
  const range = fc.tuple(fc.nat(400), fc.integer({ min: 1, max: 30 }));
  fc.assert(
    fc.property(fc.integer(), fc.array(range, { maxLength: 25 }), fc.nat(300), (base, ranges, una) => {
      const board = new Scoreboard();
      const set = new Set<number>();
      const from = (offset: number) => (base + offset) | 0;
      for (const [start, length] of ranges) {
        let isNew = false;
        for (let i = start; i < start + length; i++) {
          if (!set.has(i)) isNew = true;
          set.add(i);
        }
        if (board.add(from(start), from(start + length)) !== isNew) return false;
      }
      board.forget(from(una));
      for (let at = una; at < 450; at += 7) {
        let next = at;
        while (set.has(next)) next++;
        if (board.skip(from(at)) !== from(next)) return false;
        let end = next;
        while (end < 440 && !set.has(end)) end++;
        if (next < 440 && board.gapEnd(from(next), from(440)) !== from(end)) return false;
        let missing = 0;
        for (let i = at; i < 440; i++) if (!set.has(i)) missing++;
        if (board.missing(from(at), from(440)) !== missing) return false;
      }
      return board.missing(from(440), from(una)) === 0;
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

test("the scoreboard is bounded, and keeps the lowest", (t) => {
  const board = new Scoreboard();
  for (let i = 0; i < 100; i++) board.add(10 * i + 5, 10 * i + 10);
  t.is(board.size, MAX_RANGES);
  t.is(board.skip(5), 10);
  board.add(0, 2);
  t.is(board.size, MAX_RANGES);
  t.is(board.skip(0), 2);
  t.is(board.missing(0, 10 * MAX_RANGES - 10), 5 * (MAX_RANGES - 1) - 2);
  board.add(0, 1000);
  t.is(board.size, 1);
});

// What we acknowledge selectively

test("early data is acknowledged selectively, the latest block first, four at most, and no more once the gap is filled", (t) => {
  const c = Conversation.open({ sack: true });
  const seq = c.seq;
  const early = (from: number, to: number) => c.say({ seq: seq + from, payload: pattern(to - from, from) })[0];
  const blocks = (...ranges: [number, number][]) => ranges.map(([from, to]) => [seq + from, seq + to] as const);
  t.like(early(100, 200), { ack: seq, sack: blocks([100, 200]) });
  t.like(early(300, 400), { sack: blocks([300, 400], [100, 200]) });
  t.like(early(200, 250), { sack: blocks([100, 250], [300, 400]) });
  t.like(early(300, 350), { sack: blocks([300, 400], [100, 250]) }, "what is here already is named as well");
  t.like(early(500, 600), { sack: blocks([500, 600], [300, 400], [100, 250]) });
  t.like(early(700, 800), { sack: blocks([700, 800], [500, 600], [300, 400], [100, 250]) });
  t.like(early(900, 1000), { sack: blocks([900, 1000], [700, 800], [500, 600], [300, 400]) });
  t.like(early(0, 100), { ack: seq + 250, sack: blocks([900, 1000], [700, 800], [500, 600], [300, 400]) });
  t.like(early(250, 900), { ack: seq + 1000, sack: [] });
  t.is(c.socket.received.length, 1000);
});

test("a sandbox that does not know selective acknowledgements gets none", (t) => {
  const c = Conversation.open();
  const [answer] = c.say({ seq: c.seq + 100, payload: pattern(100) });
  t.like(answer, { ack: c.seq, sack: [] });
});

test("what was not kept is not acknowledged selectively", (t) => {
  const c = Conversation.open({ sack: true, tcp: { outOfOrderPerFlow: 1000 } });
  const early = (from: number, length: number) => c.say({ seq: c.seq + from, payload: pattern(length) })[0];
  t.is(early(100, 900).sack.length, 1);
  t.deepEqual(early(2000, 500).sack, [[c.seq + 100, c.seq + 1000]]);
  t.is(c.rig.counters.get("tcp.out_of_order_dropped"), 1);
});

test("more kept pieces than a turn has room for are handed over in the next ones, and never named as missing ones", (t) => {
  const c = Conversation.open({ sack: true });
  const data = pattern(50 * 100);
  for (let i = 1; i < 50; i++) c.say({ seq: c.seq + i * 100, payload: data.slice(i * 100, i * 100 + 100) });
  const answers = c.say({ payload: data.slice(0, 100) });
  for (let i = 0; i < 5; i++) {
    c.rig.turn();
    answers.push(...c.rig.take());
  }
  t.true(Buffer.from(c.socket.received).equals(data));
  for (const { ack, sack } of answers) t.true(sack.every(([from]) => ((from - ack) | 0) > 0));
  t.is(answers.at(-1)?.ack, (c.seq - 100 + 5000) >>> 0);
});

test("a shorter path is told of while all but the first bytes up to the end are there: it goes on, and the end comes again", (t) => {
  const c = Conversation.open({ sack: true });
  const base = c.ack;
  c.socket.write(pattern(500));
  c.socket.ended = true;
  c.rig.turn();
  c.rig.take();
  const end = (base + 501) >>> 0;
  c.say({ sack: [[(base + 100) >>> 0, end]] });
  c.ack = (base + 100) >>> 0;
  c.say({});
  const told = {
    trouble: Trouble.TooBig,
    link: 0,
    family: 4,
    inside: SANDBOX,
    insidePort: SANDBOX_PORT,
    outside: SERVER,
    outsidePort: SERVER_PORT,
    mtu: 600,
    sequence: c.ack,
  } as const;
  c.rig.tcp.reported(Object.assign(new Reported(), told));
  const again: Wire[] = [];
  for (let i = 0; i < 4; i++) {
    c.rig.turn();
    again.push(...c.rig.take());
  }
  t.deepEqual(Buffer.concat(again.map(({ payload }) => payload)), Buffer.from(pattern(500).subarray(100)));
  t.true(again.some(({ flags }) => (flags & FIN) !== 0));
  c.ack = end;
  c.say({ flags: FIN | ACK });
  t.is(c.socket.gone, "closed");
});

test("the end of the stream does not stop what is being sent again", (t) => {
  const { c, at, block } = inFlight(6);
  c.socket.ended = true;
  const first = c.say({ sack: [block(1, 6)] });
  t.deepEqual(sent(c, at(0), first), [0]);
});
