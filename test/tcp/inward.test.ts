/** Host → sandbox: credit, segments, acknowledgements, loss, closed windows (RFC 9293 3.8, RFC 5681, RFC 6298, RFC 1122 4.2). */
import test from "ava";
import { Conversation } from "./conversation.js";
import { ACK, PSH, pattern, RST } from "./rig.js";

test("the host's bytes become super-frames of whole segments, pushed at the end", (t) => {
  const c = Conversation.open({ window: 60000 });
  const data = pattern(100_000);
  const segments = c.write(data);
  t.deepEqual(c.rig.frames.slice(1), [64240, 100_000 - 64240], "after the SYN/ACK");
  t.true(segments.slice(0, -1).every((segment) => segment.payload.length === 1460));
  t.true(Buffer.concat(segments.map((segment) => segment.payload)).equals(data));
  t.is(segments.at(-1)?.flags, ACK | PSH);
  t.is(segments[0].flags, ACK);
  t.is(segments[0].seq, c.ack);
});

test("a link without TSO gets one segment per frame", (t) => {
  const c = Conversation.open({ tcp: { superFrames: false } });
  c.write(pattern(4000));
  t.deepEqual(c.rig.frames.slice(1), [1460, 1460, 1080], "after the SYN/ACK");
});

test("the stream is forgotten only when it is acknowledged, once per turn", (t) => {
  const c = Conversation.open();
  c.write(pattern(5000));
  t.is(c.socket.front, 0);
  c.rig.turn([c.segment({ ack: c.ack + 1460 }), c.segment({ ack: c.ack + 2920 })]);
  t.is(c.socket.front, 2920);
  t.is(c.rig.take().length, 0);
  c.rig.turn([c.segment({ ack: c.ack + 5000 })]);
  t.is(c.socket.front, 5000);
  t.is(c.rig.timers.size, 1, "nothing in flight: no timer but the look for quiet flows");
});

test("never more in flight than the sandbox's window and our own limit", (t) => {
  const c = Conversation.open({ scale: 0, window: 5000 });
  c.socket.write(pattern(50_000));
  for (let i = 0; i < 3; i++) c.rig.turn();
  t.is(
    c.rig.take().reduce((sum, segment) => sum + segment.payload.length, 0),
    4380,
  );
  const limited = Conversation.open({ tcp: { maxFlight: 100_000 } });
  limited.socket.write(pattern(300_000));
  for (let i = 0; i < 10; i++) limited.rig.turn();
  t.true(limited.rig.take().reduce((sum, segment) => sum + segment.payload.length, 0) <= 100_000);
});

test("a window that opens a little at a time sends no silly segments, except as a probe after a while", (t) => {
  const c = Conversation.open({ scale: 0, window: 20_000 });
  c.socket.write(pattern(40_000));
  c.rig.turn();
  c.hear();
  c.window = 0;
  c.say({});
  for (const window of [10, 100, 700, 1459]) {
    c.window = window;
    t.deepEqual(c.say({}), [], `a window of ${window}`);
  }
  c.rig.pass(1100);
  const [probe] = c.rig.take();
  t.is(probe.payload.length, 1459);
});

test("three duplicate ACKs send the lost segment again at once; window updates are no duplicates", (t) => {
  const c = Conversation.open();
  const data = pattern(1460 * 6);
  c.write(data);
  for (let i = 1; i <= 5; i++) c.say({ window: 64000 + i });
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 0);
  c.window = 64005;
  c.say({ window: 64005 });
  c.say({ window: 64005 });
  c.say({ window: 64005, payload: pattern(4) });
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 0, "a segment with data is none either");
  c.rig.take();
  c.say({ window: 64005 });
  t.is(c.rig.counters.get("tcp.fast_retransmit"), 1);
  c.rig.turn();
  const [again] = c.rig.take();
  t.is(again.seq, c.ack);
  t.deepEqual(again.payload, data.slice(0, 1460));
  // The sandbox had all the rest: one ACK, and the host's next bytes follow without a gap.
  c.ack += data.length;
  c.say({ ack: c.ack });
  t.is(c.socket.front, data.length);
  const [next] = c.write(pattern(100, 3));
  t.is(next.seq, c.ack);
  t.deepEqual(next.payload, pattern(100, 3));
});

test("bytes that the engine had read ahead in the very turn of a rewind are not sent at the wrong place", (t) => {
  const c = Conversation.open();
  const data = pattern(1460 * 20);
  c.write(data.subarray(0, 1460 * 6));
  // Events of one turn: three duplicates first, then new data that was peeked at the old position.
  c.socket.write(data.subarray(1460 * 6));
  const duplicate = c.segment({});
  c.rig.turn([duplicate, duplicate, duplicate], () => true);
  const wrong = c.rig.take().filter((segment) => segment.payload.length > 0);
  t.deepEqual(wrong, []);
  for (let i = 0; i < 30 && c.socket.front < data.length; i++) {
    c.rig.turn();
    const heard = c.hear();
    if (heard.length > 0) t.deepEqual(heard, data.slice(c.socket.front, c.socket.front + heard.length));
    c.say({});
  }
  t.is(c.socket.front, data.length);
});

