/** Flows whose other end is gone without a word (RFC 1122 4.2.3.6, RFC 9293 3.8.4). */
import test from "ava";
import { DEFAULTS } from "../../src/tcp/context.js";
import { PROBES_PER_STEP } from "../../src/tcp/keep-alive.js";
import { Conversation, connect, fail } from "./conversation.js";
import { ACK, FIN, pattern, Rig, RST, SYN } from "./rig.js";

const MINUTE = 60_000;

test("a quiet sandbox is asked after ten minutes, one number early and without data, and goes on when it answers", (t) => {
  const c = Conversation.open();
  c.rig.pass(8 * MINUTE - 1);
  t.deepEqual(c.rig.take(), []);
  t.false(c.socket.keptAlive);
  c.rig.pass(2 * MINUTE + 1);
  const [probe, ...others] = c.rig.take();
  t.like(probe, { flags: ACK, seq: c.ack - 1, ack: c.seq });
  t.is(probe.payload.length, 0);
  t.is(others.length, 0);
  t.true(c.socket.keptAlive, "and the remote by the host's kernel");
  t.deepEqual(c.say({}), []);
  c.rig.pass(8 * MINUTE);
  t.deepEqual(c.rig.take(), [], "it has as long again");
  t.is(c.socket.gone, "");
  t.is(c.rig.counters.get("tcp.keep_alive"), 1);
  t.is(c.write(pattern(100)).length, 1);
  t.is(c.say({ payload: pattern(50), ack: c.ack + 100 }).at(-1)?.ack, c.seq);
});

test("a kernel that has forgotten the connection answers with a reset, which ends it", (t) => {
  const c = Conversation.open();
  c.rig.pass(10 * MINUTE);
  const [probe] = c.rig.take();
  c.say({ flags: RST, seq: probe.ack, ack: 0, window: 0 });
  t.is(c.socket.gone, "reset");
  t.deepEqual([c.rig.tcp.flowCount, c.rig.timers.size], [0, 0]);
});

test("after three questions without an answer it is given up on both sides, in every state that waits", (t) => {
  const established = Conversation.open();
  const hostEnded = Conversation.open();
  hostEnded.socket.ended = true;
  hostEnded.rig.turn();
  hostEnded.hear();
  hostEnded.say({});
  const sandboxEnded = Conversation.open();
  sandboxEnded.say({ flags: FIN | ACK });
  for (const c of [established, hostEnded, sandboxEnded]) {
    c.rig.pass(15 * MINUTE);
    t.is(c.rig.take().length, DEFAULTS.keepAlives);
    t.is(c.rig.tcp.flowCount, 1);
    c.rig.pass(MINUTE);
    const [reset, ...others] = c.rig.take();
    t.like(reset, { flags: RST | ACK, seq: c.ack });
    t.is(others.length, 0);
    t.is(c.socket.gone, "reset");
    t.is(c.rig.counters.get("tcp.keep_alive_failed"), 1);
    t.deepEqual([c.rig.tcp.flowCount, c.rig.timers.size], [0, 0]);
  }
});

test("a flow that is heard of from time to time is not asked, and its remote not put under the host's keep-alive", (t) => {
  const c = Conversation.open();
  for (let i = 0; i < 30; i++) {
    c.rig.pass(7 * MINUTE);
    t.deepEqual(c.rig.take(), []);
    c.say({ payload: pattern(1) });
    c.rig.take();
  }
  t.false(c.socket.keptAlive);
});

test("a remote that does not answer its kernel any more ends the flow with a reset", (t) => {
  const c = Conversation.open();
  c.rig.pass(10 * MINUTE);
  c.say({});
  c.rig.take();
  const ETIMEDOUT = 110;
  fail(c.rig, c.socket, ETIMEDOUT);
  t.is(c.rig.take()[0].flags, RST | ACK);
  t.is(c.rig.tcp.flowCount, 0);
});

test("many quiet flows are asked a few at a time, and cost some wake-ups in two minutes before", (t) => {
  const count = 1000;
  const rig = new Rig();
  for (let i = 0; i < count; i++) {
    rig.turn([{ flags: SYN, sport: 10_000 + i, seq: 5000, mss: 1460, window: 64000, scale: 7 }]);
    connect(rig, rig.host.get(i));
    const [answer] = rig.take();
    rig.turn([{ flags: ACK, sport: 10_000 + i, seq: 5001, ack: answer.seq + 1, window: 64000 }]);
    rig.take();
  }
  t.is(rig.timers.size, 1);
  let wakes = 0;
  const end = rig.now + 8 * MINUTE;
  for (let wait = rig.timers.nextDeadline(rig.now); rig.now + wait < end; wait = rig.timers.nextDeadline(rig.now)) {
    rig.now += wait;
    rig.turn();
    wakes++;
  }
  t.true(wakes <= 16, `${wakes} wake-ups in 8 minutes`);
  t.is(rig.take().length, 0);
  const burst: number[] = [];
  for (let i = 0; i < 20; i++) {
    rig.now += rig.timers.nextDeadline(rig.now);
    rig.turn();
    burst.push(rig.take().length);
  }
  t.deepEqual(burst.filter((probes) => probes > 0).slice(0, 4), [256, 256, 256, count - 3 * PROBES_PER_STEP]);
});
