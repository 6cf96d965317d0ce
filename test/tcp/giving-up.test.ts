/**
 * A sandbox that answers no more (RFC 1122, 4.2.3.5, R2; the user timeout of RFC 9293, 3.8.3): each state that waits for it has an
 * end, both sides hear of it, and nothing stays. One that answers is never given up, however long it takes.
 */
import test, { type ExecutionContext } from "ava";
import { DEFAULTS } from "../../src/tcp/context.js";
import { Conversation, connect, type OpenOptions } from "./conversation.js";
import { ACK, FIN, pattern, Rig, RST, SYN } from "./rig.js";

const LIMIT = DEFAULTS.giveUp;
/** The last retransmission before the limit may be this long ago. */
const LONGEST_WAIT = DEFAULTS.maximumTimeout;

/** Lets time pass without a word of the sandbox, and says when the flow was given up; the last segment resets the sandbox. */
function silence(t: ExecutionContext, c: Conversation, name: string): number {
  const start = c.rig.now;
  let last = 0;
  while (c.rig.tcp.flowCount > 0 && c.rig.now - start < 3_600_000) {
    c.rig.pass(1000);
    last = c.rig.take().at(-1)?.flags ?? last;
  }
  t.is(last & RST, RST, name);
  t.is(c.socket.gone, "reset", `${name}: the remote learns it`);
  t.deepEqual([c.rig.tcp.flowCount, c.rig.timers.size, c.rig.flows.size], [0, 0, 0], name);
  t.is(c.rig.counters.get("tcp.gave_up"), 1, name);
  return c.rig.now - start;
}

const open = (options: OpenOptions = {}) => Conversation.open({ scale: 0, window: 20_000, ...options });

test("data, a FIN, or both without an answer: given up after two minutes, in every state in which they wait", (t) => {
  const data = (c: Conversation) => c.write(pattern(5000));
  const sandboxEnds = (c: Conversation) => c.say({ flags: FIN | ACK });
  const states: [string, ((c: Conversation) => unknown)[]][] = [
    ["ESTABLISHED", [data]],
    ["FIN-WAIT-1, with data", [data, end]],
    ["FIN-WAIT-1", [end]],
    ["CLOSE-WAIT", [sandboxEnds, data]],
    ["LAST-ACK", [sandboxEnds, end]],
    ["CLOSING", [end, sandboxEnds]],
  ];
  for (const sack of [false, true]) {
    for (const [name, steps] of states) {
      const c = open({ sack });
      for (const step of steps) step(c);
      const after = silence(t, c, name);
      t.true(after >= LIMIT && after <= LIMIT + LONGEST_WAIT, `${name}: after ${after} ms`);
    }
  }
});

function end(c: Conversation): void {
  c.socket.ended = true;
  c.rig.turn();
}

test("any progress begins the two minutes anew", (t) => {
  const c = open();
  const data = pattern(14_600);
  c.write(data);
  for (let i = 1; i <= 10; i++) {
    c.rig.pass(LIMIT - LONGEST_WAIT);
    t.is(c.rig.tcp.flowCount, 1);
    c.ack = (c.ack + 1460) >>> 0;
    c.say({});
  }
  t.is(c.socket.front, data.length);
  t.is(c.rig.counters.get("tcp.gave_up"), 0);
});

test("probes of a closed window without an answer end it; with answers it lasts for ever", (t) => {
  const silent = open();
  silent.window = 0;
  silent.say({});
  silent.write(pattern(3000));
  const after = silence(t, silent, "a closed window");
  t.true(after >= LIMIT && after <= LIMIT + 2 * LONGEST_WAIT, `${after} ms`);

  const alive = open();
  alive.window = 0;
  alive.say({});
  alive.write(pattern(3000));
  const day = alive.rig.now + 86_400_000;
  let probes = 0;
  while (alive.rig.now < day) {
    alive.rig.pass(10_000);
    for (const { payload } of alive.rig.take()) {
      if (payload.length === 0) continue;
      t.is(payload.length, 1);
      probes++;
      alive.say({});
    }
  }
  t.true(probes > 1000, "once a minute");
  t.is(alive.socket.gone, "");
  // Then it falls silent: two minutes from the first probe without an answer.
  const silentAfter = silence(t, alive, "after a day");
  t.true(silentAfter >= LIMIT && silentAfter <= LIMIT + 3 * LONGEST_WAIT, `${silentAfter} ms`);
});

test("a handshake without an answer is over after some repetitions, and so is a half-closed connection that is quiet", (t) => {
  const rig = new Rig();
  rig.turn([{ flags: SYN, seq: 5000, mss: 1460, window: 64000, scale: 7 }]);
  connect(rig, rig.host.get(0));
  rig.pass(120_000);
  t.is(rig.take().at(-1)?.flags, RST | ACK);
  t.is(rig.host.get(0).gone, "reset");
  t.is(rig.tcp.flowCount, 0);

  const c = open();
  end(c);
  c.hear();
  c.say({});
  // FIN-WAIT-2: the sandbox may go on for as long as it likes, if it is there.
  c.rig.pass(DEFAULTS.quietSweep * (DEFAULTS.quietSweeps + DEFAULTS.keepAlives + 2));
  t.is(c.rig.counters.get("tcp.keep_alive_failed"), 1);
  t.is(c.socket.gone, "reset");
  t.is(c.rig.tcp.flowCount, 0);
});
