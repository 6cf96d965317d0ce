/** Opening connections, both ways: RFC 9293 3.5 and 3.10.7, RFC 7323 2. */
import test from "ava";
import { Reject } from "../../src/wire/reject.js";
import { Conversation, connect, fail, knock } from "./conversation.js";
import { ACK, encode, FIN, PSH, pattern, Rig, RST, SANDBOX, SANDBOX_PORT, SERVER, SERVER_PORT, SYN } from "./rig.js";

const SYN_SEGMENT = { flags: SYN, seq: 5000, mss: 1460, window: 64000, scale: 7 };

test("the SYN is answered when the host has connected, not before", (t) => {
  const rig = new Rig();
  rig.turn([SYN_SEGMENT]);
  rig.pass(5000);
  t.deepEqual(rig.take(), []);
  t.is(rig.host.dialed.length, 1);
  connect(rig, rig.host.get(0));
  const [answer, ...more] = rig.take();
  t.deepEqual(more, []);
  t.is(answer.flags, SYN | ACK);
  t.is(answer.ack, 5001);
  t.is(answer.mss, 1460);
  t.true(answer.scale >= 10);
  t.is(answer.dport, SANDBOX_PORT);
  t.is(answer.sport, SERVER_PORT);
});

test("a SYN that is repeated while the host connects dials once", (t) => {
  const rig = new Rig();
  rig.turn([SYN_SEGMENT]);
  rig.turn([SYN_SEGMENT, SYN_SEGMENT]);
  t.is(rig.host.dialed.length, 1);
  t.deepEqual(rig.take(), []);
});

test("a window scale is used only if the sandbox offers one", (t) => {
  const conversation = Conversation.open({ scale: -1, window: 1000 });
  const [answer] = conversation.write(pattern(5000));
  t.is(conversation.rig.take().length, 0);
  t.is(answer.payload.length, 1000, "the window counts bytes");
  t.true(answer.window >= 60_000, "and ours is told in bytes");
});

test("the MTU and the sandbox's MSS bound the segments", (t) => {
  for (const [mtu, offered, expected] of [
    [1500, 9000, 1460],
    [1500, 1000, 1000],
    [9000, 0, 536],
    [65520, 65480, 65480],
  ]) {
    const conversation = Conversation.open({ mtu, mss: offered });
    const segments = conversation.write(pattern(expected * 2));
    t.deepEqual(
      segments.map((segment) => segment.payload.length),
      [expected, expected],
    );
  }
});

for (const mtu of [576, 577, 1279, 1280, 1281, 1500, 9000, 65520, 65521]) {
  test(`at MTU ${mtu} we offer what fits a packet, and send no segment that does not`, (t) => {
    for (const offered of [mtu - 40, 65535, 1000, 64, 1, 0]) {
      const rig = new Rig({ mtu });
      rig.turn([{ flags: SYN, seq: 5000, mss: offered, window: 65535, scale: 7 }]);
      connect(rig, rig.host.get(0));
      const [answer] = rig.take();
      t.is(answer.mss, mtu - 40);
      rig.turn([{ seq: 5001, ack: answer.seq + 1, window: 8000 }]);
      const data = pattern(300_000);
      rig.host.get(0).write(data);
      for (let i = 0; i < 10; i++) rig.turn();
      const segments = rig.take();
      // No offer means 536 (RFC 9293, 3.7.1); offers that are absurdly small are raised.
      const size = Math.min(mtu - 40, offered === 0 ? 536 : Math.max(offered, 64));
      t.true(segments.slice(0, -1).every(({ payload, flags }) => payload.length === size || (flags & PSH) !== 0));
      t.is(Math.max(...segments.map(({ payload }) => payload.length)), size);
      t.true(Buffer.concat(segments.map(({ payload }) => payload)).equals(data));
      t.true(rig.frames.every((length) => length <= 65_483));
    }
    const knocked = new Rig({ mtu });
    knock(knocked);
    t.is(knocked.take()[0].mss, mtu - 40);
  });
}

const [ECE, CWR] = [0x40, 0x80];

