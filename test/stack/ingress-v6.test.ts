import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { FRAGMENT_LIFETIME } from "../../src/stack/fragments.js";
import {
  DUPLICATE_DETECTION,
  FRAGMENTED_DATAGRAM_V6,
  LISTENER_REPORT,
  PING_GATEWAY_V6,
  SOLICITATION_OF_GATEWAY,
} from "../simulation/captured.js";
import { V6 } from "../simulation/families.js";
import {
  frame,
  type Ipv6,
  icmp6,
  icmp6ChecksumValid,
  ip6,
  ipv6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  type Parsed,
  SANDBOX_MAC,
  u16,
  u32,
  udp,
  type Vnet,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const ALL_NODES_MAC = [0x33, 0x33, 0, 0, 0, 1];
const LINK_LOCAL = "fe80::11:22ff:fe33:4455";
const packet = (ip: Ipv6, to = OUR_MAC, vnet?: Vnet) => frame(0x86dd, ipv6(ip), to, SANDBOX_MAC, vnet);
const datagram = (source = V6.inside, destination = V6.outside, payload: ArrayLike<number> = [1, 2, 3]) =>
  udp(5000, 9, payload, source, destination);

/** Sends one frame that reaches no socket; returns what is answered. */
function dropped(t: ExecutionContext, bytes: Uint8Array, counter: string): Parsed[] {
  const network = new SimulatedNetwork();
  const answers = network.exchange(bytes);
  t.is(network.counters.get(counter), 1, `${counter}: ${JSON.stringify(network.counters.snapshot())}`);
  t.is(network.engine.opened.length, 0);
  return answers;
}

function silent(t: ExecutionContext, bytes: Uint8Array, counter: string): void {
  t.is(dropped(t, bytes, counter).length, 0, counter);
}

/** Asserts that a packet is answered with this ICMPv6 error about it, byte by byte. */
function refused(
  t: ExecutionContext,
  ip: Ipv6,
  counter: string,
  expected: [number, number, number],
  from = V6.gateway,
) {
  const [error, ...more] = dropped(t, packet(ip), counter);
  t.is(more.length, 0);
  t.deepEqual([error.source, error.destination, error.protocol], [from, ip.source ?? V6.inside, 58]);
  t.true(icmp6ChecksumValid(error.source, error.destination, error.payload));
  const [type, code, told] = expected;
  t.deepEqual([...error.payload.subarray(0, 2), ...error.payload.subarray(4, 8)], [type, code, ...u32(told)]);
  t.deepEqual([...error.payload.subarray(8)], [...ipv6(ip).subarray(0, 1232)]);
}

test("Linux's solicitation of the gateway is answered as RFC 4861, 7.2.4, says; others' addresses are not", (t) => {
  const network = new SimulatedNetwork();
  const [answer] = network.exchange(SOLICITATION_OF_GATEWAY);
  t.deepEqual([answer.to, answer.from], ["02:11:22:33:44:55", "52:55:0a:00:02:02"]);
  t.deepEqual([answer.source, answer.destination, answer.ttl], ["fd00::2", "fd00::100", 255]);
  // Router, solicited, override.
  t.deepEqual([...answer.payload.subarray(4)], [0xe0, 0, 0, 0, ...ip6("fd00::2"), 2, 1, ...OUR_MAC]);
  t.deepEqual([...answer.payload.subarray(0, 2)], [136, 0]);
  t.true(icmp6ChecksumValid("fd00::2", "fd00::100", answer.payload));
  const asked = (target: string) =>
    network.exchange(
      packet(
        { destination: "ff02::1:ff00:3", next: 58, hops: 255, payload: solicit(target, "ff02::1:ff00:3") },
        ALL_NODES_MAC,
      ),
    );
  t.is(asked("fd00::3").length, 1);
  t.is(asked(OUR_LINK_LOCAL)[0].source, OUR_LINK_LOCAL);
  t.is(asked("fd00::77").length, 0);
  t.is(asked("2001:db8::1").length, 0);
});

const solicit = (
  target: string,
  destination: string,
  source: string = V6.inside,
  options: number[] = [1, 1, ...SANDBOX_MAC],
) => icmp6(135, 0, [0, 0, 0, 0, ...ip6(target), ...options], source, destination);

test("duplicate address detection: silence about the sandbox's addresses, an answer to all about ours (RFC 4862, 5.4)", (t) => {
  const network = new SimulatedNetwork();
  t.is(network.exchange(DUPLICATE_DETECTION).length, 0);
  t.is(network.counters.get("stack.ndp_not_for_us"), 1);
  const group = "ff02::1:ff00:2";
  const probe = (options: number[]) =>
    packet(
      { source: "::", destination: group, next: 58, hops: 255, payload: solicit("fd00::2", group, "::", options) },
      ALL_NODES_MAC,
    );
  const [answer] = network.exchange(probe([]));
  t.deepEqual([answer.to, answer.source, answer.destination], ["33:33:00:00:00:01", "fd00::2", "ff02::1"]);
  t.deepEqual([...answer.payload.subarray(4, 8)], [0xa0, 0, 0, 0]);
  // Whoever has no address does not name its hardware address either.
  t.is(network.exchange(probe([1, 1, ...SANDBOX_MAC])).length, 0);
  t.is(network.counters.get("stack.ndp_malformed"), 1);
});

test("neighbour discovery that a router could have forwarded, or that is broken, is not looked at", (t) => {
  const ask = (change: Partial<Ipv6>, payload = solicit("fd00::2", V6.gateway)) =>
    packet({ destination: V6.gateway, next: 58, hops: 255, payload, ...change });
  t.is(new SimulatedNetwork().exchange(ask({})).length, 1);
  silent(t, ask({ hops: 254 }), "stack.ndp_malformed");
  silent(t, ask({}, icmp6(135, 1, [0, 0, 0, 0, ...ip6("fd00::2")], V6.inside, V6.gateway)), "stack.ndp_malformed");
  silent(
    t,
    ask({}, icmp6(135, 0, [0, 0, 0, 0, ...ip6("fd00::2"), 1, 0], V6.inside, V6.gateway)),
    "stack.ndp_malformed",
  );
  silent(
    t,
    ask({}, icmp6(135, 0, [0, 0, 0, 0, ...ip6("fd00::2"), 1, 2, 0, 0, 0, 0, 0, 0], V6.inside, V6.gateway)),
    "stack.ndp_malformed",
  );
  silent(t, ask({}, icmp6(135, 0, [0, 0, 0, 0, 1, 2, 3], V6.inside, V6.gateway)), "stack.ndp_malformed");
  const broken = solicit("fd00::2", V6.gateway);
  broken[10] ^= 1;
  silent(t, ask({}, broken), "stack.ndp_checksum");
  silent(t, ask({}, icmp6(137, 0, new Uint8Array(36), V6.inside, V6.gateway)), "stack.ndp_ignored");
  silent(t, ask({}, icmp6(134, 0, new Uint8Array(12), V6.inside, V6.gateway)), "stack.ndp_ignored");
  const claim = icmp6(136, 0, [0x20, 0, 0, 0, ...ip6("fd00::2"), 2, 1, ...SANDBOX_MAC], V6.inside, V6.gateway);
  silent(t, ask({}, claim), "stack.ndp_spoofed");
});

test("who may speak: the sandbox's network and link-local addresses, but not ours, no group, nobody", (t) => {
  for (const source of [
    "2001:db8::1",
    "fd00:0:0:1::1",
    "fd00::",
    "fd00::2",
    "fd00::3",
    OUR_LINK_LOCAL,
    "ff02::1",
    "::1",
    "::ffff:10.0.2.100",
  ]) {
    silent(t, packet({ source, next: 17, payload: datagram(source) }), "stack.spoofed");
  }
  silent(t, packet({ source: "::", next: 17, payload: datagram("::") }), "stack.no_source");
  for (const source of [V6.inside, "fd00::1234:5678:9abc:def0"]) {
    const network = new SimulatedNetwork();
    network.exchange(packet({ source, next: 17, payload: datagram(source) }));
    t.is(network.engine.datagrams.length, 1);
  }
});

test("a link-local source reaches us and nobody else (RFC 4291, 2.5.6)", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(
    packet({
      source: LINK_LOCAL,
      destination: OUR_LINK_LOCAL,
      next: 58,
      hops: 255,
      payload: solicit(OUR_LINK_LOCAL, OUR_LINK_LOCAL, LINK_LOCAL),
    }),
  );
  const payload = V6.ping(V6.echo, 1, 1, [1], LINK_LOCAL, OUR_LINK_LOCAL);
  const [reply] = network.exchange(packet({ source: LINK_LOCAL, destination: OUR_LINK_LOCAL, next: 58, payload }));
  t.deepEqual([reply.source, reply.destination], [OUR_LINK_LOCAL, LINK_LOCAL]);
  const abroad = { source: LINK_LOCAL, next: 17, payload: datagram(LINK_LOCAL) };
  refused(t, abroad, "stack.beyond_scope", [1, 2, 0], OUR_LINK_LOCAL);
});

