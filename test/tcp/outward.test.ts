/** Sandbox → host: acceptance, payload, acknowledgements, window (RFC 9293 3.8 and 3.10.7.4, RFC 5961, RFC 1122 4.2.3). */
import test from "ava";
import { Packet } from "../../src/wire/packet.js";
import { Conversation } from "./conversation.js";
import { ACK, encode, PSH, pattern, RST, SANDBOX, SERVER, SYN, type Wire } from "./rig.js";

const edge = (segment: Wire, scale = 10) => (segment.ack + segment.window * 2 ** scale) >>> 0;

test("payload reaches the host, and one ACK at the end of the turn covers all of it", (t) => {
  const c = Conversation.open();
  const data = pattern(6000);
  c.rig.turn(
    [0, 1, 2, 3].map((i) => c.segment({ seq: c.seq + i * 1500, payload: data.subarray(i * 1500, i * 1500 + 1500) })),
  );
  const acks = c.rig.take();
  t.is(acks.length, 1);
  t.is(acks[0].ack, c.seq + 6000);
  t.is(acks[0].flags, ACK);
  t.deepEqual(c.socket.received, [...data]);
});

test("a long burst is acknowledged on the way, a few times", (t) => {
  const c = Conversation.open();
  const data = pattern(40 * 1000);
  c.rig.turn(
    Array.from({ length: 40 }, (_, i) =>
      c.segment({ seq: c.seq + i * 1000, payload: data.subarray(i * 1000, i * 1000 + 1000) }),
    ),
  );
  const acks = c.rig.take();
  t.is(acks.length, 5);
  t.is(acks[4].ack, c.seq + 40_000);
  t.deepEqual(c.socket.received, [...data]);
});

test("data to the sandbox carries the acknowledgement: no segment of its own", (t) => {
  const c = Conversation.open();
  c.socket.write(pattern(10));
  c.rig.turn([c.segment({ payload: pattern(5) })], () => true);
  const segments = c.rig.take();
  t.is(segments.length, 1);
  t.is(segments[0].ack, c.seq + 5);
  t.is(segments[0].payload.length, 10);
});

test("while there is other work the ACK of a request waits for the answer, and not longer than there is work", (t) => {
  const c = Conversation.open();
  c.rig.busy = true;
  c.rig.turn([c.segment({ payload: pattern(5), flags: ACK | PSH })]);
  t.is(c.rig.take().length, 0);
  t.true(c.rig.waiting);
  c.socket.write(pattern(10));
  c.rig.turn();
  t.like(c.rig.take(), [{ ack: c.seq + 5, payload: Uint8Array.from(pattern(10)) }]);
  c.rig.busy = false;
  c.rig.turn();
  t.is(c.rig.take().length, 0);
  t.false(c.rig.waiting);

  c.rig.busy = true;
  c.rig.turn([c.segment({ seq: c.seq + 5, payload: pattern(5), flags: ACK | PSH })]);
  t.is(c.rig.take().length, 0);
  c.rig.busy = false;
  c.rig.turn();
  t.like(c.rig.take(), [{ ack: c.seq + 10, flags: ACK }]);
});

test("a second segment, a full one, or two milliseconds, and the ACK waits no more (RFC 1122, 4.2.3.2)", (t) => {
  const c = Conversation.open();
  c.rig.busy = true;
  c.rig.turn([c.segment({ payload: pattern(5) })]);
  t.is(c.rig.take().length, 0);
  c.rig.turn([c.segment({ seq: c.seq + 5, payload: pattern(5) })]);
  t.like(c.rig.take(), [{ ack: c.seq + 10, flags: ACK }]);
  c.rig.turn([c.segment({ seq: c.seq + 10, payload: pattern(1460) })]);
  t.like(c.rig.take(), [{ ack: c.seq + 1470, flags: ACK }]);
  c.rig.turn([c.segment({ seq: c.seq + 1470, payload: pattern(5) })]);
  t.is(c.rig.take().length, 0);
  c.rig.now += 2;
  c.rig.turn();
  t.like(c.rig.take(), [{ ack: c.seq + 1475, flags: ACK }]);
});

