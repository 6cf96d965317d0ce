/** Ending connections: FIN both ways, half-close, reset, TIME-WAIT (RFC 9293 3.6, RFC 1122 4.2.2.13). */
import test from "ava";
import { Conversation, connect, fail, knock } from "./conversation.js";
import { ACK, FIN, PSH, pattern, Rig, RST, SYN } from "./rig.js";

/** The host's program ends its stream; the turn that carries it. */
function endHost(c: Conversation): void {
  c.socket.ended = true;
  c.rig.turn();
}

/** A connection that the host has ended, which the sandbox has acknowledged. */
function endedByHost(): Conversation {
  const c = Conversation.open();
  endHost(c);
  c.rig.take();
  c.ack += 1;
  c.say({});
  return c;
}

test("the sandbox ends first: the host sees the end behind the last byte, and may go on", (t) => {
  const c = Conversation.open();
  const [ack] = c.say({ flags: FIN | ACK, payload: pattern(100) });
  t.is(ack.ack, c.seq);
  t.true(c.socket.shutdown);
  t.is(c.socket.received.length, 100);
  t.is(c.socket.gone, "");
  c.write(pattern(5000));
  c.ack += 5000;
  c.say({});
  t.is(c.socket.front, 5000);
  endHost(c);
  const [fin] = c.rig.take();
  t.like(fin, { flags: FIN | ACK, seq: c.ack });
  c.ack += 1;
  c.say({});
  t.is(c.socket.gone, "closed");
  t.is(c.rig.tcp.flowCount, 0);
  t.is(c.rig.timers.size, 0);
});

test("while there is other work the ACK of a FIN waits for the host's end, which carries it", (t) => {
  const c = Conversation.open();
  c.rig.busy = true;
  c.rig.turn([c.segment({ flags: FIN | ACK, payload: pattern(5) })]);
  t.is(c.rig.take().length, 0);
  t.true(c.rig.waiting);
  t.true(c.socket.shutdown, "the host hears at once");
  endHost(c);
  t.like(c.rig.take(), [{ flags: FIN | ACK, ack: c.seq + 6 }]);
  c.rig.busy = false;
  c.rig.turn();
  t.is(c.rig.take().length, 0);
  t.false(c.rig.waiting);
});

test("while there is other work the ACK of the last FIN waits, two milliseconds at most; a FIN that comes again is answered at once", (t) => {
  const c = endedByHost();
  c.rig.busy = true;
  const fin = c.segment({ flags: FIN | ACK });
  c.rig.turn([fin]);
  t.is(c.rig.take().length, 0);
  t.is(c.socket.gone, "closed");
  c.rig.turn([fin]);
  t.like(c.rig.take(), [{ flags: ACK, ack: c.seq + 1 }]);
  c.rig.now += 2;
  c.rig.turn();
  t.is(c.rig.take().length, 0, "nothing is said twice");
});

test("a connection that comes in TIME-WAIT's place before the last ACK was sent is not disturbed by it", (t) => {
  const c = endedByHost();
  c.rig.busy = true;
  c.rig.turn([c.segment({ flags: FIN | ACK })]);
  c.rig.turn([{ flags: SYN, seq: c.seq + 100_000, mss: 1460, window: 64000, scale: 7 }]);
  c.rig.busy = false;
  c.rig.turn();
  t.is(c.rig.take().length, 0, "it is being dialled");
  connect(c.rig, c.rig.host.get(1));
  t.like(c.rig.take(), [{ flags: SYN | ACK, ack: c.seq + 100_001 }]);
});

test("the host ends first: the sandbox sees the end behind the last byte, and may go on", (t) => {
  const c = Conversation.open();
  c.socket.write(pattern(2000));
  c.socket.ended = true;
  c.rig.turn();
  const segments = c.rig.take();
  t.deepEqual(
    segments.map((segment) => [segment.flags & FIN, segment.payload.length]),
    [
      [0, 1460],
      [1, 540],
    ],
    "the end is part of the last segment",
  );
  c.ack += 2001;
  c.say({});
  t.is(c.socket.front, 2000);
  t.is(c.socket.gone, "");
  c.say({ payload: pattern(3000) });
  t.is(c.socket.received.length, 3000);
  for (let minutes = 0; minutes < 60; minutes += 10) {
    c.rig.pass(600_000);
    t.is(c.rig.take().length, 1, "asked whether it is still there");
    c.say({});
  }
  t.is(c.socket.gone, "", "half-closed for an hour");
  t.is(c.rig.tcp.flowCount, 1);
  const [last] = c.say({ flags: FIN | ACK });
  t.is(last.ack, c.seq);
  t.is(c.socket.gone, "closed");
});

