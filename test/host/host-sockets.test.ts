import test from "ava";
import { HostSockets } from "../../src/host/host-sockets.js";
import type { StreamHandler } from "../../src/host/sockets.js";
import { COMMAND_STRIDE, SLOT_SIZE } from "../../src/native/engine.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { SimulatedEngine, type SimulatedOptions } from "../simulation/engine.js";

const ECONNREFUSED = 111;
const ENOTCONN = 107;
const HTTP = endpoint(parseAddress("192.0.2.1"), 80);
const CLIENT = endpoint(parseAddress("192.0.2.7"), 4000);

class Log implements StreamHandler {
  readonly entries: string[] = [];
  onData: (socket: number) => void = () => {};

  connected(): void {
    this.entries.push("connected");
  }
  data(socket: number, _offset: number, length: number): void {
    this.entries.push(`data ${length}`);
    this.onData(socket);
  }
  end(): void {
    this.entries.push("end");
  }
  failed(_socket: number, errno: number): void {
    this.entries.push(`failed ${errno}`);
  }
  drained(): void {
    this.entries.push("drained");
  }
}

interface Bench {
  readonly engine: SimulatedEngine;
  readonly sockets: HostSockets;
  readonly frames: [link: number, length: number][];
  /** Runs one turn, with `action` between the events and the turn's end. */
  turn(action?: () => void): void;
}

function bench(options: SimulatedOptions = {}): Bench {
  const engine = new SimulatedEngine(options);
  const frames: [number, number][] = [];
  const sockets = new HostSockets(engine, {
    frame: (link, _offset, length) => frames.push([link, length]),
    linkDown: (link) => frames.push([link, -1]),
  });
  let work: () => void = () => {};
  engine.start(
    () => {
      sockets.beginTurn();
      sockets.dispatch();
      work();
      sockets.endOfTurn();
    },
    (error) => {
      throw error;
    },
  );
  return {
    engine,
    sockets,
    frames,
    turn: (action = () => {}) => {
      work = action;
      engine.turn();
      work = () => {};
    },
  };
}

function connected({ engine, sockets, turn }: Bench, handler: StreamHandler): number {
  const socket = sockets.connect(HTTP, null, handler);
  engine.streams[engine.streams.length - 1].establish();
  turn();
  return socket;
}

test("events reach the owner of the socket, and nobody else", (t) => {
  const b = bench();
  const logs = [new Log(), new Log()];
  const [first, second] = logs.map((log) => connected(b, log));
  b.turn(() => {
    b.sockets.credit(first, 1000, 1000);
    b.sockets.credit(second, 1000, 1000);
  });
  b.engine.streams[1].write(Buffer.from("hello"));
  b.engine.streams[1].finish();
  b.engine.settle();
  t.deepEqual(logs[0].entries, ["connected"]);
  t.deepEqual(logs[1].entries, ["connected", "data 5", "end"]);
});

test("who closes a socket hears nothing more of it, not even of what the same turn still holds", (t) => {
  const b = bench();
  const log = new Log();
  const socket = connected(b, log);
  log.onData = (number) => b.sockets.close(number);
  b.turn(() => b.sockets.credit(socket, 1000, 10));
  b.engine.streams[0].write(Buffer.alloc(30));
  b.engine.streams[0].finish();
  b.engine.settle();
  t.deepEqual(log.entries, ["connected", "data 10"]);
  t.is(b.engine.streams.length, 0);
  // Orders for what is gone are passed over: a protocol may learn of the end later.
  b.turn(() => {
    b.sockets.credit(socket, 1, 1);
    b.sockets.consume(socket, 1);
    b.sockets.send(socket, 0, 10);
    b.sockets.reset(socket);
  });
  t.pass();
});

test("a socket that failed is given back before its owner hears of it", (t) => {
  const b = bench();
  const log = new Log();
  b.sockets.connect(HTTP, null, log);
  b.engine.streams[0].fail(ECONNREFUSED);
  b.engine.settle();
  t.deepEqual(log.entries, [`failed ${ECONNREFUSED}`]);
  t.is(b.engine.streams.length, 0);
});

test("an engine's refusal comes back as it is, and leaves no owner", (t) => {
  const b = bench();
  b.engine.refuseOpen = -24;
  t.is(b.sockets.connect(HTTP, null, new Log()), -24);
  t.is(b.sockets.listen(HTTP, 5, { accepted: () => {} }), -24);
});

test("an accepted socket belongs to whoever takes it; of a listener that is gone it is reset", (t) => {
  const b = bench();
  const log = new Log();
  let accepted = 0;
  b.sockets.listen(HTTP, 5, {
    accepted: (listener, socket) => {
      accepted++;
      b.sockets.own(socket, log);
      b.sockets.credit(socket, 100, 100);
      b.sockets.close(listener);
    },
  });
  const listener = b.engine.opened[0];
  if (listener.kind !== "listener") return t.fail();
  listener.connect(CLIENT);
  listener.connect(CLIENT);
  b.turn();
  t.is(accepted, 1);
  t.is(b.engine.streams.length, 1, "the second was given back");
  b.engine.streams[0].write(Buffer.from("abc"));
  b.engine.settle();
  t.deepEqual(log.entries, ["data 3"]);
});