test("duplicates and overlaps: each byte reaches the host once, and the sandbox hears where we are", (t) => {
  const c = Conversation.open();
  const data = pattern(1000);
  const base = c.seq;
  const at = (from: number, to: number) => c.segment({ seq: base + from, payload: data.subarray(from, to) });
  c.rig.turn([at(0, 400)]);
  c.rig.take();
  c.rig.turn([at(0, 400)]);
  t.like(c.rig.take(), [{ ack: base + 400 }]);
  c.rig.turn([at(100, 400), at(300, 700), at(200, 1000)]);
  t.is(c.rig.take().at(-1)?.ack, base + 1000);
  t.deepEqual(c.socket.received, [...data]);
});

test("early segments are kept, each answered by a duplicate ACK, and delivered when the gap is filled", (t) => {
  const c = Conversation.open();
  const data = pattern(5000);
  const base = c.seq;
  const at = (from: number, to: number) => c.segment({ seq: base + from, payload: data.subarray(from, to) });
  c.rig.turn([at(2000, 3000), at(4000, 5000), at(2500, 3500), at(2000, 3000)]);
  const duplicates = c.rig.take();
  t.is(duplicates.length, 4);
  t.true(duplicates.every((segment) => segment.ack === base));
  t.is(c.socket.received.length, 0);
  c.rig.turn([at(0, 2000)]);
  t.is(c.rig.take().at(-1)?.ack, base + 3500);
  c.rig.turn([at(3400, 4100)]);
  t.is(c.rig.take().at(-1)?.ack, base + 5000);
  t.deepEqual(c.socket.received, [...data]);
  t.is(c.rig.tcp.outOfOrder.used, 0);
});

test("what is kept out of order is bounded per flow, in pieces, and in all; what is dropped is sent again and arrives", (t) => {
  const c = Conversation.open({ tcp: { outOfOrderPerFlow: 3000, outOfOrderTotal: 4000 } });
  const data = pattern(10_000);
  const base = c.seq;
  const at = (from: number, to: number) => c.segment({ seq: base + from, payload: data.subarray(from, to) });
  c.rig.turn([1, 3, 5, 7].map((i) => at(i * 1000, (i + 1) * 1000)));
  t.is(c.rig.tcp.outOfOrder.used, 3000);
  t.is(c.rig.counters.get("tcp.out_of_order_dropped"), 1);
  for (let i = 0; i < 10; i++) c.rig.turn([at(i * 1000, (i + 1) * 1000)]);
  t.deepEqual(c.socket.received, [...data]);

  const tiny = Conversation.open();
  for (let i = 0; i < 500; i++) tiny.say({ seq: tiny.seq + 2 + i * 2, payload: pattern(1) });
  t.true(tiny.rig.tcp.outOfOrder.used <= 128);
  tiny.say({ flags: RST });
  t.is(tiny.rig.tcp.outOfOrder.used, 0, "given back when the flow ends");
});

for (const [size, length] of [
  [1 << 20, 16_000],
  [64 << 10, 1460],
  [8 << 10, 100],
]) {
  test(`a reader that stops closes the window of ${size}, nothing is lost when it reads again`, (t) => {
    const c = Conversation.open({ tcp: { receiveWindow: size } });
    c.socket.takes = 0;
    const data = pattern(size * 3);
    const base = c.seq;
    // Rounding to units of 1 KiB may take back less than one, and only of what many small segments have crept forward.
    const slack = size === 1 << 20 ? 0 : 1023;
    let sent = 0;
    let limit = Math.min(64000, size);
    const follow = (segments: Wire[]) => {
      for (const segment of segments) {
        const right = edge(segment) - base;
        if (right < limit - slack && limit > 64000) t.fail(`the right edge moved left from ${limit} to ${right}`);
        limit = Math.max(limit, right);
        if (right <= sent) limit = sent;
      }
    };
    const push = () => {
      const amount = Math.min(length, limit - sent, data.length - sent);
      if (amount <= 0) return false;
      follow(c.say({ payload: data.slice(sent, sent + amount) }));
      sent += amount;
      return true;
    };
    while (push());
    t.true(sent >= size - 4096 && sent <= size + (size >> 4) + 2048, `${sent} bytes were taken`);
    t.is(c.socket.backlog.length, sent);
    t.is(c.say({ seq: c.seq - 1 })[0].window, 0, "the window is closed");
    // The reader reads slowly, then all; the sandbox probes now and then.
    for (let turns = 0; turns < 5000 && sent < data.length; turns++) {
      c.socket.takes = turns < 100 ? 700 : 20_000;
      c.rig.turn(turns % 10 === 0 ? [c.segment({ seq: c.seq - 1 })] : []);
      follow(c.rig.take());
      while (push());
      if (c.socket.backlog.length > size + (size >> 4) + 2048) t.fail(`${c.socket.backlog.length} bytes are kept`);
    }
    c.socket.takes = data.length;
    c.rig.turn();
    t.true(Buffer.from(c.socket.received).equals(data));
  });
}

