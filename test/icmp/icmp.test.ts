import test from "ava";
import { PING_IDLE, PING_LIMIT } from "../../src/icmp/icmp.js";
import { endpoint, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { PING_GATEWAY } from "../simulation/captured.js";
import { BOTH, V4, V6 } from "../simulation/families.js";
import { echo, frame, icmp6, icmp6ChecksumValid, ipv4, ipv6, OUR_LINK_LOCAL, sum, u16 } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const OUTSIDE = V4.outside;
const at = (address: string) => endpoint(parseAddress(address), 0);
/** A request of the sandbox, of the destination's family. */
function ping(
  id: number,
  sequence: number,
  payload: ArrayLike<number> = [1, 2, 3],
  destination: string = OUTSIDE,
): Uint8Array {
  const inet = destination.includes(":") ? V6 : V4;
  const message = inet.ping(inet.echo, id, sequence, payload, inet.inside, destination);
  return inet.packet(inet.icmp, message, destination);
}

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

for (const inet of BOTH) {
  test(`${inet.name}: ping of another address: out through a ping socket, the id put back on the way in`, (t) => {
    const network = new SimulatedNetwork();
    const request = inet.ping(inet.echo, 0x1234, 5, [1, 2, 3], inet.inside, inet.outside);
    network.exchange(ping(0x1234, 5, [1, 2, 3], inet.outside));
    const [socket] = network.engine.datagrams;
    t.true(socket.ping);
    const [sent] = socket.take();
    t.is(formatEndpoint(sent.remote), formatEndpoint(at(inet.outside)));
    t.deepEqual([...sent.bytes], [...request]);
    // The host's kernel has put its own id into the request, and so into the reply.
    socket.deliver(inet.ping(inet.echoReply, 0x9999, 5, [1, 2, 3], inet.outside, inet.inside), at(inet.outside));
    network.engine.settle();
    const [reply] = network.received();
    t.is(reply.source, inet.outside);
    t.deepEqual([...reply.payload], [...inet.ping(inet.echoReply, 0x1234, 5, [1, 2, 3], inet.outside, inet.inside)]);
  });
}

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

for (const inet of BOTH) {
  test(`${inet.name}: an unreachable host: the error is about the request as the sandbox sent it`, (t) => {
    const network = new SimulatedNetwork();
    const request = inet.ping(inet.echo, 0x1234, 5, [1, 2, 3], inet.inside, inet.outside);
    network.exchange(ping(0x1234, 5, [1, 2, 3], inet.outside));
    const [socket] = network.engine.datagrams;
    const [type, code] = inet.noHost;
    socket.fail(
      inet.ping(inet.echo, 0x9999, 5, [1, 2, 3], inet.inside, inet.outside),
      at(inet.outside),
      at(inet.router),
      { errno: 113, type, code, info: 0 },
    );
    network.engine.settle();
    const [error] = network.received();
    t.is(error.source, inet.router);
    t.deepEqual([...error.payload.subarray(0, 2)], [type, code]);
    t.deepEqual([...error.payload.subarray(8 + inet.header)], [...request]);
  });
}

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

test("IPv6: our own addresses are answered, what is broken is not, and refusals have ICMPv6's codes", (t) => {
  const network = new SimulatedNetwork();
  for (const address of [V6.gateway, V6.dns, OUR_LINK_LOCAL]) {
    const [reply] = network.exchange(ping(7, 1, new Uint8Array(1000), address));
    t.deepEqual([reply.source, reply.destination, reply.ttl], [address, V6.inside, 64]);
    t.deepEqual([...reply.payload], [...V6.ping(V6.echoReply, 7, 1, new Uint8Array(1000), address, V6.inside)]);
  }
  t.deepEqual([...network.exchange(ping(1, 1, [], V6.nobody))[0].payload.subarray(0, 2)], [...V6.noHost]);
  const broken = ping(7, 1, [1, 2, 3], V6.gateway);
  broken[broken.length - 1] ^= 1;
  t.is(network.exchange(broken).length, 0);
  t.is(network.counters.get("icmp.checksum"), 1);
  t.is(network.exchange(V6.packet(58, icmp6(1, 4, new Uint8Array(52)), V6.outside)).length, 0);
  t.is(network.counters.get("icmp.error_ignored"), 1);
  network.engine.refuseOpen = -13;
  const [refused] = network.exchange(ping(1, 1, [], V6.outside));
  t.deepEqual([...refused.payload.subarray(0, 2)], [...V6.prohibited]);
});

test("IPv6: a large ping, in fragments there and back", (t) => {
  const message = V6.ping(V6.echo, 7, 1, new Uint8Array(8000).fill(9), V6.inside, V6.dns);
  const frames: Uint8Array[] = [];
  for (let from = 0; from < message.length; from += 1448) {
    const more = from + 1448 < message.length ? 1 : 0;
    const extensions = [58, 0, ...u16(from | more), 0, 0, 0, 7];
    const packet = ipv6({ destination: V6.dns, next: 44, extensions, payload: message.subarray(from, from + 1448) });
    frames.push(frame(0x86dd, packet));
  }
  const replies = new SimulatedNetwork().exchange(...frames);
  t.is(replies.length, 6);
  const whole = Buffer.concat(replies.map(({ payload }) => payload));
  t.true(icmp6ChecksumValid(V6.dns, V6.inside, whole));
  t.is(Buffer.compare(whole.subarray(4), message.subarray(4)), 0);
});