test("a v4-mapped address is nobody's on a wire", (t) => {
  for (const destination of ["::ffff:127.0.0.1", "::ffff:198.51.100.7"]) {
    refused(
      t,
      { destination, next: 17, payload: udp(5000, 9, [1], V6.inside, destination) },
      "stack.mapped_address",
      [1, 0, 0],
    );
  }
});

test("groups: listener reports and unknown groups are silent", (t) => {
  silent(t, LISTENER_REPORT, "stack.listener_report");
  const mdns = { destination: "ff02::fb", next: 17, payload: udp(5353, 5353, [1], V6.inside, "ff02::fb") };
  silent(t, packet(mdns, [0x33, 0x33, 0, 0, 0, 0xfb]), "stack.group");
  const echo = V6.ping(V6.echo, 1, 1, [], V6.inside, "ff02::1");
  silent(t, packet({ destination: "ff02::1", next: 58, payload: echo }, ALL_NODES_MAC), "stack.group");
  silent(t, packet({ next: 17, payload: datagram() }, ALL_NODES_MAC), "stack.not_for_us");
});

test("Linux's ping of the gateway", (t) => {
  const [reply] = new SimulatedNetwork().exchange(PING_GATEWAY_V6);
  t.deepEqual([reply.source, reply.destination], ["fd00::2", "fd00::100"]);
  t.deepEqual([...reply.payload.subarray(4)], [...PING_GATEWAY_V6.subarray(12 + 14 + 40 + 4)]);
  t.true(icmp6ChecksumValid(reply.source, reply.destination, reply.payload));
});

