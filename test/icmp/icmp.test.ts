import test from "ava";
import { PING_IDLE, PING_LIMIT } from "../../src/icmp/icmp.js";
import { endpoint, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { PING_GATEWAY } from "../simulation/captured.js";
import { echo, frame, ipv4, sum } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const OUTSIDE = "198.51.100.7";
const at = (address: string) => endpoint(parseAddress(address), 0);
const ping = (id: number, sequence: number, payload: ArrayLike<number> = [1, 2, 3], destination = OUTSIDE) =>
  frame(0x0800, ipv4({ destination, protocol: 1, payload: echo(8, id, sequence, payload) }));

test("ping of the gateway is answered at once, payload and all", (t) => {
  const [reply] = new SimulatedNetwork().exchange(PING_GATEWAY);
  t.is(reply.source, "10.0.2.2");
  t.is(reply.destination, "10.0.2.100");
  t.true(reply.headerValid);
  t.is(sum(reply.payload), 0);
  t.is(reply.payload[0], 0);
  t.deepEqual([...reply.payload.subarray(4)], [...PING_GATEWAY.subarray(12 + 14 + 20 + 4)]);
});

test("a large ping, in fragments there and back", (t) => {
  const message = echo(8, 7, 1, new Uint8Array(8000).fill(9));
  const frames: Uint8Array[] = [];
  for (let from = 0; from < message.length; from += 1480) {
    const more = from + 1480 < message.length ? 0x2000 : 0;
    const payload = message.subarray(from, from + 1480);
    frames.push(frame(0x0800, ipv4({ destination: "10.0.2.3", protocol: 1, fragment: (from >> 3) | more, payload })));
  }
  const replies = new SimulatedNetwork().exchange(...frames);
  t.is(replies.length, 6);
  const whole = Buffer.concat(replies.map(({ payload }) => payload));
  t.is(sum(whole), 0);
  t.is(Buffer.compare(whole.subarray(4), message.subarray(4)), 0);
});

test("ping of another address: out through a ping socket, the id put back on the way in", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(ping(0x1234, 5));
  const [socket] = network.engine.datagrams;
  t.true(socket.ping);
  const [sent] = socket.take();
  t.is(formatEndpoint(sent.remote), "198.51.100.7:0");
  t.deepEqual([...sent.bytes], [...echo(8, 0x1234, 5, [1, 2, 3])]);
  // The host's kernel has put its own id into the request, and so into the reply.
  socket.deliver(echo(0, 0x9999, 5, [1, 2, 3]), at(OUTSIDE));
  network.engine.settle();
  const [reply] = network.received();
  t.is(reply.source, OUTSIDE);
  t.deepEqual([...reply.payload], [...echo(0, 0x1234, 5, [1, 2, 3])]);
});

test("one socket for each id and destination; strangers' replies are dropped", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(ping(1, 1), ping(1, 2), ping(2, 1), ping(1, 1, [], "203.0.113.5"));
  t.is(network.engine.datagrams.length, 3);
  network.engine.datagrams[0].deliver(echo(0, 1, 1, []), at("203.0.113.66"));
  network.engine.datagrams[0].deliver(echo(8, 1, 1, []), at(OUTSIDE));
  network.engine.datagrams[0].deliver(Uint8Array.of(0), at(OUTSIDE));
  network.engine.settle();
  t.is(network.received().length, 0);
  t.is(network.counters.get("icmp.unexpected_reply"), 3);
});

test("a host that allows no ping sockets: the sandbox is told, and a counter says why", (t) => {
  const network = new SimulatedNetwork();
  network.engine.refuseOpen = -13;
  const [error] = network.exchange(ping(1, 1));
  t.deepEqual([...error.payload.subarray(0, 2)], [3, 13]);
  t.is(network.counters.get("icmp.ping_socket_refused"), 1);
  t.is(network.flows.size, 0);
});

test("an unreachable host: the error is about the request as the sandbox sent it", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(ping(0x1234, 5));
  const [socket] = network.engine.datagrams;
  socket.fail(echo(8, 0x9999, 5, [1, 2, 3]), at(OUTSIDE), at("203.0.113.1"), { errno: 113, type: 3, code: 1, info: 0 });
  network.engine.settle();
  const [error] = network.received();
  t.is(error.source, "203.0.113.1");
  t.deepEqual([...error.payload.subarray(0, 2)], [3, 1]);
  t.deepEqual([...error.payload.subarray(8 + 20)], [...echo(8, 0x1234, 5, [1, 2, 3])]);
});

test("what policy refuses is refused: nobody there, and silence for groups", (t) => {
  const network = new SimulatedNetwork();
  const [error] = network.exchange(ping(1, 1, [], "10.0.2.77"));
  t.deepEqual([...error.payload.subarray(0, 2)], [3, 1]);
  t.is(network.engine.datagrams.length, 0);
});

test("silence ends a ping, and there are never too many", (t) => {
  const network = new SimulatedNetwork();
  for (let id = 0; id < PING_LIMIT + 20; id++) {
    network.engine.advance(1);
    network.exchange(ping(id, 1));
  }
  t.is(network.icmp.flowCount, PING_LIMIT);
  t.is(network.engine.datagrams.length, PING_LIMIT);
  t.is(network.counters.get("icmp.flow_limit"), 20);
  network.pass(PING_IDLE + 10);
  t.deepEqual([network.icmp.flowCount, network.flows.size, network.timers.size], [0, 0, 0]);
  t.is(network.engine.datagrams.length, 0);
});

test("malformed messages and other types are counted, not answered", (t) => {
  const network = new SimulatedNetwork();
  const broken = echo(8, 1, 1, [1, 2, 3]);
  broken[9] ^= 1;
  const send = (payload: Uint8Array) => network.exchange(frame(0x0800, ipv4({ protocol: 1, payload })));
  t.is(send(broken).length, 0);
  t.is(send(echo(8, 1, 1, []).subarray(0, 7)).length, 0);
  t.is(send(echo(13, 1, 1, new Uint8Array(12))).length, 0);
  t.is(send(echo(3, 0, 0, new Uint8Array(28))).length, 0);
  for (const counter of ["icmp.checksum", "icmp.malformed", "icmp.unknown_type", "icmp.error_ignored"]) {
    t.is(network.counters.get(counter), 1, counter);
  }
});
