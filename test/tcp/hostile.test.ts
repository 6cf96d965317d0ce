/** Any bytes from the sandbox: no throw, and nothing that grows without bound. */
import test from "ava";
import fc from "fast-check";
import { Conversation, connect, knock } from "./conversation.js";
import { ACK, encode, FIN, pattern, Rig, RST, SANDBOX, SERVER, Seeded, SYN } from "./rig.js";

/** What no input may break. */
function bounded(rig: Rig): string {
  const { outOfOrder, options, flowCount } = rig.tcp;
  if (flowCount > options.maxFlows) return `${flowCount} flows`;
  if (flowCount !== rig.flows.size) return "the table and the count differ";
  if (outOfOrder.used > options.outOfOrderTotal) return `${outOfOrder.used} bytes out of order`;
  if (rig.timers.size > flowCount + 1) return `${rig.timers.size} timers for ${flowCount} flows`;
  for (const socket of rig.host.sockets) {
    if (socket.backlog.length > options.receiveWindow * 2) return `${socket.backlog.length} bytes kept`;
  }
  return "";
}

test("any bytes as a segment: no throw, no state", (t) => {
  const rig = new Rig({ tcp: { maxFlows: 50, maxHalfOpen: 20 } });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200, size: "max" }), fc.boolean(), (bytes, partial) => {
      rig.raw(bytes, partial);
      rig.turn();
      rig.take();
      t.is(bounded(rig), "");
    }),
    { numRuns: 3000, seed: 1 },
  );
  t.true(rig.counters.get("tcp.bad_length") > 0);
  t.true(rig.counters.get("tcp.bad_checksum") > 0);
});

test("any options of a SYN: the segment size and scale that come out are usable", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (options) => {
      const rig = new Rig();
      const length = 20 + Math.ceil(options.length / 4) * 4;
      const bytes = new Uint8Array(length);
      bytes.set(encode({ flags: SYN, seq: 100, window: 65535 }, SANDBOX, SERVER));
      bytes.set(options, 20);
      bytes[12] = length << 2;
      rig.raw(bytes, true);
      const socket = rig.host.get(0);
      connect(rig, socket);
      const [answer] = rig.take();
      rig.turn([{ seq: 101, ack: answer.seq + 1, window: 65535 }]);
      socket.write(pattern(3000));
      rig.turn();
      rig.turn();
      const segments = rig.take();
      t.true(segments.length > 0);
      for (const segment of segments) t.true(segment.payload.length <= 1460 && segment.payload.length >= 1);
    }),
    { numRuns: 300, seed: 2 },
  );
});