test("extension headers that mean nothing to us are passed over", (t) => {
  const pad = [1, 4, 0, 0, 0, 0];
  const alert = [5, 2, 0, 0, 0, 0];
  const unknownButHarmless = [0x1e, 3, 9, 9, 9, 0];
  const chains: [number, number[]][] = [
    [0, [17, 0, ...alert]],
    [60, [17, 0, ...unknownButHarmless]],
    [0, [60, 0, ...pad, 17, 1, ...pad, 1, 6, 0, 0, 0, 0, 0, 0]],
    [43, [17, 0, 0, 0, 0, 0, 0, 0]],
    // An atomic fragment (RFC 6946).
    [44, [17, 0, 0, 0, 1, 2, 3, 4]],
    [0, [43, 0, ...pad, 44, 0, 4, 0, 0, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3, 4, 17, 0, ...pad]],
  ];
  for (const [next, extensions] of chains) {
    const network = new SimulatedNetwork();
    network.exchange(packet({ next, extensions, payload: datagram() }));
    t.deepEqual([...network.engine.datagrams[0].take()[0].bytes], [1, 2, 3]);
  }
});

test("extension headers that ask for an error get it, with the place of what is wrong", (t) => {
  const payload = datagram();
  const pad = [1, 4, 0, 0, 0, 0];
  refused(
    t,
    { next: 43, extensions: [17, 2, 0, 1, ...new Uint8Array(20)], payload },
    "stack.routing_header",
    [4, 0, 42],
  );
  refused(t, { next: 60, extensions: [17, 0, 0x80, 4, 0, 0, 0, 0], payload }, "stack.unknown_option", [4, 2, 42]);
  refused(t, { next: 0, extensions: [17, 0, 1, 0, 0xc2, 2, 0, 0], payload }, "stack.unknown_option", [4, 2, 44]);
  refused(t, { next: 60, extensions: [0, 0, ...pad, 17, 0, ...pad], payload }, "stack.unknown_protocol", [4, 1, 40]);
  refused(t, { next: 132, payload: new Uint8Array(20) }, "stack.unknown_protocol", [4, 1, 6]);
  refused(
    t,
    { next: 0, extensions: [132, 0, ...pad], payload: new Uint8Array(20) },
    "stack.unknown_protocol",
    [4, 1, 40],
  );
  refused(
    t,
    { next: 44, extensions: [6, 0, 0, 1, 0, 0, 0, 9], payload: new Uint8Array(16) },
    "stack.fragment_headers",
    [4, 3, 0],
  );
  refused(
    t,
    { next: 44, extensions: [60, 0, 0, 1, 0, 0, 0, 9], payload: [17, 1, ...pad] },
    "stack.fragment_headers",
    [4, 3, 0],
  );
  refused(
    t,
    { next: 44, extensions: [17, 0, 0, 1, 0, 0, 0, 9], payload: new Uint8Array(17) },
    "stack.fragment_malformed",
    [4, 0, 4],
  );
});

