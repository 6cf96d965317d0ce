import test from "ava";
import { Counters } from "../../src/flow/counters.js";
import { Timers } from "../../src/flow/timers.js";
import { HostSockets } from "../../src/host/host-sockets.js";
import { UdpPort } from "../../src/publish/udp.js";
import { endpoint, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { SimulatedEngine } from "../simulation/engine.js";

const at = (address: string, port: number) => endpoint(parseAddress(address), port);

/** A published port with a sandbox behind it. `makes`: whether a socket inside can be made the next times; then they can. */
function published(makes: boolean[] = []) {
  const engine = new SimulatedEngine();
  const counters = new Counters();
  const timers = new Timers(0);
  const datagrams = new HostSockets(engine, { frame: () => {}, linkDown: () => {} });
  const entering: (() => void)[] = [];
  engine.start(
    () => {
      datagrams.dispatch();
      for (const action of entering.splice(0)) action();
      datagrams.endOfTurn();
    },
    () => {},
  );
  const turns = {
    enter: (action: () => void) => {
      entering.push(action);
      engine.wake();
    },
  };
  const clock = { now: () => engine.now };
  const port = new UdpPort({ datagrams, clock, counters, timers, turns, family: 4, insidePort: 53 });
  datagrams.open(4, at("127.0.0.1", 6000), port);
  port.join({
    direct: {
      inside: {
        socket: () => (makes.shift() === false ? Promise.reject(new Error("no socket")) : Promise.resolve(3)),
        discard: () => {},
      },
      targets: ["127.0.0.1", "10.0.2.100"].map(parseAddress),
    },
    through: { datagram: () => {}, datagramFailed: () => {} },
  });
  const [host] = engine.datagrams;
  const settle = async () => {
    for (let i = 0; i < 4; i++) {
      engine.settle();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const ask = (port: number) => host.deliver(Uint8Array.of(port & 0xff), at("127.0.0.1", port));
  /** What was sent inside: to where, and by which client. */
  const sent = () =>
    engine.datagrams
      .filter((socket) => socket !== host)
      .flatMap((socket) => socket.take())
      .map(({ remote, bytes }) => `${formatEndpoint(remote)} ${bytes[0]}`);
  return { ask, settle, sent, engine };
}

test("where no socket to the first target can be had, the next is tried; after the last, the first again", async (t) => {
  const { ask, settle, sent } = published([false, true]);
  ask(1);
  await settle();
  t.deepEqual(sent(), ["10.0.2.100:53 1"]);

  const other = published([false, false, true]);
  other.ask(1);
  await other.settle();
  t.deepEqual(other.sent(), []);
  other.ask(1);
  await other.settle();
  t.deepEqual(other.sent(), ["127.0.0.1:53 1"]);
});

test("the first datagrams of many clients at once all arrive", async (t) => {
  const { ask, settle, sent } = published();
  for (let client = 1; client <= 40; client++) ask(client);
  await settle();
  t.deepEqual(
    sent(),
    Array.from({ length: 40 }, (_, i) => `127.0.0.1:53 ${i + 1}`),
  );
});

test("of too many clients the longest idle goes: one that is still answered is not", async (t) => {
  const { ask, settle, engine } = published();
  for (let client = 1; client <= 1024; client++) {
    ask(client);
    if (client % 32 === 0) await settle();
  }
  const [, first, second] = engine.datagrams;
  first.deliver(Uint8Array.of(9), at("127.0.0.1", 53));
  await settle();
  ask(1025);
  await settle();
  t.deepEqual([first.closed, second.closed], [false, true]);
});