test("one byte read does not open the window by one byte (silly window), and half of it read does", (t) => {
  const c = Conversation.open({ tcp: { receiveWindow: 64 << 10 } });
  c.socket.takes = 0;
  for (let open = true; open; ) {
    const answers = c.say({ payload: pattern(1460) });
    open = answers.every((segment) => segment.window > 1);
  }
  c.socket.takes = 1;
  for (let i = 0; i < 20; i++) c.rig.turn();
  t.deepEqual(c.rig.take(), []);
  c.socket.takes = 40_000;
  c.rig.turn();
  c.socket.takes = 0;
  c.rig.turn();
  t.true(c.rig.take().some((segment) => segment.window >= 30));
});

test("probes of a closed window are answered, and their byte is not taken", (t) => {
  const c = Conversation.open({ tcp: { receiveWindow: 64 << 10 } });
  c.socket.takes = 0;
  let window = 1;
  while (window > 0) window = c.say({ payload: pattern(1024) }).at(-1)?.window ?? window;
  const taken = c.socket.backlog.length;
  for (const probe of [c.segment({ seq: c.seq - 1 }), c.segment({ payload: pattern(1) })]) {
    c.rig.turn([probe]);
    const [answer, ...more] = c.rig.take();
    t.deepEqual(more, []);
    t.is(answer.ack, c.seq);
    t.is(answer.window, 0);
  }
  t.is(c.socket.backlog.length, taken);
});

test("short memory: windows shrink, below that nothing is taken; with memory back the sandbox hears of it", (t) => {
  const c = Conversation.open();
  c.rig.host.freeMemory = 0.1;
  let open = 1 << 20;
  for (let i = 0; i < 1000 && open > 500_000; i++) {
    const [answer] = c.say({ payload: pattern(1460) });
    open = answer.window << 10;
  }
  t.true(open <= 500_000, `${open}`);
  c.rig.host.freeMemory = 0.01;
  const before = c.socket.received.length;
  const dropped = c.segment({ payload: pattern(1000) });
  c.rig.turn([dropped]);
  t.deepEqual(c.rig.take(), [], "it is not acknowledged");
  t.is(c.socket.received.length, before);
  t.is(c.rig.counters.get("tcp.no_memory"), 1);
  c.rig.host.freeMemory = 0.9;
  c.rig.turn();
  const [update] = c.rig.take();
  t.true(update.window << 10 >= 1_000_000);
  c.say({ payload: pattern(1000) });
  t.is(c.socket.received.length, before + 1000);
});

test("RFC 5961: only the exact number resets, one in the window is questioned, any other ignored", (t) => {
  const c = Conversation.open();
  t.deepEqual(c.say({ flags: RST, seq: c.seq - 1 }), []);
  t.deepEqual(c.say({ flags: RST, seq: c.seq + (1 << 21) }), []);
  t.like(c.say({ flags: RST, seq: c.seq + 100 }), [{ flags: ACK, ack: c.seq, seq: c.ack }]);
  t.is(c.socket.gone, "");
  t.deepEqual(c.say({ flags: RST }), []);
  t.is(c.socket.gone, "reset");
  t.is(c.rig.tcp.flowCount, 0);
  t.is(c.rig.timers.size, 0);
});

test("RFC 5961: a SYN within a connection is questioned, and questions are limited", (t) => {
  const c = Conversation.open({ tcp: { challengesPerSecond: 3 } });
  const syn = c.segment({ flags: SYN, seq: c.seq + 5 });
  c.rig.turn([syn, syn, syn, syn, syn]);
  t.like(c.rig.take(), [
    { flags: ACK, ack: c.seq },
    { flags: ACK, ack: c.seq },
    { flags: ACK, ack: c.seq },
  ]);
  t.is(c.rig.counters.get("tcp.challenge_limit"), 2);
  c.rig.pass(1000);
  c.rig.turn([syn]);
  t.is(c.rig.take().length, 1);
  c.say({ payload: pattern(5) });
  t.is(c.socket.received.length, 5, "the connection goes on");
});