test("a SYN that offers ECN gets an answer without it, and flags of ECN change nothing later (RFC 3168, 6.1.1)", (t) => {
  // The third is the flag in the fourth bit's place before them (AccECN, RFC 9768, offers all three).
  for (const [offer, early] of [
    [ECE | CWR, 0],
    [ECE | CWR, 1],
  ]) {
    const rig = new Rig();
    const syn = encode({ flags: SYN | offer, seq: 5000, mss: 1460, window: 64000, scale: 7 }, SANDBOX, SERVER);
    syn[12] |= early;
    rig.raw(syn, true);
    connect(rig, rig.host.get(0));
    const [answer] = rig.take();
    t.is(answer.flags, SYN | ACK, "neither ECE nor CWR");
    const common = { seq: 5001, ack: answer.seq + 1, window: 64000 };
    rig.turn([{ ...common, flags: ACK | ECE }]);
    rig.host.get(0).write(pattern(20_000));
    rig.turn();
    t.is(
      rig.take().reduce((sum, { payload }) => sum + payload.length, 0),
      20_000,
    );
    rig.turn([{ ...common, flags: ACK | CWR | ECE, ack: answer.seq + 20_001, payload: pattern(100) }]);
    const flags = rig.take().map((segment) => segment.flags);
    t.deepEqual(flags, [ACK]);
    t.deepEqual(Uint8Array.from(rig.host.get(0).received), pattern(100));
    t.is(rig.host.get(0).front, 20_000);
  }
});

for (const [name, errno, reason, counter] of [
  ["ENETUNREACH", 101, Reject.NoRoute, "tcp.dial_no_route"],
  ["ENETDOWN", 100, Reject.NoRoute, "tcp.dial_no_route"],
  ["EHOSTUNREACH", 113, Reject.HostUnreachable, "tcp.dial_unreachable"],
  ["ETIMEDOUT", 110, Reject.HostUnreachable, "tcp.dial_unreachable"],
  ["EACCES", 13, Reject.Prohibited, "tcp.dial_prohibited"],
] as const) {
  test(`${name} of the host becomes an ICMP error about the SYN`, (t) => {
    for (const atOnce of [true, false]) {
      const rig = new Rig();
      if (atOnce) rig.host.connectError = -errno;
      rig.turn([SYN_SEGMENT]);
      if (!atOnce) fail(rig, rig.host.get(0), errno);
      t.deepEqual(rig.take(), []);
      t.is(rig.rejects.length, 1);
      t.is(rig.rejects[0].reason, reason);
      const { original } = rig.rejects[0];
      t.is(original.length, 20 + (original[32] >>> 4) * 4, "all of it");
      t.is(original[0], 0x45);
      t.deepEqual(
        [...original.subarray(20, 28)],
        [SANDBOX_PORT >> 8, SANDBOX_PORT & 255, 0, SERVER_PORT, 0, 0, 19, 136],
      );
      t.is(rig.counters.get(counter), 1);
      t.is(rig.tcp.flowCount, 0);
      t.is(rig.tcp.halfOpenCount, 0);
    }
  });
}

test("of a SYN that brings data, no more is quoted than an error may hold", (t) => {
  const rig = new Rig();
  rig.turn([{ ...SYN_SEGMENT, payload: pattern(1400) }]);
  fail(rig, rig.host.get(0), 113);
  t.is(rig.rejects[0].original.length, 1232);
});

for (const [name, errno, counter] of [
  ["ECONNREFUSED", 111, "tcp.dial_refused"],
  ["EMFILE", 24, "tcp.dial_exhausted"],
] as const) {
  test(`${name} of the host becomes a reset that the sandbox believes`, (t) => {
    for (const atOnce of [true, false]) {
      const rig = new Rig();
      if (atOnce) rig.host.connectError = -errno;
      rig.turn([SYN_SEGMENT]);
      if (!atOnce) fail(rig, rig.host.get(0), errno);
      const [answer, ...more] = rig.take();
      t.deepEqual(more, []);
      t.is(answer.flags, RST | ACK);
      t.is(answer.seq, 0);
      t.is(answer.ack, 5001);
      t.is(rig.counters.get(counter), 1);
      t.is(rig.tcp.flowCount, 0);
    }
  });
}

test("what the policy refuses gets a reset, an ICMP error, or silence, and is counted", (t) => {
  for (const reason of [Reject.PortUnreachable, Reject.NoRoute, "silent"] as const) {
    const rig = new Rig({ verdict: { kind: "refuse", reason, counter: "policy.test" } });
    rig.turn([SYN_SEGMENT]);
    t.is(rig.host.dialed.length, 0);
    t.is(rig.counters.get("policy.test"), 1);
    t.deepEqual(
      rig.take().map((segment) => segment.flags),
      reason === Reject.PortUnreachable ? [RST | ACK] : [],
    );
    t.is(rig.rejects.length, reason === Reject.NoRoute ? 1 : 0);
  }
});

