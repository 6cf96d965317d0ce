import test from "ava";
import { NetnsError } from "../../src/errors.js";
import type { PublishSpec } from "../../src/policy/config.js";
import type { OpenPort } from "../../src/publish/listeners.js";
import { AutoPublish, MAX_OPEN } from "../../src/watch/auto-publish.js";
import { formatAddress, parseAddress } from "../../src/wire/address.js";

/** A host on which the ports of `taken` cannot be opened. `listen()` is one look at the sandbox. */
function host(address: string | null, byHand: Partial<PublishSpec>[] = []) {
  const taken = new Map<number, string>();
  const warned: string[] = [];
  const clock = { now: 0 };
  const tried: number[] = [];
  const open = (spec: PublishSpec): OpenPort => ({
    spec,
    sockets: [spec.hostPort],
    address: spec.host ?? parseAddress("0.0.0.0"),
    port: spec.hostPort,
  });
  const given: PublishSpec = { protocol: "tcp", host: null, hostPort: 0, insidePort: 0 };
  const published = byHand.map((spec) => open({ ...given, ...spec }));
  const auto = new AutoPublish({
    host: address === null ? null : parseAddress(address),
    now: () => clock.now,
    log: { debug() {}, info() {}, warn: (message) => warned.push(message), error() {} },
    ports: {
      published,
      addPort: (spec) => {
        tried.push(spec.hostPort);
        const refusal = taken.get(spec.hostPort);
        if (refusal !== undefined) throw new NetnsError("PORT_BUSY", refusal);
        const port = open(spec);
        published.push(port);
        return port;
      },
      removePort: (port) => published.splice(published.indexOf(port), 1),
    },
  });
  return {
    taken,
    warned,
    clock,
    tried,
    listen: (...ports: number[]) => {
      auto.look(new Set(ports));
      return published.map(({ spec }) => {
        const where = spec.host === null ? "" : `${formatAddress(spec.host)}:`;
        return `${where}${spec.hostPort}:${spec.insidePort}/${spec.protocol}`;
      });
    },
  };
}

test("a port is open on the same number while the sandbox listens, and closed when it does not", (t) => {
  const { listen, warned, tried } = host(null);
  t.deepEqual(listen(8080), ["8080:8080/tcp"]);
  t.deepEqual(listen(8080, 9000), ["8080:8080/tcp", "9000:9000/tcp"]);
  t.deepEqual(listen(9000), ["9000:9000/tcp"]);
  t.deepEqual(listen(), []);
  t.deepEqual(listen(8080), ["8080:8080/tcp"]);
  t.deepEqual(tried, [8080, 9000, 8080], "each is opened once");
  t.deepEqual(warned, []);
});

test("with an address, at that one", (t) => {
  t.deepEqual(host("127.0.2.10").listen(8080), ["127.0.2.10:8080:8080/tcp"]);
});

test("a port that the host refuses is told once, and tried again every second while the sandbox listens", (t) => {
  const { taken, warned, clock, tried, listen } = host(null);
  taken.set(80, "cannot publish 0.0.0.0:80/tcp: it is taken; choose another host port");
  t.deepEqual(listen(80, 8080), ["8080:8080/tcp"]);
  const told = [
    "cannot publish 0.0.0.0:80/tcp: it is taken; it is tried again for as long as the sandbox listens there",
  ];
  t.deepEqual(warned, told);
  for (clock.now = 100; clock.now < 5000; clock.now += 100) listen(80, 8080);
  t.deepEqual(warned, told);
  t.is(tried.filter((port) => port === 80).length, 5);
  taken.clear();
  clock.now += 1000;
  t.deepEqual(listen(80, 8080), ["8080:8080/tcp", "80:80/tcp"]);
});

test("a port that was refused, and is listened on anew, is told anew", (t) => {
  const { taken, warned, listen } = host(null);
  taken.set(80, "no");
  listen(80);
  listen();
  listen(80);
  t.is(warned.length, 2);
});

test("what was published by hand to the same number is left alone, and stays when the server ends", (t) => {
  const everywhere = host("127.0.2.10", [{ hostPort: 8080, insidePort: 8080 }]);
  t.deepEqual(everywhere.listen(8080), ["8080:8080/tcp"]);
  t.deepEqual(everywhere.listen(), ["8080:8080/tcp"]);
  const elsewhere = host("127.0.2.10", [{ hostPort: 8080, insidePort: 8080, host: parseAddress("127.0.0.1") }]);
  t.deepEqual(elsewhere.listen(8080), ["127.0.0.1:8080:8080/tcp", "127.0.2.10:8080:8080/tcp"]);
  // What is taken at one address cannot be had at all of them.
  const everywhereElse = host(null, [{ hostPort: 8080, insidePort: 8080, host: parseAddress("127.0.0.1") }]);
  t.deepEqual(everywhereElse.listen(8080), ["127.0.0.1:8080:8080/tcp"]);
  const other = host(null, [
    { hostPort: 6000, insidePort: 8080 },
    { hostPort: 8080, insidePort: 8080, protocol: "udp" },
  ]);
  t.is(other.listen(8080).at(-1), "8080:8080/tcp");
});

test("a sandbox that listens everywhere has its bound, which is told once", (t) => {
  const { warned, listen } = host(null);
  const all = Array.from({ length: MAX_OPEN + 100 }, (_, i) => 2000 + i);
  t.is(listen(...all).length, MAX_OPEN);
  listen(...all);
  t.is(warned.length, 1);
  t.true(listen(...all.slice(50)).includes(`${2000 + MAX_OPEN + 49}:${2000 + MAX_OPEN + 49}/tcp`));
});