test("headers that are cut short, too many, or want silence", (t) => {
  const payload = datagram();
  const pad = [1, 4, 0, 0, 0, 0];
  silent(t, packet({ next: 60, extensions: [17, 3, ...pad], payload }), "stack.ip_malformed");
  silent(t, packet({ next: 60, extensions: [17, 0, 1, 9, 0, 0, 0, 0], payload }), "stack.ip_malformed");
  silent(t, packet({ next: 60, extensions: [], payload: [17, 0, 1] }), "stack.ip_malformed");
  const many = Array.from({ length: 9 }, (_, i) => [i === 8 ? 17 : 60, 0, ...pad]).flat();
  silent(t, packet({ next: 60, extensions: many, payload }), "stack.ip_malformed");
  silent(
    t,
    packet({ next: 44, extensions: [44, 0, 0, 1, 0, 0, 0, 9, 17, 0, 0, 1, 0, 0, 0, 9], payload }),
    "stack.ip_malformed",
  );
  silent(t, packet({ next: 60, extensions: [17, 0, 0x40, 4, 0, 0, 0, 0], payload }), "stack.unknown_option");
  silent(t, packet({ next: 59, payload }), "stack.no_next_header");
  const whole = packet({ next: 17, payload });
  silent(t, whole.subarray(0, whole.length - 1), "stack.ip_malformed");
  silent(t, whole.subarray(0, 26 + 39), "stack.ip_malformed");
  const four = whole.slice();
  four[26] = 0x45;
  silent(t, four, "stack.ip_malformed");
});

test("a hop limit of 1 ends at the gateway, but not on the way to the gateway itself", (t) => {
  refused(t, { hops: 1, next: 17, payload: datagram() }, "stack.ttl", [3, 0, 0]);
  const payload = V6.ping(V6.echo, 1, 1, [], V6.inside, V6.gateway);
  t.is(new SimulatedNetwork().exchange(packet({ destination: V6.gateway, hops: 1, next: 58, payload })).length, 1);
});

test("a virtio header that does not fit its packet", (t) => {
  const vnet = { flags: 1, gso: 5, size: 1, start: 54, offset: 6 };
  const send = (change: Vnet, ip: Ipv6 = { next: 17, payload: datagram() }) =>
    packet(ip, OUR_MAC, { ...vnet, ...change });
  const network = new SimulatedNetwork();
  network.exchange(
    send({}),
    send({ start: 62 }, { next: 60, extensions: [17, 0, 1, 4, 0, 0, 0, 0], payload: datagram() }),
  );
  t.is(network.engine.datagrams[0].take().length, 2);
  for (const bad of [{ start: 34 }, { offset: 16 }, { gso: 1 }, { gso: 4 }, { size: 0 }, { flags: 0 }]) {
    silent(t, send(bad), "stack.bad_offload");
  }
  const fragment = { next: 44, extensions: [17, 0, 0, 1, 0, 0, 0, 9], payload: new Uint8Array(16) };
  silent(t, send({ gso: 0, start: 62 }, fragment), "stack.bad_offload");
});

