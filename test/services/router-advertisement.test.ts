import test from "ava";
import { MULTICAST_INTERVAL, PERIOD } from "../../src/services/router-advertisement.js";
import { ROUTER_SOLICITATION } from "../simulation/captured.js";
import {
  frame,
  icmp6,
  icmp6ChecksumValid,
  ip6,
  ipv6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  SANDBOX_MAC,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const FOR_EVER = [0xff, 0xff, 0xff, 0xff];

/** A solicitation of a host that has no address yet, or of one that must not be believed. */
function solicitation(source = "::", options: number[] = [], hops = 255) {
  const payload = icmp6(133, 0, [0, 0, 0, 0, ...options], source, "ff02::2");
  return frame(0x86dd, ipv6({ source, destination: "ff02::2", next: 58, hops, payload }), [0x33, 0x33, 0, 0, 0, 2]);
}

test("Linux's solicitation is answered with router, MTU, prefix, resolver and search domain (RFC 4861, RFC 8106)", (t) => {
  const [answer, ...more] = new SimulatedNetwork({ mtu: 4000 }).exchange(ROUTER_SOLICITATION);
  t.is(more.length, 0);
  t.is(answer.to, "02:11:22:33:44:55");
  t.deepEqual([answer.source, answer.destination, answer.ttl], [OUR_LINK_LOCAL, "fe80::11:22ff:fe33:4455", 255]);
  t.true(icmp6ChecksumValid(answer.source, answer.destination, answer.payload));
  const expected = [64, 0xc0, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0];
  expected.push(1, 1, ...OUR_MAC);
  expected.push(5, 1, 0, 0, 0, 0, 0x0f, 0xa0);
  expected.push(3, 4, 64, 0xc0, ...FOR_EVER, ...FOR_EVER, 0, 0, 0, 0, ...ip6("fd00::"));
  expected.push(25, 3, 0, 0, ...FOR_EVER, ...ip6("fd00::3"));
  const name = [...Buffer.from("\x07example\x03net\x00")];
  expected.push(31, 3, 0, 0, ...FOR_EVER, ...name, 0, 0, 0);
  t.deepEqual([...answer.payload.subarray(0, 2)], [134, 0]);
  t.deepEqual([...answer.payload.subarray(4)], expected);
});

test("a solicitation without a source is answered to all, once in three seconds; one that was forwarded is not", (t) => {
  const network = new SimulatedNetwork();
  const [answer] = network.exchange(solicitation());
  t.deepEqual([answer.destination, answer.to], ["ff02::1", "33:33:00:00:00:01"]);
  t.is(network.exchange(solicitation()).length, 0);
  t.is(network.counters.get("router.rate_limit"), 1);
  network.pass(MULTICAST_INTERVAL);
  t.is(network.exchange(solicitation()).length, 1);
  t.is(network.exchange(solicitation("fe80::11:22ff:fe33:4455", [], 64)).length, 0);
  t.is(network.exchange(solicitation("::", [1, 1, ...SANDBOX_MAC])).length, 0);
  t.is(network.counters.get("stack.ndp_malformed"), 2);
});

test("whoever asked once hears of us again before our lifetime is over; whoever did not, never", (t) => {
  const network = new SimulatedNetwork();
  t.is(network.timers.size, 0);
  network.exchange(ROUTER_SOLICITATION);
  for (let i = 0; i < 3; i++) {
    network.pass(PERIOD);
    const [again, ...more] = network.received();
    t.is(more.length, 0);
    t.deepEqual([again.destination, again.payload[0]], ["ff02::1", 134]);
  }
  network.ingress.removeLink(network.link);
  t.is(network.timers.size, 0);
});