test("the end of the host's stream takes no part in a segment that fills the window, or that went out before", (t) => {
  const full = Conversation.open({ window: 540, scale: 0 });
  full.socket.write(pattern(540));
  endHost(full);
  t.like(full.rig.take(), [{ flags: ACK | PSH }, { flags: FIN | ACK, seq: full.ack + 540 }]);

  const later = Conversation.open();
  later.write(pattern(540));
  endHost(later);
  t.like(later.rig.take(), [{ flags: FIN | ACK, seq: later.ack + 540 }]);
});

test("a host that ends its stream during the handshake is heard when it is over, both ways", (t) => {
  const rig = new Rig();
  rig.turn([{ flags: SYN, seq: 5000 }]);
  rig.host.get(0).ended = true;
  connect(rig, rig.host.get(0));
  const [answer] = rig.take();
  t.is(answer.flags, SYN | ACK);
  rig.turn([{ seq: 5001, ack: answer.seq + 1 }]);
  rig.turn();
  t.like(rig.take(), [{ flags: FIN | ACK, seq: answer.seq + 1 }]);

  const inbound = new Rig();
  const { socket } = knock(inbound);
  const [syn] = inbound.take();
  socket.ended = true;
  inbound.turn();
  inbound.turn([{ flags: SYN | ACK, seq: 5000, ack: syn.seq + 1 }]);
  inbound.turn();
  t.deepEqual(
    inbound.take().map(({ flags }) => flags),
    [ACK, FIN | ACK],
  );
});

test("a FIN that comes early is not taken before what is missing", (t) => {
  const c = Conversation.open();
  c.say({ flags: FIN | ACK, seq: c.seq + 10, payload: pattern(10) });
  t.false(c.socket.shutdown);
  c.say({ payload: pattern(10) });
  t.false(c.socket.shutdown);
  c.seq += 10;
  c.say({ flags: FIN | ACK });
  t.true(c.socket.shutdown);
  t.is(c.socket.received.length, 20);
});

test("a FIN that is lost is repeated; one lost with data goes out behind the data again", (t) => {
  const c = Conversation.open({ tcp: { initialTimeout: 200 } });
  endHost(c);
  t.is(c.rig.take().length, 1);
  c.rig.pass(210);
  t.like(c.rig.take(), [{ flags: FIN | ACK, seq: c.ack }]);

  const d = Conversation.open({ tcp: { initialTimeout: 200 } });
  d.socket.write(pattern(3000));
  endHost(d);
  d.rig.take();
  d.say({ ack: d.ack + 1460 });
  let fin = 0;
  for (let i = 0; i < 50 && fin === 0; i++) {
    d.rig.pass(20);
    for (const segment of d.rig.take()) {
      t.true(segment.seq >= d.ack + 1460);
      if (segment.flags & FIN) fin = segment.seq + segment.payload.length;
    }
    d.rig.turn();
  }
  t.is(fin, d.ack + 3000);
  d.ack += 3001;
  d.say({});
  t.is(d.socket.front, 3000);
  d.say({ flags: FIN | ACK });
  t.is(d.socket.gone, "closed");
});

test("both end at once; TIME-WAIT repeats the last ACK, lasts a second, and is gone", (t) => {
  const c = Conversation.open();
  endHost(c);
  c.rig.take();
  c.say({ flags: FIN | ACK });
  t.is(c.socket.gone, "");
  c.ack += 1;
  c.say({});
  t.is(c.socket.gone, "closed");
  t.is(c.rig.tcp.flowCount, 1);
  c.rig.pass(900);
  t.like(c.say({ flags: FIN | ACK, seq: c.seq - 1 }), [{ flags: ACK, ack: c.seq }]);
  c.rig.pass(900);
  t.is(c.rig.tcp.flowCount, 1, "the second began anew");
  c.rig.pass(200);
  t.is(c.rig.tcp.flowCount, 0);
  t.is(c.rig.timers.size, 0);
});