test("connections beyond the limits are reset and counted", (t) => {
  const rig = new Rig({ tcp: { maxHalfOpen: 2, maxFlows: 3 } });
  const from = (sport: number) => ({ ...SYN_SEGMENT, sport });
  rig.turn([from(1), from(2), from(3)]);
  t.is(rig.counters.get("tcp.half_open_limit"), 1);
  t.deepEqual(
    rig.take().map((segment) => [segment.dport, segment.flags]),
    [[3, RST | ACK]],
  );
  for (const id of [0, 1]) connect(rig, rig.host.get(id));
  for (const segment of rig.take()) {
    rig.turn([{ sport: segment.dport, seq: 5001, ack: segment.seq + 1, window: 1000 }]);
  }
  t.is(rig.tcp.halfOpenCount, 0);
  rig.turn([from(4), from(5)]);
  t.is(rig.counters.get("tcp.flow_limit"), 1);
  t.is(rig.tcp.flowCount, 3);
  t.is(rig.host.dialed.length, 3);
});

test("SYN/ACK is repeated after 1, 2, 4 … seconds, then both sides are reset", (t) => {
  const rig = new Rig({ tcp: { synRetries: 3 } });
  rig.turn([SYN_SEGMENT]);
  connect(rig, rig.host.get(0));
  const times: [number, number][] = [];
  const start = rig.now;
  for (let i = 0; i < 20; i++) {
    for (const segment of rig.take()) times.push([Math.round((rig.now - start) / 1000), segment.flags]);
    rig.pass(1000);
  }
  t.deepEqual(times, [
    [0, SYN | ACK],
    [1, SYN | ACK],
    [3, SYN | ACK],
    [7, SYN | ACK],
    [15, RST | ACK],
  ]);
  t.is(rig.host.get(0).gone, "reset");
  t.is(rig.tcp.flowCount, 0);
});

test("a repeated SYN gets the same SYN/ACK again; a wrong acknowledgement of it a reset, and the handshake goes on", (t) => {
  const rig = new Rig();
  rig.turn([SYN_SEGMENT]);
  connect(rig, rig.host.get(0));
  const [answer] = rig.take();
  rig.turn([SYN_SEGMENT]);
  const [second] = rig.take();
  t.deepEqual(second, answer);
  rig.turn([{ seq: 5001, ack: answer.seq + 77 }]);
  const [reset] = rig.take();
  t.is(reset.flags, RST);
  t.is(reset.seq, answer.seq + 77);
  rig.turn([{ seq: 5001, ack: answer.seq + 1, payload: pattern(10) }]);
  t.deepEqual(rig.host.get(0).received, [...pattern(10)]);
});

test("the sandbox takes its SYN back: the host's connection is given up", (t) => {
  const rig = new Rig();
  rig.turn([SYN_SEGMENT]);
  rig.turn([{ flags: RST, seq: 9999 }]);
  t.is(rig.tcp.flowCount, 1);
  rig.turn([{ flags: RST, seq: 5001 }]);
  t.is(rig.host.get(0).gone, "reset");
  t.is(rig.tcp.flowCount, 0);
  t.deepEqual(rig.take(), []);
});

test("initial sequence numbers differ by flow, and grow with time for the same flow", (t) => {
  const numbers = [1, 2].map((seed) => {
    const rig = new Rig({ seed });
    const iss = (sport: number) => {
      rig.turn([{ ...SYN_SEGMENT, sport }]);
      const socket = rig.host.sockets[rig.host.sockets.length - 1];
      connect(rig, socket);
      const [answer] = rig.take();
      fail(rig, socket, 104);
      rig.take();
      return answer.seq;
    };
    const first = iss(1);
    const other = iss(2);
    rig.now += 100;
    const later = (iss(1) - first) >>> 0;
    t.is(later, 25_000, "a tick is four microseconds");
    return [first, other];
  });
  t.is(new Set(numbers.flat()).size, 4);
});

test("inbound: SYN from the client's own address, ACK, data both ways", (t) => {
  const rig = new Rig();
  const { socket, log } = knock(rig);
  const [syn] = rig.take();
  t.is(syn.flags, SYN);
  t.is(syn.mss, 1460);
  t.true(syn.scale >= 10);
  t.is(syn.sport, SERVER_PORT);
  t.is(syn.dport, SANDBOX_PORT);
  socket.write(pattern(100));
  rig.turn();
  t.deepEqual(rig.take(), [], "nothing of the client's is sent before the handshake is over");
  rig.turn([{ flags: SYN | ACK, seq: 70, ack: syn.seq + 1, mss: 1000, window: 5000, scale: 3 }]);
  t.deepEqual(log, ["established 0"]);
  const [ack] = rig.take();
  t.is(ack.flags, ACK);
  t.is(ack.ack, 71);
  rig.turn([{ seq: 71, ack: syn.seq + 1, window: 5000, payload: pattern(50) }]);
  const [data] = rig.take();
  t.deepEqual(data.payload, pattern(100));
  t.deepEqual(socket.received, [...pattern(50)]);
});