test("200,000 random segments at connections in every state, random blocks too: no throw, bounded, and the host's bytes stay in order", (t) => {
  const random = new Seeded(99);
  for (let round = 0; round < 40; round++) {
    const rig = new Rig({
      seed: round + 1,
      tcp: { receiveWindow: 64 << 10, outOfOrderPerFlow: 4000, outOfOrderTotal: 8000, maxFlows: 8, maxHalfOpen: 4 },
    });
    let seq = 1000;
    let ack = 0;
    for (let i = 0; i < 5000; i++) {
      // Numbers near those that matter, and now and then any.
      const near = (n: number) => (random.below(20) === 0 ? random.uint32() : (n + random.below(5) - 2) >>> 0);
      const flags =
        random.below(4) === 0 ? random.below(64) : [ACK, ACK, SYN, FIN | ACK, RST, SYN | ACK][random.below(6)];
      const length = random.below(3) === 0 ? random.below(3000) : 0;
      const sport = 1 + random.below(3);
      rig.turn([
        {
          flags: random.below(8) === 0 ? flags : flags & ~RST,
          seq: near(seq),
          ack: near(ack),
          window: random.below(4) === 0 ? random.below(3) : random.below(65536),
          payload: pattern(length),
          mss: random.below(2) === 0 ? random.below(65536) : 0,
          scale: random.below(16) - 1,
          sackPermitted: random.below(4) !== 0,
          sack: Array.from({ length: random.below(6) === 0 ? random.below(5) : 0 }, () => [
            random.below(2) === 0 ? near(ack) : (ack + random.below(4000)) >>> 0,
            random.below(9) === 0 ? near(ack) : (ack + random.below(8000)) >>> 0,
          ]),
          sport,
        },
      ]);
      for (const segment of rig.take()) {
        if (random.below(2) === 0) seq = segment.ack;
        if (random.below(2) === 0) ack = (segment.seq + segment.payload.length + (segment.flags & SYN ? 1 : 0)) >>> 0;
      }
      const socket = rig.host.sockets[random.below(Math.max(1, rig.host.sockets.length))];
      if (socket && socket.gone === "") {
        const action = random.below(12);
        if (action === 0) connect(rig, socket);
        if (action === 1) socket.write(pattern(random.below(3000)));
        if (action === 2 && random.below(20) === 0) socket.ended = true;
        if (action === 3) socket.takes = random.below(2) === 0 ? 0 : 3000;
      }
      if (random.below(30) === 0) rig.pass(random.below(3000));
      if (random.below(300) === 0) knock(rig);
      const problem = bounded(rig);
      if (problem !== "") t.fail(`round ${round}, segment ${i}: ${problem}`);
    }
    rig.tcp.abort(0);
    rig.turn();
    if (rig.tcp.flowCount + rig.timers.size + rig.tcp.outOfOrder.used + rig.tcp.halfOpenCount !== 0)
      t.fail("left over");
  }
  t.pass();
});

test("a SYN flood: half-open flows are bounded, and the established connection goes on", (t) => {
  const c = Conversation.open({ tcp: { maxHalfOpen: 100 } });
  for (let i = 0; i < 1000; i++) c.rig.turn([{ flags: SYN, seq: i, sport: 1000 + i, dport: 443, mss: 1460 }]);
  t.is(c.rig.tcp.halfOpenCount, 100);
  t.is(c.rig.counters.get("tcp.half_open_limit"), 900);
  c.rig.take();
  c.say({ payload: pattern(1000) });
  t.is(c.socket.received.length, 1000);
});

test("five thousand flows that time out in the same moment are all served", (t) => {
  const rig = new Rig({ tcp: { initialTimeout: 200, maxHalfOpen: 10_000 } });
  const count = 5000;
  for (let i = 0; i < count; i++) rig.turn([{ flags: SYN, seq: 1, sport: 1000 + i, mss: 1460 }]);
  for (const socket of rig.host.sockets) socket.pending.push(() => socket.handler.connected(socket.id));
  rig.turn();
  const answers = rig.take();
  t.is(answers.length, count);
  const acks = answers.map((answer) => ({ seq: 2, ack: answer.seq + 1, window: 1000, sport: answer.dport }));
  while (acks.length > 0) rig.turn(acks.splice(0, 100));
  const heard = new Set<number>();
  for (let i = 0; i < count; i += 50) {
    for (const socket of rig.host.sockets.slice(i, i + 50)) socket.write(pattern(10));
    rig.turn();
  }
  for (const segment of rig.take()) heard.add(segment.dport);
  t.is(heard.size, count);
  heard.clear();
  rig.now += 1500;
  for (let i = 0; i < 200; i++) {
    const before = rig.host.sockets.filter((socket) => socket.peek < socket.written.length).length;
    if (before > 60) {
      // The rig has slots for some hundred flows only: give each its turn.
      const waiting = rig.host.sockets.filter((socket) => socket.peek < socket.written.length);
      for (const socket of waiting.slice(60)) socket.held = true;
    }
    rig.turn();
    for (const socket of rig.host.sockets) socket.held = false;
    for (const segment of rig.take()) heard.add(segment.dport);
  }
  t.is(heard.size, count);
});