test("in TIME-WAIT a SYN with a higher number opens a new connection, an old one does not", (t) => {
  const c = Conversation.open();
  endHost(c);
  c.ack += 1;
  c.say({ flags: FIN | ACK });
  c.rig.take();
  c.rig.turn([{ flags: SYN, seq: c.seq - 100, mss: 1460, window: 1000 }]);
  t.is(c.rig.host.dialed.length, 1);
  c.rig.turn([{ flags: SYN, seq: c.seq + 100, mss: 1460, window: 1000 }]);
  t.is(c.rig.host.dialed.length, 2);
  t.is(c.rig.tcp.flowCount, 1);
});

test("in TIME-WAIT a client of the host with the same address and port may come again", (t) => {
  const c = Conversation.accept();
  endHost(c);
  c.ack += 1;
  c.say({ flags: FIN | ACK });
  c.rig.take();
  t.true(knock(c.rig).taken);
  t.is(c.rig.take()[0].flags, SYN);
  t.is(c.rig.tcp.flowCount, 1);
});

test("the host's socket is closed behind its backlog, not over it", (t) => {
  const c = Conversation.open();
  c.socket.takes = 0;
  c.say({ flags: FIN | ACK, payload: pattern(5000) });
  endHost(c);
  c.rig.take();
  c.ack += 1;
  c.say({});
  t.is(c.socket.gone, "closed");
  t.is(c.socket.backlog.length, 5000);
  c.socket.takes = 10_000;
  c.rig.turn();
  t.deepEqual(c.socket.received, [...pattern(5000)]);
});

test("a reset of the host crosses as a reset with the number that the sandbox expects", (t) => {
  const c = Conversation.open();
  c.write(pattern(100));
  c.rig.take();
  fail(c.rig, c.socket, 104);
  t.like(c.rig.take(), [{ flags: RST | ACK, seq: c.ack + 100, ack: c.seq }]);
  t.is(c.rig.tcp.flowCount, 0);
  t.like(c.say({ payload: pattern(3) }), [{ flags: RST }], "what the sandbox still sends is answered with a reset");
});

test("a reset that comes with data in the same turn comes after the data", (t) => {
  const c = Conversation.open();
  c.rig.turn([c.segment({ payload: pattern(50) }), c.segment({ seq: c.seq + 50, flags: RST })]);
  t.is(c.socket.gone, "reset");
  t.is(c.rig.tcp.flowCount, 0);
});

test("busy() is true while the sandbox may have something left to say, or the host has not taken it", (t) => {
  const c = Conversation.open();
  t.true(c.rig.tcp.busy(0));
  c.socket.takes = 0;
  c.say({ flags: FIN | ACK, payload: pattern(10) });
  t.true(c.rig.tcp.busy(0));
  c.socket.takes = 10;
  c.rig.turn();
  t.false(c.rig.tcp.busy(0));
});

test("busy() takes nobody else's socket for one that was closed and had something left to send", (t) => {
  const c = Conversation.open();
  c.socket.takes = 0;
  c.say({ flags: FIN | ACK, payload: pattern(10) });
  endHost(c);
  c.rig.take();
  c.ack += 1;
  c.say({});
  t.is(c.rig.tcp.flowCount, 0);
  t.true(c.rig.tcp.busy(0));
  c.socket.takes = 10;
  c.rig.turn();
  c.rig.host.free.push(c.socket.id);
  const other = knock(c.rig, 7);
  t.is(other.socket.id, c.socket.id);
  other.socket.backlog.push(1);
  t.false(c.rig.tcp.busy(0));
  t.true(c.rig.tcp.busy(7));
});

test("abort() resets both sides of every flow and leaves nothing", (t) => {
  const c = Conversation.open();
  c.rig.turn([{ flags: SYN, seq: 1, sport: 5, mss: 1460 }]);
  c.rig.tcp.abort(0);
  c.rig.turn();
  t.true(c.rig.take().some((segment) => segment.flags & RST && segment.dport !== 5));
  t.deepEqual(
    c.rig.host.sockets.map((socket) => socket.gone),
    ["reset", "reset"],
  );
  t.is(c.rig.tcp.flowCount, 0);
  t.is(c.rig.tcp.halfOpenCount, 0);
  t.is(c.rig.flows.size, 0);
  t.is(c.rig.timers.size, 0);
});
