import test from "ava";
import { Counters } from "../../src/flow/counters.js";
import { HostSockets } from "../../src/host/host-sockets.js";
import { DirectPath } from "../../src/publish/direct.js";
import { TcpPort } from "../../src/publish/tcp.js";
import { endpoint, formatAddress, parseAddress } from "../../src/wire/address.js";
import { SimulatedEngine } from "../simulation/engine.js";

const client = (address: string, port: number) => endpoint(parseAddress(address), port);

/** A published port whose sandbox has not joined yet. `join()` has it join; `carried` tells who was carried to it. */
function published() {
  const engine = new SimulatedEngine();
  const counters = new Counters();
  const streams = new HostSockets(engine, { frame: () => {}, linkDown: () => {} });
  engine.start(
    () => {
      streams.dispatch();
      streams.endOfTurn();
    },
    () => {},
  );
  const port = new TcpPort({ streams, counters, insidePort: 80 });
  streams.listen(client("0.0.0.0", 6000), 16, port);
  const [listener] = engine.opened;
  if (listener.kind !== "listener") throw new Error("no listener");
  const inside = { socket: () => new Promise<number>(() => {}), discard: () => {} };
  const direct = new DirectPath({ streams, counters, turns: { enter: (action) => action() }, inside });
  const carried: string[] = [];
  const heard: string[] = [];
  const join = () =>
    port.join(
      direct,
      (socket, address, clientPort) => {
        const name = `${formatAddress(address)}:${clientPort}`;
        carried.push(name);
        streams.own(socket, {
          connected: () => {},
          data: () => {},
          end: () => heard.push(`${name} ended`),
          failed: () => heard.push(`${name} failed`),
          drained: () => {},
        });
      },
      { 4: [parseAddress("127.0.0.1")], 6: [parseAddress("::1")] },
    );
  return { engine, listener, join, carried, heard };
}

test("who goes away before the sandbox is up is forgotten, also where another gets the same socket number", (t) => {
  const { engine, listener, join, carried, heard } = published();
  listener.connect(client("203.0.113.5", 1000));
  engine.settle();
  engine.streams[0].fail(104);
  engine.settle();
  listener.connect(client("203.0.113.6", 2000));
  engine.settle();
  t.is(engine.streams.length, 1);
  join();
  engine.settle();
  t.deepEqual(carried, ["203.0.113.6:2000"]);
  t.deepEqual(heard, []);
});

test("the end of a stream that came while the client waited is heard by whoever serves it", (t) => {
  const { engine, listener, join, heard } = published();
  listener.connect(client("203.0.113.5", 1000));
  engine.settle();
  engine.streams[0].finish();
  engine.settle();
  join();
  engine.settle();
  t.deepEqual(heard, ["203.0.113.5:1000 ended"]);
});