test("an acknowledgement of what was never sent is questioned, its data dropped; one far too old likewise", (t) => {
  const c = Conversation.open();
  t.like(c.say({ seq: c.seq, ack: c.ack + 1, payload: pattern(5) }), [{ ack: 5001 }]);
  t.is(c.socket.received.length, 0);
  c.seq = 5001;
  t.like(c.say({ ack: c.ack - (1 << 30), payload: pattern(5) }), [{ ack: 5001 }]);
  t.is(c.socket.received.length, 0);
});

test("payload beyond the window is cut, and what lies wholly outside is answered only", (t) => {
  const c = Conversation.open({ tcp: { receiveWindow: 2048 } });
  c.socket.takes = 0;
  const open = c.say({ payload: pattern(10) })[0];
  const room = (edge(open) - c.seq) | 0;
  c.rig.turn([c.segment({ payload: pattern(room + 500) })]);
  c.rig.take();
  t.is(c.socket.backlog.length, 10 + room);
  c.rig.turn([c.segment({ seq: c.seq + room + 5000, payload: pattern(10) })]);
  t.is(c.rig.take().length, 1);
  t.is(c.socket.backlog.length, 10 + room);
});

test("segments without ACK are dropped; urgent data is data", (t) => {
  const c = Conversation.open();
  t.deepEqual(c.say({ flags: PSH, payload: pattern(5), seq: c.seq }), []);
  t.is(c.socket.received.length, 0);
  c.seq = 5001;
  const urgent = encode(c.segment({ flags: ACK | 0x20, payload: pattern(5) }), SANDBOX, SERVER);
  c.rig.raw(urgent, true);
  c.rig.turn();
  t.is(c.socket.received.length, 5);
});

test("a wrong checksum is dropped, unless the kernel left it to the device", (t) => {
  const c = Conversation.open();
  const bytes = encode(c.segment({ payload: pattern(100) }), SANDBOX, SERVER);
  bytes[60] ^= 1;
  c.rig.raw(bytes, false);
  c.rig.turn();
  t.is(c.rig.counters.get("tcp.bad_checksum"), 1);
  t.is(c.socket.received.length, 0);
  bytes[60] ^= 1;
  bytes[16] ^= 0xff;
  c.rig.raw(bytes, true);
  c.rig.turn();
  t.is(c.socket.received.length, 100);
});

test("a super-frame of 64 KiB is one payload", (t) => {
  const c = Conversation.open();
  const data = pattern(65_000);
  c.say({ payload: data });
  t.true(Buffer.from(c.socket.received).equals(data));
});

test("a packet put together from fragments lies outside of the slab: its payload is copied, or sent again later", (t) => {
  const c = Conversation.open();
  const bytes = new Uint8Array(20 + 20 + 3000);
  bytes[0] = 0x45;
  bytes.set(encode(c.segment({ payload: pattern(3000) }), SANDBOX, SERVER), 20);
  const packet = new Packet(bytes);
  Object.assign(packet, { inSlab: false, family: 4, protocol: 6, network: 0, transport: 20, end: bytes.length });
  packet.source.set(SANDBOX);
  packet.destination.set(SERVER);
  c.rig.host.spares = 0;
  c.rig.tcp.input(packet);
  c.rig.turn();
  t.deepEqual(c.rig.take(), []);
  t.is(c.rig.counters.get("tcp.no_spare"), 1);
  c.rig.tcp.input(packet);
  c.rig.turn();
  t.is(c.rig.take()[0].ack, c.seq + 3000);
  t.deepEqual(c.socket.received, [...pattern(3000)]);
});

test("no room for an ACK in this turn: it is counted, and the next one covers it", (t) => {
  const c = Conversation.open();
  c.rig.room = false;
  t.deepEqual(c.say({ payload: pattern(100) }), []);
  t.is(c.rig.counters.get("tcp.no_room"), 1);
  c.rig.room = true;
  c.rig.turn([c.segment({ seq: c.seq - 100, payload: pattern(100) })]);
  t.is(c.rig.take()[0].ack, c.seq);
  t.is(c.socket.received.length, 100);
});

test("keep-alive of the sandbox is answered", (t) => {
  const c = Conversation.open();
  t.like(c.say({ seq: c.seq - 1, payload: pattern(1) }), [{ flags: ACK, ack: 5001 }]);
  t.like(c.say({ seq: c.seq - 1 }), [{ flags: ACK, ack: 5001 }]);
});
