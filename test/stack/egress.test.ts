import test from "ava";
import { Counters } from "../../src/flow/counters.js";
import { Control } from "../../src/native/engine.js";
import { Egress } from "../../src/stack/egress.js";
import { Neighbours } from "../../src/stack/neighbours.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { Reject, reported } from "../../src/wire/reject.js";
import { SimulatedEngine } from "../simulation/engine.js";
import {
  echo,
  echo6,
  frame,
  icmp6,
  icmp6ChecksumValid,
  ip4,
  ip6,
  ipv4,
  ipv6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  parse,
  partialChecksum,
  SANDBOX_MAC,
  SANDBOX_V6,
  u32,
  udp,
  udpChecksumValid,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const OUTSIDE = parseAddress("198.51.100.7");
const INSIDE = parseAddress("10.0.2.100");
const OUTSIDE_V6 = parseAddress("2001:db8::7");
const INSIDE_V6 = parseAddress(SANDBOX_V6);

function rig(options: { mtu?: number; uso?: boolean; maxCommands?: number } = {}) {
  const engine = new SimulatedEngine({ maxCommands: options.maxCommands ?? 8192 });
  const counters = new Counters();
  const neighbours = new Neighbours();
  const egress = new Egress({
    memory: engine.memory,
    neighbours,
    clock: { now: () => engine.now },
    counters,
    mtu: options.mtu ?? 1500,
    gateway: parseAddress("10.0.2.2"),
    v6: { gateway: parseAddress("fd00::2"), linkLocal: parseAddress(OUR_LINK_LOCAL) },
    mac: Uint8Array.from(OUR_MAC),
  });
  const link = engine.addLink(-1);
  egress.addLink(link, options.uso ?? true);
  neighbours.seed(link, INSIDE, Uint8Array.from(SANDBOX_MAC));
  neighbours.seed(link, INSIDE_V6, Uint8Array.from(SANDBOX_MAC));
  let work = () => {};
  engine.start(
    () => {
      egress.beginTurn();
      work();
    },
    () => {},
  );
  const turn = (action: () => void) => {
    work = action;
    engine.turn();
    return engine.link(link).take().map(parse);
  };
  return { engine, counters, neighbours, egress, link, turn };
}

test("a TCP segment: addresses, DF, TTL, and a checksum that the kernel completes", (t) => {
  const { egress, link, turn } = rig();
  const [segment] = turn(() => {
    const at = egress.small(20);
    egress.bytes.fill(0, at, at + 20);
    egress.send(link, 6, OUTSIDE, INSIDE, at, 20, 20, 0);
  });
  t.is(segment.to, "02:11:22:33:44:55");
  t.is(segment.from, "52:55:0a:00:02:02");
  t.deepEqual([segment.source, segment.destination, segment.protocol], ["198.51.100.7", "10.0.2.100", 6]);
  t.deepEqual([segment.ttl, segment.fragment], [64, 0x4000]);
  t.true(segment.headerValid);
  t.deepEqual(segment.vnet, { flags: 1, gso: 0, headers: 0, size: 0, start: 34, offset: 16 });
  t.is(segment.payload[16] * 256 + segment.payload[17], partialChecksum(segment));
});

test("a TCP super-frame is one write that names its segments", (t) => {
  const { egress, link, turn } = rig();
  const [segment, ...more] = turn(() => {
    const at = egress.large();
    egress.send(link, 6, OUTSIDE, INSIDE, at, 20 + 64_240, 20, 1460);
  });
  t.is(more.length, 0);
  t.is(segment.payload.length, 64_260);
  t.deepEqual(segment.vnet, { flags: 1, gso: 1, headers: 54, size: 1460, start: 34, offset: 16 });
  t.is(segment.payload[16] * 256 + segment.payload[17], partialChecksum(segment));
});

/** Sends `count` datagrams of `size` bytes as one super-frame, and returns all datagrams that came out. */
function superFrame(options: { mtu?: number; uso?: boolean }, size: number, count: number, last = size) {
  const { egress, link, turn } = rig(options);
  const payload = Uint8Array.from({ length: size * (count - 1) + last }, (_, i) => (i * 7) & 0xff);
  const frames = turn(() => {
    const at = egress.large();
    egress.bytes.set([0x13, 0x88, 0, 9, 0, 0, 0, 0], at);
    egress.bytes.set(payload, at + 8);
    egress.send(link, 17, OUTSIDE, INSIDE, at, 8 + payload.length, 8, size);
  });
  const joined = Buffer.concat(frames.map((one) => one.payload.subarray(8)));
  return { frames, intact: Buffer.compare(joined, payload) === 0 };
}

test("a UDP super-frame is one write where the kernel takes it", (t) => {
  const { frames, intact } = superFrame({}, 1000, 20, 300);
  t.true(intact);
  t.is(frames.length, 1);
  t.deepEqual(frames[0].vnet, { flags: 1, gso: 5, headers: 42, size: 1000, start: 34, offset: 6 });
  t.is(frames[0].payload[4] * 256 + frames[0].payload[5], 8 + 19_300);
});

test("more datagrams than a kernel takes at once go as several super-frames", (t) => {
  const { frames, intact } = superFrame({}, 100, 150);
  t.true(intact);
  t.deepEqual(
    frames.map((one) => (one.payload.length - 8) / 100),
    [64, 64, 22],
  );
});

test("without USO each datagram is a frame of its own, ports and lengths in each", (t) => {
  const { frames, intact } = superFrame({ uso: false }, 1000, 20, 300);
  t.true(intact);
  t.is(frames.length, 20);
  for (const one of frames) {
    t.is(one.vnet.gso, 0);
    t.deepEqual([...one.payload.subarray(0, 4)], [0x13, 0x88, 0, 9]);
    t.is(one.payload[4] * 256 + one.payload[5], one.payload.length);
    t.is(one.payload[6] * 256 + one.payload[7], partialChecksum(one));
  }
});

test("an unknown neighbour is asked for, not too often, and served once it answered", (t) => {
  const network = new SimulatedNetwork();
  const send = () => {
    network.engine.wake();
    network.udp.respond(network.link, OUTSIDE, 53, parseAddress("10.0.2.50"), 5000, Uint8Array.of(1));
    network.engine.settle();
    return network.received();
  };
  const [request] = send();
  t.is(request.type, 0x0806);
  t.is(request.to, "ff:ff:ff:ff:ff:ff");
  t.deepEqual(
    [...request.payload],
    [0, 1, 8, 0, 6, 4, 0, 1, ...OUR_MAC, ...ip4("10.0.2.2"), 0, 0, 0, 0, 0, 0, ...ip4("10.0.2.50")],
  );
  t.is(send().length, 0);
  network.engine.advance(100);
  t.is(send().length, 1);
  t.is(network.counters.get("stack.neighbour_unknown"), 3);
  const mac = [2, 0, 0, 0, 0, 0x50];
  const reply = [0, 1, 8, 0, 6, 4, 0, 2, ...mac, ...ip4("10.0.2.50"), ...OUR_MAC, ...ip4("10.0.2.2")];
  network.exchange(frame(0x0806, reply, OUR_MAC, mac));
  const [served] = send();
  t.is(served.to, "02:00:00:00:00:50");
});

test("what does not fit into a turn is dropped and counted, and the next turn has room again", (t) => {
  const { egress, link, turn, counters, engine } = rig({ maxCommands: 64 });
  const frames = turn(() => {
    for (let i = 0; i < 100; i++) {
      const at = egress.small(20);
      egress.send(link, 6, OUTSIDE, INSIDE, at, 20, 20, 0);
    }
  });
  t.is(frames.length, 56);
  t.is(counters.get("stack.commands_full"), 44);
  turn(() => {
    let places = 0;
    while (egress.small(128) >= 0) places++;
    t.is(places, Math.floor((1 << 20) / 256));
    while (egress.large() >= 0);
    t.is(engine.memory.control[Control.SpareUsed], engine.memory.control[Control.SpareCount]);
  });
  turn(() => t.true(egress.small(128) >= 0));
  turn(() => {
    t.is(egress.small(1481), -1, "more than a packet");
    let packets = 0;
    while (egress.small(1480) >= 0) packets++;
    t.true(packets > 400);
    t.true(egress.small(128) >= 0, "acknowledgements always have room");
  });
});

test("nothing is written to a link that is gone", (t) => {
  const { egress, link, turn, counters } = rig();
  egress.removeLink(link);
  const frames = turn(() => egress.send(link, 6, OUTSIDE, INSIDE, egress.small(20), 20, 20, 0));
  t.is(frames.length, 0);
  t.is(counters.get("stack.link_gone"), 1);
});

test("ICMP errors: type and code of each reason, and the original in it (RFC 792, RFC 1812)", (t) => {
  const original = ipv4({ protocol: 17, payload: udp(5000, 9, new Uint8Array(1000)) });
  const expected: [Reject, number, number][] = [
    [Reject.NoRoute, 3, 0],
    [Reject.HostUnreachable, 3, 1],
    [Reject.ProtocolUnreachable, 3, 2],
    [Reject.PortUnreachable, 3, 3],
    [Reject.TooBig, 3, 4],
    [Reject.Prohibited, 3, 13],
    [Reject.TimeExceeded, 11, 0],
    [Reject.ReassemblyTime, 11, 1],
    [reported(3, 9), 3, 9],
    [reported(3, 15), 3, 15],
  ];
  for (const [reason, type, code] of expected) {
    const { egress, link, turn } = rig();
    const [error] = turn(() => egress.reject(link, original, reason, OUTSIDE, 1400));
    t.is(error.source, "198.51.100.7");
    t.true(error.headerValid);
    t.deepEqual([error.payload[0], error.payload[1]], [type, code]);
    t.is(error.payload[6] * 256 + error.payload[7], reason === Reject.TooBig ? 1400 : 0);
    t.is(error.ip.length, 576);
    t.deepEqual([...error.payload.subarray(8)], [...original.subarray(0, 548)]);
  }
});

test("a parameter problem names a place: one byte of ICMP, four of ICMPv6 (RFC 792; RFC 4443, 3.4)", (t) => {
  const four = ipv4({ protocol: 17, payload: udp(5000, 9, [1, 2, 3]) });
  const six = ipv6({ next: 17, payload: udp(5000, 9, [1, 2, 3], "fd00::100", "2001:db8::7") });
  for (const [original, reason, expected] of [
    [four, Reject.HeaderField, [12, 0, 20, 0, 0, 0]],
    [four, reported(12, 2), [12, 2, 20, 0, 0, 0]],
    [six, Reject.HeaderField, [4, 0, 0, 0, 0, 20]],
    [six, reported(4, 2), [4, 2, 0, 0, 0, 20]],
  ] as const) {
    const { egress, link, turn } = rig();
    const [{ payload }] = turn(() => egress.reject(link, original, reason, null, 20));
    t.deepEqual([payload[0], payload[1], ...payload.subarray(4, 8)], [...expected]);
    t.deepEqual([...payload.subarray(8)], [...original]);
  }
});

test("no ICMP error about errors, later fragments, groups, or nobody (RFC 1122 3.2.2)", (t) => {
  const { egress, link, turn, counters } = rig();
  const payload = udp(5000, 9, [1, 2, 3]);
  const originals = [
    ipv4({ protocol: 1, payload: echo(3, 0, 0, new Uint8Array(28)) }),
    ipv4({ protocol: 1, payload: echo(11, 0, 0, new Uint8Array(28)) }),
    ipv4({ protocol: 17, fragment: 5, payload }),
    ipv4({ protocol: 17, destination: "224.0.0.1", payload }),
    ipv4({ protocol: 17, destination: "255.255.255.255", payload }),
    ipv4({ protocol: 17, source: "0.0.0.0", payload }),
    ipv4({ protocol: 17, payload: payload.subarray(0, 4) }),
    new Uint8Array(0),
  ];
  const frames = turn(() => {
    for (const original of originals) egress.reject(link, original, Reject.PortUnreachable, null, 0);
  });
  t.is(frames.length, 0);
  t.is(counters.get("stack.error_not_allowed"), originals.length);
  const allowed = ipv4({ protocol: 1, payload: echo(8, 1, 1, []) });
  t.is(turn(() => egress.reject(link, allowed, Reject.HostUnreachable, null, 0))[0].source, "10.0.2.2");
});

test("no more than a thousand ICMP errors in a second", (t) => {
  const { egress, link, turn, counters, engine } = rig();
  const original = ipv4({ protocol: 17, payload: udp(5000, 9, []) });
  let sent = 0;
  for (let i = 0; i < 30; i++) {
    sent += turn(() => {
      for (let j = 0; j < 100; j++) egress.reject(link, original, Reject.PortUnreachable, null, 0);
    }).length;
  }
  t.is(sent, 1000);
  t.is(counters.get("stack.error_rate_limit"), 2000);
  engine.advance(10);
  t.is(
    turn(() => {
      for (let j = 0; j < 100; j++) egress.reject(link, original, Reject.PortUnreachable, null, 0);
    }).length,
    10,
  );
});

test("the neighbour table is bounded and keeps what was seeded", (t) => {
  const neighbours = new Neighbours();
  neighbours.seed(0, INSIDE, Uint8Array.from(SANDBOX_MAC));
  for (let i = 0; i < 1000; i++) neighbours.learnIPv4(0, 0x0a000300 + i, 0x02000000, i);
  t.is(neighbours.size(0), 128);
  t.true(neighbours.find(0, INSIDE));
  t.deepEqual([neighbours.high, neighbours.low], [0x02112233, 0x4455]);
  t.true(neighbours.find(0, endpoint(parseAddress("10.0.6.231"), 0).slice(8)));
  t.is(neighbours.low, 999);
  t.false(neighbours.find(0, parseAddress("10.0.3.0")));
  t.false(neighbours.find(1, INSIDE));
});

test("IPv6: a TCP segment, and a super-frame of the kind that the kernel cuts apart as IPv6", (t) => {
  const { egress, link, turn } = rig();
  const [segment, big] = turn(() => {
    const at = egress.small(20);
    egress.bytes.fill(0, at, at + 20);
    egress.send(link, 6, OUTSIDE_V6, INSIDE_V6, at, 20, 20, 0);
    egress.send(link, 6, OUTSIDE_V6, INSIDE_V6, egress.large(), 20 + 64_260, 20, 1428);
  });
  t.is(segment.to, "02:11:22:33:44:55");
  t.deepEqual([segment.source, segment.destination, segment.protocol], ["2001:db8::7", "fd00::100", 6]);
  t.is(segment.ttl, 64);
  t.true(segment.headerValid);
  t.deepEqual(segment.vnet, { flags: 1, gso: 0, headers: 0, size: 0, start: 54, offset: 16 });
  t.is(segment.payload[16] * 256 + segment.payload[17], partialChecksum(segment));
  t.true(big.headerValid);
  t.deepEqual(big.vnet, { flags: 1, gso: 4, headers: 74, size: 1428, start: 54, offset: 16 });
  t.is(big.payload[16] * 256 + big.payload[17], partialChecksum(big));
});

test("IPv6: a UDP super-frame, and one datagram that fills a packet", (t) => {
  const { egress, link, turn } = rig();
  const send = (length: number, segment: number) =>
    turn(() => {
      const at = egress.large();
      egress.bytes.set([0x13, 0x88, 0, 9, 0, 0, 0, 0], at);
      egress.send(link, 17, OUTSIDE_V6, INSIDE_V6, at, 8 + length, 8, segment);
    });
  const [whole, ...more] = send(14_520, 1452);
  t.is(more.length, 0);
  t.deepEqual(whole.vnet, { flags: 1, gso: 5, headers: 62, size: 1452, start: 54, offset: 6 });
  t.is(send(1452, 0).length, 1);
  t.is(send(1453, 0).length, 2, "one byte more is in fragments");
});

test("IPv6: a datagram longer than the MTU goes in fragments that RFC 8200, 4.5, describes, its checksum complete", (t) => {
  const { egress, link, turn } = rig({ mtu: 1280 });
  const payload = Uint8Array.from({ length: 65_527 }, (_, i) => (i * 7) & 0xff);
  const frames = turn(() => {
    const at = egress.large();
    egress.bytes.set([0x13, 0x88, 0, 9, 0xff, 0xff, 0, 0], at);
    egress.bytes.set(payload, at + 8);
    egress.send(link, 17, OUTSIDE_V6, INSIDE_V6, at, 8 + payload.length, 8, 0);
  });
  t.true(frames.every((one) => one.headerValid && one.ip.length <= 1280 && one.ip[6] === 44 && one.ip[41] === 0));
  t.true(frames.every((one) => one.protocol === 17 && one.id === frames[0].id));
  let expected = 0;
  for (const one of frames) {
    const isLast = one === frames[frames.length - 1];
    t.is(one.fragment, expected | (isLast ? 0 : 1));
    t.true(isLast || one.payload.length % 8 === 0);
    expected += one.payload.length;
  }
  const whole = Buffer.concat(frames.map((one) => one.payload));
  t.is(Buffer.compare(whole.subarray(8), payload), 0);
  t.true(udpChecksumValid("2001:db8::7", "fd00::100", whole));
});

test("IPv6: an unknown neighbour is solicited, and served once it advertised itself (RFC 4861, 7.2)", (t) => {
  const network = new SimulatedNetwork();
  const send = () => {
    network.engine.wake();
    network.udp.respond(network.link, OUTSIDE_V6, 53, parseAddress("fd00::abcd:ef01"), 5000, Uint8Array.of(1));
    network.engine.settle();
    return network.received();
  };
  const [request] = send();
  t.is(request.to, "33:33:ff:cd:ef:01");
  t.deepEqual([request.source, request.destination, request.ttl], [OUR_LINK_LOCAL, "ff02::1:ffcd:ef01", 255]);
  t.true(icmp6ChecksumValid(request.source, request.destination, request.payload));
  const target = ip6("fd00::abcd:ef01");
  t.deepEqual([...request.payload.subarray(4)], [0, 0, 0, 0, ...target, 1, 1, ...OUR_MAC]);
  t.deepEqual([...request.payload.subarray(0, 2)], [135, 0]);
  t.is(send().length, 0);
  const mac = [2, 0, 0, 0, 0, 0x50];
  const body = [0x60, 0, 0, 0, ...target, 2, 1, ...mac];
  const payload = icmp6(136, 0, body, "fd00::abcd:ef01", OUR_LINK_LOCAL);
  const packet = ipv6({ source: "fd00::abcd:ef01", destination: OUR_LINK_LOCAL, next: 58, hops: 255, payload });
  network.exchange(frame(0x86dd, packet, OUR_MAC, mac));
  t.is(send()[0].to, "02:00:00:00:00:50");
});

test("ICMPv6 errors: type, code and what follows for each reason, and as much of the original as 1280 bytes hold", (t) => {
  const original = ipv6({ next: 17, payload: udp(5000, 9, new Uint8Array(1400), "fd00::100", "2001:db8::7") });
  const expected: [Reject, number, number, number][] = [
    [Reject.NoRoute, 1, 0, 0],
    [Reject.Prohibited, 1, 1, 0],
    [Reject.BeyondScope, 1, 2, 0],
    [Reject.HostUnreachable, 1, 3, 0],
    [Reject.PortUnreachable, 1, 4, 0],
    [Reject.TooBig, 2, 0, 1400],
    [Reject.TimeExceeded, 3, 0, 0],
    [Reject.ReassemblyTime, 3, 1, 0],
    [Reject.HeaderField, 4, 0, 1400],
    [Reject.ProtocolUnreachable, 4, 1, 1400],
    [Reject.UnknownOption, 4, 2, 1400],
    [Reject.FirstFragment, 4, 3, 1400],
  ];
  for (const [reason, type, code, told] of expected) {
    const { egress, link, turn } = rig();
    const [error] = turn(() => egress.reject(link, original, reason, OUTSIDE_V6, 1400));
    t.deepEqual([error.source, error.destination, error.protocol], ["2001:db8::7", "fd00::100", 58]);
    t.true(error.headerValid);
    t.true(icmp6ChecksumValid(error.source, error.destination, error.payload));
    t.deepEqual([...error.payload.subarray(0, 2)], [type, code]);
    t.deepEqual([...error.payload.subarray(4, 8)], u32(told));
    t.is(error.ip.length, 1280);
    t.deepEqual([...error.payload.subarray(8)], [...original.subarray(0, 1232)]);
  }
});

test("no ICMPv6 error about errors, redirects, later fragments, groups, or nobody (RFC 4443, 2.4 e)", (t) => {
  const { egress, link, turn, counters } = rig();
  const payload = udp(5000, 9, [1, 2, 3], "fd00::100", "2001:db8::7");
  const originals = [
    ipv6({ next: 58, payload: icmp6(1, 0, new Uint8Array(44)) }),
    ipv6({ next: 58, payload: icmp6(127, 0, new Uint8Array(44)) }),
    ipv6({ next: 58, payload: icmp6(137, 0, new Uint8Array(44)) }),
    ipv6({ next: 0, extensions: [58, 0, 1, 4, 0, 0, 0, 0], payload: icmp6(3, 0, new Uint8Array(44)) }),
    ipv6({ next: 44, extensions: [17, 0, 0, 16, 0, 0, 0, 1], payload }),
    ipv6({ next: 17, destination: "ff02::1", payload }),
    ipv6({ next: 17, source: "::", payload }),
    ipv6({ next: 17, source: "ff02::1", payload }),
    ipv6({ next: 17, payload }).subarray(0, 39),
  ];
  const reject = (original: Uint8Array, reason = Reject.PortUnreachable) =>
    turn(() => egress.reject(link, original, reason, null, 1280));
  for (const original of originals) t.is(reject(original).length, 0);
  t.is(counters.get("stack.error_not_allowed"), originals.length);
  const [allowed] = reject(ipv6({ next: 58, payload: echo6(128, 1, 1, []) }));
  t.is(allowed.source, "fd00::2");
  t.is(reject(ipv6({ next: 17, destination: "ff02::1", payload }), Reject.TooBig).length, 1);
  // A link-local host is answered from a link-local address. It is not known here, and so it is asked for first.
  const [asked] = reject(ipv6({ next: 17, source: "fe80::1", payload }));
  t.is(asked.source, OUR_LINK_LOCAL);
});