test("what Linux fragments is put together", (t) => {
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
  ]) {
    const network = new SimulatedNetwork();
    network.exchange(...order.map((i) => FRAGMENTED_DATAGRAM_V6[i]));
    const [sent] = network.engine.datagrams[0].take();
    t.is(Buffer.from(sent.bytes).toString(), "x".repeat(3000));
    t.is(network.reassembly.size, 0);
  }
});

/** Cuts a datagram, which may have extension headers of its own, into fragments at multiples of 8. */
function cut(whole: Uint8Array, cuts: readonly number[], next: number, id = 77): Uint8Array[] {
  const edges = [0, ...[...new Set(cuts.map((at) => at * 8))].filter((at) => at < whole.length).sort((a, b) => a - b)];
  return edges.map((from, i) => {
    const to = edges[i + 1] ?? whole.length;
    const extensions = [next, 0, ...u16(from | (to < whole.length ? 1 : 0)), ...u32(id)];
    return packet({ next: 44, extensions, payload: whole.subarray(from, to) });
  });
}

test("any size, any cut, any order; headers in the part that was cut too", (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 64, max: 65_000 }),
      fc.uniqueArray(fc.integer({ min: 4, max: 8100 }), { minLength: 1, maxLength: 20 }),
      fc.boolean(),
      fc.infiniteStream(fc.nat()),
      (size, cuts, withOptions, dice) => {
        const payload = Uint8Array.from({ length: size }, (_, i) => (i * 31) & 0xff);
        const message = datagram(V6.inside, V6.outside, payload);
        const whole = withOptions ? Uint8Array.from([17, 0, 1, 4, 0, 0, 0, 0, ...message]) : message;
        const frames = cut(whole, cuts, withOptions ? 60 : 17);
        for (let i = frames.length - 1; i > 0; i--) {
          const j = Number(dice.next().value) % (i + 1);
          [frames[i], frames[j]] = [frames[j], frames[i]];
        }
        const network = new SimulatedNetwork();
        network.exchange(...frames);
        t.is(Buffer.compare(network.engine.datagrams[0].take()[0].bytes, payload), 0);
      },
    ),
    { numRuns: 50 },
  );
});

test("overlaps lose the datagram (RFC 5722), more than 65,535 bytes too; what stays incomplete is given up", (t) => {
  const network = new SimulatedNetwork();
  const pieces = cut(datagram(V6.inside, V6.outside, new Uint8Array(4000)), [100, 200], 17);
  const overlapping = cut(datagram(V6.inside, V6.outside, new Uint8Array(4000)), [99, 200], 17);
  network.exchange(pieces[0], overlapping[1], pieces[1], pieces[2]);
  t.is(network.counters.get("stack.fragment_overlap"), 1);
  t.is(network.engine.datagrams.length, 0);
  const beyond = { next: 44, extensions: [17, 0, 0xff, 0xf8, 0, 0, 0, 9], payload: new Uint8Array(16) };
  network.exchange(packet(beyond));
  t.is(network.counters.get("stack.fragment_malformed"), 1);
  t.is(network.reassembly.size, 1);
  network.pass(FRAGMENT_LIFETIME + 1);
  t.is(network.received().length, 0, "its first fragment did not come");
  network.exchange(...FRAGMENTED_DATAGRAM_V6);
  t.is(network.counters.get("stack.fragment_timeout"), 1);
  t.deepEqual([network.reassembly.size, network.engine.datagrams.length], [0, 1]);
});

test("fragments that stay alone are reported with as much of the first as 1280 bytes hold (RFC 8200, 4.5)", (t) => {
  const network = new SimulatedNetwork();
  const [first] = cut(datagram(V6.inside, V6.outside, new Uint8Array(4000)), [175, 200], 17);
  network.exchange(first);
  network.pass(FRAGMENT_LIFETIME);
  const [error] = network.received();
  t.deepEqual([error.source, error.destination, error.protocol], ["fd00::2", "fd00::100", 58]);
  t.deepEqual(
    [...error.payload.subarray(0, 8)].filter((_, i) => i < 2 || i > 3),
    [3, 1, 0, 0, 0, 0],
  );
  t.deepEqual([...error.payload.subarray(8)], [...first.subarray(26, 26 + 1232)]);
  t.true(icmp6ChecksumValid(error.source, error.destination, error.payload));
  t.is(network.timers.size, 0);
});