test("inbound: a refusal hands the socket back, open and untouched", (t) => {
  const rig = new Rig();
  const { socket, log } = knock(rig);
  const [syn] = rig.take();
  rig.turn([{ flags: RST | ACK, seq: 0, ack: syn.seq + 7 }]);
  t.deepEqual(log, [], "a reset with another number is not meant for us");
  rig.turn([{ flags: RST | ACK, seq: 0, ack: syn.seq + 1 }]);
  t.deepEqual(log, ["refused 0"]);
  t.is(socket.gone, "");
  t.is(socket.creditOrders, 0);
  t.is(rig.tcp.flowCount, 0);
  t.is(rig.timers.size, 0);
});

test("inbound: silence hands the socket back after the SYN was repeated", (t) => {
  const rig = new Rig({ tcp: { synRetries: 2 } });
  const { socket, log } = knock(rig);
  rig.pass(6900);
  t.deepEqual(log, []);
  t.is(rig.take().length, 3);
  rig.pass(200);
  t.deepEqual(log, ["refused 0"]);
  t.is(socket.gone, "");
});

test("inbound: the client gives up during the handshake", (t) => {
  const rig = new Rig();
  const { socket, log } = knock(rig);
  const [syn] = rig.take();
  fail(rig, socket, 104);
  const [reset] = rig.take();
  t.is(reset.flags & RST, RST);
  t.is(reset.seq, syn.seq + 1);
  t.is(rig.tcp.flowCount, 0);
  t.deepEqual(log, []);
});

test("inbound: simultaneous open", (t) => {
  const rig = new Rig();
  const { socket, log } = knock(rig);
  const [syn] = rig.take();
  rig.turn([{ flags: SYN, seq: 900, mss: 1460, window: 4000, scale: 0 }]);
  const [answer] = rig.take();
  t.is(answer.flags, SYN | ACK);
  t.is(answer.seq, syn.seq);
  t.is(answer.ack, 901);
  rig.turn([{ flags: SYN | ACK, seq: 900, ack: syn.seq + 1, mss: 1460, window: 4000, scale: 0 }]);
  t.deepEqual(log, ["established 0"]);
  rig.turn([{ seq: 901, ack: syn.seq + 1, payload: pattern(9) }]);
  t.deepEqual(socket.received, [...pattern(9)]);
});

test("inbound: an old connection with the same ports is reset, then the SYN is repeated", (t) => {
  const rig = new Rig();
  const { log } = knock(rig);
  const [syn] = rig.take();
  rig.turn([{ flags: ACK, seq: 1, ack: syn.seq - 1000 }]);
  const [reset] = rig.take();
  t.is(reset.flags, RST);
  t.is(reset.seq, (syn.seq - 1000) >>> 0);
  rig.pass(1100);
  const [again] = rig.take();
  t.is(again.flags, SYN);
  t.is(again.seq, syn.seq);
  t.deepEqual(log, []);
});

test("inbound: the same client address and port twice is refused at once", (t) => {
  const rig = new Rig();
  t.true(knock(rig).taken);
  const second = knock(rig);
  t.false(second.taken);
  t.is(second.socket.gone, "");
  t.is(rig.tcp.flowCount, 1);
});

test("segments of no connection are answered with a reset that fits them", (t) => {
  const rig = new Rig();
  rig.turn([{ flags: ACK, seq: 10, ack: 20 }]);
  t.like(rig.take()[0], { flags: RST, seq: 20, ack: 0 });
  rig.turn([{ flags: FIN, seq: 10, payload: pattern(5) }]);
  t.like(rig.take()[0], { flags: RST | ACK, seq: 0, ack: 16 });
  rig.turn([{ flags: SYN | ACK, seq: 10, ack: 33 }]);
  t.like(rig.take()[0], { flags: RST, seq: 33 });
  rig.turn([
    { flags: RST, seq: 10 },
    { flags: RST | ACK, seq: 10 },
  ]);
  t.deepEqual(rig.take(), []);
  t.is(rig.tcp.flowCount, 0);
});

test("a host that fails before our SYN was acknowledged: the reset has the number that the sandbox expects", (t) => {
  const rig = new Rig();
  rig.turn([{ flags: SYN, seq: 5000, mss: 1460, window: 64000, scale: 7 }]);
  connect(rig, rig.host.get(0));
  const [answer] = rig.take();
  fail(rig, rig.host.get(0), 104);
  t.like(rig.take(), [{ flags: RST | ACK, seq: (answer.seq + 1) >>> 0, ack: 5001 }]);
  t.is(rig.tcp.flowCount, 0);
});