test("without an answer everything is sent again from the first unacknowledged byte, ever later, until both sides are reset", (t) => {
  const c = Conversation.open({ tcp: { giveUp: 10_000, initialTimeout: 200 } });
  const data = pattern(4000);
  c.write(data);
  c.say({ ack: c.ack + 1460 });
  const start = c.rig.now;
  const times: number[] = [];
  let reset = 0;
  for (let i = 0; i < 4000 && reset === 0; i++) {
    c.rig.pass(10);
    for (const segment of c.rig.take()) {
      if (segment.flags & RST) reset = c.rig.now - start;
      else if (segment.seq === c.ack + 1460) times.push(Math.round((c.rig.now - start) / 100) / 10);
      t.true(segment.seq >= c.ack + 1460);
    }
  }
  t.deepEqual(times, [0.2, 0.6, 1.4, 3, 6.2]);
  t.true(reset >= 10_000 && reset < 14_000, `${reset}`);
  t.is(c.socket.gone, "reset");
  t.is(c.rig.counters.get("tcp.gave_up"), 1);
  t.is(c.rig.timers.size, 0);
});

test("the timeout follows measured round trips, not those of what was sent twice (Karn)", (t) => {
  const c = Conversation.open();
  for (let i = 0; i < 20; i++) {
    c.write(pattern(10));
    c.rig.pass(800);
    c.rig.take();
    c.ack += 10;
    c.say({});
  }
  t.is(c.rig.counters.get("tcp.timeout"), 0);
  c.write(pattern(10));
  c.rig.pass(790);
  t.is(c.rig.counters.get("tcp.timeout"), 0);
  c.rig.pass(200);
  t.is(c.rig.counters.get("tcp.timeout"), 1);
  c.ack += 10;
  c.say({});
  c.write(pattern(10));
  c.rig.pass(790);
  t.is(c.rig.counters.get("tcp.timeout"), 1, "the answer to a repeated segment taught nothing");
});

test("a closed window is probed with one byte, ever later, for as long as the sandbox answers", (t) => {
  const c = Conversation.open({ tcp: { giveUp: 20_000, initialTimeout: 200 } });
  const data = pattern(3000);
  c.window = 0;
  c.say({});
  c.write(data);
  const times: number[] = [];
  const start = c.rig.now;
  for (let i = 0; i < 30_000; i++) {
    c.rig.pass(10);
    for (const segment of c.rig.take()) {
      if (segment.payload.length === 0) continue;
      t.deepEqual(segment.payload, data.slice(0, 1));
      t.is(segment.seq, c.ack);
      times.push((c.rig.now - start) / 1000);
      c.rig.turn([c.segment({})]);
      c.rig.take();
    }
  }
  t.true(times.length > 8 && times.length < 20, `${times.length} probes in 300 s: ${times}`);
  t.true(times.every((time, i) => i < 2 || time - times[i - 1] <= 61));
  t.is(c.socket.gone, "");
  c.window = 64000;
  c.say({});
  for (let i = 0; i < 3; i++) c.rig.turn();
  const all = new Set(c.rig.take().flatMap((segment) => Array.from(segment.payload, (_, k) => segment.seq + k)));
  t.is(all.size, 3000);
});

test("a closed window costs nothing while the host has nothing to send", (t) => {
  const c = Conversation.open({ tcp: { initialTimeout: 200 } });
  c.window = 0;
  c.say({});
  c.rig.pass(500);
  t.is(c.rig.timers.size, 1, "no timer but the look for quiet flows");
  t.true(c.rig.timers.nextDeadline(c.rig.now) > 50_000);
  t.deepEqual(c.rig.take(), []);
  // The first byte that comes is the probe, at once.
  const [probe] = c.write(pattern(10));
  t.is(probe.payload.length, 1);
});

test("a window that was taken back: what was sent is sent again when it opens", (t) => {
  const c = Conversation.open({ tcp: { initialTimeout: 200 } });
  const data = pattern(30_000);
  c.write(data);
  c.window = 0;
  c.say({});
  c.rig.pass(300);
  c.rig.take();
  c.window = 64000;
  c.say({});
  let heard = 0;
  for (let i = 0; i < 300 && heard < data.length; i++) {
    c.rig.pass(10);
    const bytes = c.hear();
    t.deepEqual(bytes, data.slice(heard, heard + bytes.length));
    heard += bytes.length;
    c.say({});
  }
  t.is(heard, data.length);
});

test("a burst of acknowledgements gives the engine at most one order of each kind per turn", (t) => {
  const c = Conversation.open();
  c.write(pattern(14_600));
  const before = c.socket.creditOrders;
  c.rig.turn([1, 2, 3, 4, 5].map((i) => c.segment({ ack: c.ack + i * 1460 })));
  t.true(c.socket.creditOrders - before <= 1);
  const idle = c.socket.creditOrders;
  for (let i = 0; i < 5; i++) c.rig.turn();
  t.is(c.socket.creditOrders, idle);
});
