import test from "ava";
import { PING_GATEWAY } from "../simulation/captured.js";
import {
  BROADCAST_MAC,
  echo,
  frame,
  type Ip,
  ip4,
  ipv4,
  OUR_MAC,
  SANDBOX_MAC,
  u16,
  udp,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const arp = (operation: number, senderMac: number[], sender: string, target: string) => [
  ...[0, 1, 8, 0, 6, 4, 0, operation],
  ...senderMac,
  ...ip4(sender),
  ...[0, 0, 0, 0, 0, 0],
  ...ip4(target),
];
const ipFrame = (ip: Ip, vnet = {}) => frame(0x0800, ipv4(ip), OUR_MAC, SANDBOX_MAC, vnet);
const datagram = (destination = "198.51.100.7", source = "10.0.2.100") => ({
  source,
  destination,
  protocol: 17,
  payload: udp(5000, 9, [1, 2, 3], source, destination),
});

/** Sends one frame that must come to nothing but this counter. */
function dropped(t: import("ava").ExecutionContext, bytes: Uint8Array, counter: string, options = {}) {
  const network = new SimulatedNetwork(options);
  const answers = network.exchange(bytes);
  t.is(network.counters.get(counter), 1, `${counter}: ${JSON.stringify(network.counters.snapshot())}`);
  t.is(network.engine.datagrams.length, 0);
  return answers;
}

test("ARP: gateway and DNS address are ours, others are not answered", (t) => {
  const network = new SimulatedNetwork();
  for (const target of ["10.0.2.2", "10.0.2.3"]) {
    const [reply] = network.exchange(frame(0x0806, arp(1, SANDBOX_MAC, "10.0.2.100", target), BROADCAST_MAC));
    t.is(reply.to, "02:11:22:33:44:55");
    t.is(reply.from, "52:55:0a:00:02:02");
    t.deepEqual(
      [...reply.payload],
      [0, 1, 8, 0, 6, 4, 0, 2, ...OUR_MAC, ...ip4(target), ...SANDBOX_MAC, ...ip4("10.0.2.100")],
    );
  }
  t.is(network.exchange(frame(0x0806, arp(1, SANDBOX_MAC, "10.0.2.100", "10.0.2.77"), BROADCAST_MAC)).length, 0);
  t.is(network.exchange(frame(0x0806, arp(1, SANDBOX_MAC, "10.0.2.100", "198.51.100.1"), BROADCAST_MAC)).length, 0);
});

test("ARP: a probe for one of our addresses is answered, a sender that claims one is not believed", (t) => {
  const network = new SimulatedNetwork();
  t.is(network.exchange(frame(0x0806, arp(1, SANDBOX_MAC, "0.0.0.0", "10.0.2.2"), BROADCAST_MAC)).length, 1);
  t.is(network.exchange(frame(0x0806, arp(1, SANDBOX_MAC, "10.0.2.3", "10.0.2.2"), BROADCAST_MAC)).length, 0);
  t.is(network.counters.get("stack.arp_spoofed"), 1);
});

test("the answer goes to the MAC address that the sandbox speaks from, also after it changed", (t) => {
  const network = new SimulatedNetwork();
  t.is(network.exchange(PING_GATEWAY)[0].to, "02:11:22:33:44:55");
  const moved = PING_GATEWAY.slice();
  moved[23] = 0x66;
  t.is(network.exchange(moved)[0].to, "02:11:22:33:44:66");
});

test("a datagram is taken with padding behind it, with IP options, and to the gateway's broadcast-free MAC only", (t) => {
  for (const bytes of [
    Uint8Array.from([...ipFrame(datagram()), ...new Uint8Array(20)]),
    ipFrame({ ...datagram(), options: [7, 7, 4, 0, 0, 0, 0, 0] }),
  ]) {
    const network = new SimulatedNetwork();
    network.exchange(bytes);
    t.deepEqual(
      network.engine.datagrams[0].take().map(({ bytes: sent }) => [...sent]),
      [[1, 2, 3]],
    );
  }
  dropped(t, frame(0x0800, ipv4(datagram()), BROADCAST_MAC), "stack.not_for_us");
  dropped(t, frame(0x0800, ipv4(datagram()), [2, 0, 0, 0, 0, 9]), "stack.not_for_us");
  dropped(t, frame(0x0800, ipv4(datagram()), OUR_MAC, [1, 0, 0, 0, 0, 9]), "stack.bad_source_mac");
});

test("who may not speak: other networks, our own addresses, groups, nobody", (t) => {
  for (const source of ["198.51.100.9", "10.0.2.2", "10.0.2.3", "10.0.2.255", "10.0.2.0", "127.0.0.1", "224.0.0.1"]) {
    dropped(t, ipFrame(datagram("198.51.100.7", source)), "stack.spoofed");
  }
  dropped(t, ipFrame(datagram("198.51.100.7", "0.0.0.0")), "stack.no_source");
  dropped(t, frame(0x0800, ipv4(datagram("224.0.0.251")), [1, 0, 0x5e, 0, 0, 0xfb]), "stack.group");
  dropped(t, frame(0x0800, ipv4(datagram("10.0.2.255")), BROADCAST_MAC), "stack.group");
});

test("lengths and checksums that do not fit", (t) => {
  const whole = ipFrame(datagram());
  dropped(t, whole.subarray(0, 25), "stack.short_frame");
  dropped(t, whole.subarray(0, 26 + 19), "stack.ip_malformed");
  dropped(t, whole.subarray(0, whole.length - 1), "stack.ip_malformed");
  const altered = (at: number, value: number) => {
    const bytes = whole.slice();
    bytes[at] = value;
    return bytes;
  };
  dropped(t, altered(26, 0x44), "stack.ip_malformed");
  dropped(t, altered(26, 0x4f), "stack.ip_malformed");
  dropped(t, altered(26, 0x65), "stack.ip_malformed");
  dropped(t, altered(34, 63), "stack.ip_checksum");
  dropped(t, altered(26 + 20 + 8, 9), "udp.checksum");
  dropped(t, altered(24, 0x86), "stack.unknown_ethertype");
  dropped(t, frame(0x86dd, new Uint8Array(60)), "stack.ipv6", { ipv6: false });
  const short = udp(5000, 9, [1, 2, 3]);
  short.set(u16(12), 4);
  dropped(t, ipFrame({ ...datagram(), payload: short }), "udp.malformed");
  short.set(u16(7), 4);
  dropped(t, ipFrame({ ...datagram(), payload: short }), "udp.malformed");
});

test("a virtio header that does not fit its packet", (t) => {
  const good = { flags: 1, start: 34, offset: 6 };
  const cases = [
    { ...good, start: 33 },
    { ...good, offset: 16 },
    { ...good, start: 65535 },
    { ...good, gso: 5, size: 0 },
    { ...good, gso: 1, size: 1000 },
    { ...good, gso: 3, size: 1000 },
    { ...good, gso: 4, size: 1000 },
    { ...good, gso: 77, size: 1000 },
    { flags: 0, gso: 5, size: 1000 },
  ];
  for (const vnet of cases) dropped(t, ipFrame(datagram(), vnet), "stack.bad_offload");
  dropped(
    t,
    ipFrame({ protocol: 1, payload: echo(8, 1, 1, []) }, { flags: 1, start: 34, offset: 2 }),
    "stack.bad_offload",
  );
  dropped(t, ipFrame({ ...datagram(), fragment: 0x2000 }, good), "stack.bad_offload");
  const many = { ...datagram(), payload: udp(5000, 9, new Uint8Array(129)) };
  dropped(t, ipFrame(many, { ...good, gso: 5, size: 1 }), "stack.bad_offload");
});

test("a partial checksum is not verified; there is none", (t) => {
  const network = new SimulatedNetwork();
  const payload = udp(5000, 9, [1, 2, 3]);
  payload.set([0x12, 0x34], 6);
  network.exchange(ipFrame({ ...datagram(), payload }, { flags: 1, start: 34, offset: 6 }));
  t.is(network.engine.datagrams[0].take().length, 1);
});

test("a protocol that we do not carry: protocol unreachable, about this packet", (t) => {
  const original = ipv4({ protocol: 132, payload: new Uint8Array(20) });
  const [error] = new SimulatedNetwork().exchange(frame(0x0800, original));
  t.is(error.source, "10.0.2.2");
  t.is(error.destination, "10.0.2.100");
  t.deepEqual([...error.payload.subarray(0, 2)], [3, 2]);
  t.deepEqual([...error.payload.subarray(8)], [...original]);
});

test("TTL 1 ends at the gateway, but not on the way to the gateway itself (RFC 1812 5.3.1)", (t) => {
  const [error] = new SimulatedNetwork().exchange(ipFrame({ ...datagram(), ttl: 1 }));
  t.deepEqual([...error.payload.subarray(0, 2)], [11, 0]);
  t.is(error.source, "10.0.2.2");
  const request = { destination: "10.0.2.2", protocol: 1, ttl: 1, payload: echo(8, 1, 1, [1]) };
  t.is(new SimulatedNetwork().exchange(ipFrame(request))[0].payload[0], 0);
});