test("backlog counts what was sent in this turn, and what the kernel has left of it later", (t) => {
  const b = bench();
  const socket = connected(b, new Log());
  b.engine.streams[0].capacity = 4;
  b.turn(() => {
    t.is(b.sockets.backlog(socket), 0);
    t.true(b.sockets.sendCopy(socket, Buffer.from("0123456789")));
    t.is(b.sockets.backlog(socket), 10);
  });
  t.is(b.sockets.backlog(socket), 6);
  t.is(Buffer.from(b.engine.streams[0].received).toString(), "0123");
  b.turn(() => {
    b.sockets.sendCopy(socket, Buffer.from("ab"));
    t.is(b.sockets.backlog(socket), 8);
  });
});

test("copies end with the spare slots", (t) => {
  const b = bench({ spares: 3 });
  const socket = connected(b, new Log());
  b.turn(() => {
    const taken = Array.from({ length: 5 }, () => b.sockets.sendCopy(socket, Buffer.from("x")));
    t.deepEqual(taken, [true, true, true, false, false]);
  });
  t.is(Buffer.from(b.engine.streams[0].received).toString(), "xxx");
});

test("what a stream reports while its rewind waits is passed over, and reported again", (t) => {
  const { engine, sockets, turn } = bench({ maxCommands: 4 });
  const log = new Log();
  const socket = sockets.connect(HTTP, null, log);
  const [stream] = engine.streams;
  stream.establish();
  turn(() => sockets.credit(socket, 20, 10));
  stream.write(new Uint8Array(10));
  turn();
  stream.write(new Uint8Array(5));
  stream.finish();
  // Three records fill what orders may take: the rewind is carried out at the end of the turn that reports the rest.
  turn(() => {
    for (let i = 0; i < 3; i++) sockets.shutdown(socket);
    sockets.rewind(socket, 0);
    sockets.credit(socket, 20, 20);
  });
  stream.write(new Uint8Array(2));
  log.entries.length = 0;
  turn();
  t.deepEqual(log.entries, []);
  turn();
  t.deepEqual(log.entries, ["data 17", "end"]);
});

test("more orders than records wait for the next turns, in their order, and none is lost", (t) => {
  const b = bench({ maxCommands: 40, maxSockets: 200 });
  const streams = Array.from({ length: 100 }, () => connected(b, new Log()));
  b.turn(() => {
    for (const socket of streams) {
      b.sockets.shutdown(socket);
      b.sockets.close(socket);
    }
  });
  t.is(b.engine.memory.control[6], 1, "it asks for another turn");
  t.true(b.engine.streams.length > 0);
  b.engine.settle();
  t.is(b.engine.streams.length, 0);
});

test("an order between turns wakes the engine and is carried out in the next one", (t) => {
  const b = bench();
  const socket = connected(b, new Log());
  b.engine.woken = false;
  b.sockets.close(socket);
  t.true(b.engine.woken);
  b.engine.settle();
  t.is(b.engine.streams.length, 0);
});

test("a spliced pair has no owner until its end is told, once", (t) => {
  const b = bench();
  const logs = [new Log(), new Log()];
  const [first, second] = logs.map((log) => connected(b, log));
  const ends: number[] = [];
  b.turn(() => b.sockets.splice(first, second, (errno) => ends.push(errno)));
  t.deepEqual(b.engine.spliced, [[first, second]]);
  b.turn(() => b.sockets.credit(first, 10, 10));
  b.engine.endSplice(first, 0);
  b.engine.settle();
  t.deepEqual(ends, [0]);
  t.true(logs.every((log) => log.entries.length === 1));
});

test("splicing with a socket that is gone ends at once and resets the other", async (t) => {
  const b = bench();
  const [first, second] = [new Log(), new Log()].map((log) => connected(b, log));
  b.turn(() => b.sockets.close(first));
  const errno = await new Promise<number>((resolve) => {
    b.turn(() => b.sockets.splice(first, second, resolve));
  });
  t.is(errno, ENOTCONN);
  t.is(b.engine.streams.length, 0);
});

test("frames go to the link's handler with the place of their first byte", (t) => {
  const b = bench();
  const link = b.engine.addLink(0);
  b.engine.link(link).incoming.push(new Uint8Array(60), new Uint8Array(1500));
  b.engine.settle();
  t.deepEqual(b.frames, [
    [link, 60],
    [link, 1500],
  ]);
});

test("an event of a kind that nobody knows is an error, not silence", (t) => {
  const b = bench();
  b.engine.memory.control[0] = 1;
  b.engine.memory.events[0] = 99;
  t.throws(() => b.sockets.dispatch(), { message: /unknown kind 99/ });
});

test("more datagrams in one turn than there is room for: the rest is dropped and counted, and nothing else ends", (t) => {
  const { engine, sockets, turn } = bench();
  const socket = sockets.open(4, null, { datagram: () => {}, datagramFailed: () => {} });
  const capacity = engine.memory.commands.length / COMMAND_STRIDE;
  const place = engine.memory.slots * SLOT_SIZE; // small frames
  turn(() => {
    for (let i = 0; i < 2 * capacity; i++) sockets.sendTo(socket, place, 1, 0, HTTP, null);
  });
  t.is(sockets.dropped, 2 * capacity - Math.floor((capacity * 15) / 16));
  turn(() => sockets.sendTo(socket, place, 1, 0, HTTP, null));
  t.is(engine.datagrams[0].take().length, Math.floor((capacity * 15) / 16) + 1);
});
