import test from "ava";
import { NetnsError } from "../../src/errors.js";
import type { PublishSpec } from "../../src/policy/config.js";
import { openAll } from "../../src/publish/listeners.js";
import {
  type Endpoint,
  endpoint,
  endpointAddress,
  endpointPort,
  formatAddress,
  formatEndpoint,
  parseAddress,
} from "../../src/wire/address.js";

const EADDRINUSE = 98;
const EAFNOSUPPORT = 97;

/** A host where these endpoints are taken. Port 0 gives the next of `free`. `hasIPv6`: whether it can make such sockets. */
function host({
  taken = [],
  free = [],
  hasIPv6 = true,
}: {
  taken?: string[];
  free?: number[];
  hasIPv6?: boolean;
} = {}) {
  const bound = new Map<number, Endpoint>();
  let sockets = 0;
  const binding = {
    open(_spec: PublishSpec, local: Endpoint) {
      if (local[0] === 6 && !hasIPv6) return -EAFNOSUPPORT;
      const got = endpoint(endpointAddress(local), endpointPort(local) || (free.shift() ?? 0));
      if (taken.includes(formatEndpoint(got))) return -EADDRINUSE;
      bound.set(sockets, got);
      return sockets++;
    },
    close: (socket: number) => bound.delete(socket),
    local: (socket: number) => bound.get(socket) ?? endpoint(parseAddress("::"), 0),
  };
  return { binding, listening: () => [...bound.values()].map((each) => formatEndpoint(each)) };
}

function spec(address: string | null, hostPort: number): PublishSpec {
  return { protocol: "tcp", host: address === null ? null : parseAddress(address), hostPort, insidePort: 80 };
}

test("without an address a port is opened in both families, and told once", (t) => {
  const { binding, listening } = host();
  const [open] = openAll([spec(null, 6000)], binding);
  t.deepEqual(listening(), ["0.0.0.0:6000", "[::]:6000"]);
  t.is(`${formatAddress(open.address)}:${open.port}`, "0.0.0.0:6000");
  t.is(open.sockets.length, 2);
});

test("with an address, there alone", (t) => {
  for (const [address, expected] of [
    ["0.0.0.0", "0.0.0.0:6000"],
    ["::", "[::]:6000"],
    ["::1", "[::1]:6000"],
  ] as const) {
    const { binding, listening } = host();
    t.is(openAll([spec(address, 6000)], binding)[0].sockets.length, 1);
    t.deepEqual(listening(), [expected]);
  }
});

test("a host without IPv6 has IPv4 alone", (t) => {
  const { binding, listening } = host({ hasIPv6: false });
  t.is(openAll([spec(null, 6000)], binding)[0].sockets.length, 1);
  t.deepEqual(listening(), ["0.0.0.0:6000"]);
});

test("a port that is taken in one family only is taken, and nothing stays open", (t) => {
  for (const taken of ["0.0.0.0:6000", "[::]:6000"]) {
    const { binding, listening } = host({ taken: [taken] });
    const error = t.throws(() => openAll([spec(null, 5999), spec(null, 6000)], binding), { instanceOf: NetnsError });
    t.is(error.code, "PORT_BUSY");
    t.true(error.message.includes(`cannot publish ${taken}/tcp: the port is in use`), error.message);
    t.deepEqual(listening(), []);
  }
});

test("any free port is one that is free in both families", (t) => {
  const { binding, listening } = host({ free: [40001, 40002], taken: ["[::]:40001"] });
  t.is(openAll([spec(null, 0)], binding)[0].port, 40002);
  t.deepEqual(listening(), ["0.0.0.0:40002", "[::]:40002"]);
});

test("where no such port can be found, the search has an end", (t) => {
  const free = Array.from({ length: 100 }, (_, i) => 40000 + i);
  const { binding, listening } = host({ free: [...free], taken: free.map((port) => `[::]:${port}`) });
  t.throws(() => openAll([spec(null, 0)], binding), { message: /in use/ });
  t.deepEqual(listening(), []);
});
