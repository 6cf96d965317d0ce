/** Where frames of members go, and in whose name they may speak: on a simulated engine, with frames built beside src/. */
import test, { type ExecutionContext } from "ava";
import { MAX_LINKS } from "../../src/native/engine.js";
import { FLOODED } from "../../src/stack/switch.js";
import { formatAddress } from "../../src/wire/address.js";
import { linkLocalAddress } from "../../src/wire/ipv6.js";
import {
  BROADCAST_MAC,
  echo,
  echo6,
  frame,
  icmp6,
  ip4,
  ip6,
  ipv4,
  ipv6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  udp,
} from "../simulation/frames.js";
import { type Host, Members } from "../simulation/members.js";

const GATEWAY = "10.0.2.2";
const NOBODYS_MAC = [2, 9, 9, 9, 9, 9];
const ALL_NODES_MAC = [0x33, 0x33, 0, 0, 0, 1];

const groupMac = (address: string) => [0x33, 0x33, ...ip6(address).slice(12)];
const solicitedNode = (target: string) => [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...ip6(target).slice(13)];
const text6 = (bytes: readonly number[]) => formatAddress(Uint8Array.from(bytes));
const linkLocal = (host: Host) => formatAddress(linkLocalAddress(Uint8Array.from(host.mac)));

interface Arp {
  readonly operation?: number;
  readonly mac: readonly number[];
  readonly sender: string;
  readonly target: string;
  readonly to?: readonly number[];
  /** Of Ethernet, where that is another one. */
  readonly from?: readonly number[];
}

function arp({ operation = 1, mac, sender, target, to = BROADCAST_MAC, from = mac }: Arp): Uint8Array {
  const body = [0, 1, 8, 0, 6, 4, 0, operation, ...mac, ...ip4(sender), 0, 0, 0, 0, 0, 0, ...ip4(target)];
  return frame(0x0806, body, [...to], [...from]);
}

/** A datagram of one member to another, or to whom it may concern. */
function datagram(from: Host, to: readonly number[], destination: string, source = from.v4, ports = [5000, 6000]) {
  const payload = udp(ports[0], ports[1], [1, 2, 3, 4], source, destination);
  return frame(0x0800, ipv4({ source, destination, protocol: 17, payload }), [...to], [...from.mac]);
}

function datagram6(from: Host, to: readonly number[], destination: string, source = from.v6, ports = [5000, 6000]) {
  const payload = udp(ports[0], ports[1], [1, 2, 3, 4], source, destination);
  return frame(0x86dd, ipv6({ source, destination, next: 17, payload }), [...to], [...from.mac]);
}

interface Discovery {
  readonly type: number;
  readonly body: readonly number[];
  readonly source: string;
  readonly destination: string;
  readonly to: readonly number[];
}

function discovery(from: Host, { type, body, source, destination, to }: Discovery): Uint8Array {
  const payload = icmp6(type, 0, body, source, destination);
  return frame(0x86dd, ipv6({ source, destination, hops: 255, next: 58, payload }), [...to], [...from.mac]);
}

function solicitation(from: Host, target: string, source = from.v6, mac = from.mac): Uint8Array {
  const destination = text6(solicitedNode(target));
  const options = source === "::" ? [] : [1, 1, ...mac];
  const body = [0, 0, 0, 0, ...ip6(target), ...options];
  return discovery(from, { type: 135, body, source, destination, to: groupMac(destination) });
}

function advertisement(from: Host, target: string, source = from.v6, mac = from.mac): Uint8Array {
  const body = [0x20, 0, 0, 0, ...ip6(target), 2, 1, ...mac];
  return discovery(from, { type: 136, body, source, destination: "ff02::1", to: ALL_NODES_MAC });
}

function pings(host: Host): Uint8Array[] {
  const { v4: source, v6 } = host;
  const four = ipv4({ source, destination: GATEWAY, protocol: 1, payload: echo(8, 1, 1, [7]) });
  const six = ipv6({ source: v6, destination: "fd00::2", next: 58, payload: echo6(128, 1, 1, [7], v6, "fd00::2") });
  return [frame(0x0800, four, OUR_MAC, [...host.mac]), frame(0x86dd, six, OUR_MAC, [...host.mac])];
}

/** The gateway still answers it, at its own hardware address. */
function reachesGateway(t: ExecutionContext, host: Host): void {
  host.raw();
  host.say(...pings(host));
  t.deepEqual(
    host.heard().map(({ to, from, payload }) => [to, from, payload[0]]),
    [0, 129].map((reply) => [host.macText, "52:55:0a:00:02:02", reply]),
  );
}

test("what a member sends to another's hardware address reaches it alone, byte for byte, a super-frame too", async (t) => {
  const rig = new Members();
  const [a, b, c] = await rig.hosts("a", "b", "c");
  const vnet = { flags: 1, gso: 1, size: 1448, start: 34, offset: 16 };
  const segment = new Uint8Array(60_000).map((_, i) => i * 7);
  const big = frame(
    0x0800,
    ipv4({ source: a.v4, destination: b.v4, protocol: 6, payload: segment }),
    [...b.mac],
    [...a.mac],
    vnet,
  );
  const frames = [
    big,
    datagram(a, b.mac, b.v4),
    datagram6(a, b.mac, b.v6),
    datagram6(a, b.mac, linkLocal(b), linkLocal(a)),
  ];
  a.say(...frames);
  t.deepEqual(b.raw(), frames);
  t.deepEqual([...c.raw(), ...a.raw()], []);
  b.say(datagram(b, a.mac, a.v4));
  t.is(a.raw().length, 1);
  t.deepEqual(rig.drops(), {});
});

test("who has an address is asked of its owner alone, and of us where it is ours", async (t) => {
  const rig = new Members();
  const [a, b, c] = await rig.hosts("a", "b", "c");
  const questions = [arp({ mac: a.mac, sender: a.v4, target: b.v4 }), solicitation(a, b.v6)];
  a.say(...questions);
  t.deepEqual(b.raw(), questions);
  t.deepEqual([...a.raw(), ...c.raw()], []);
  a.say(
    arp({ mac: a.mac, sender: a.v4, target: GATEWAY }),
    solicitation(a, "fd00::3"),
    solicitation(a, OUR_LINK_LOCAL),
  );
  t.deepEqual(
    a.heard().map(({ type, from }) => [type, from]),
    [0x0806, 0x86dd, 0x86dd].map((type) => [type, "52:55:0a:00:02:02"]),
  );
  t.deepEqual([...b.raw(), ...c.raw()], []);
  // Its answer goes back to who asked.
  const answer = arp({ operation: 2, mac: b.mac, sender: b.v4, target: a.v4, to: a.mac });
  b.say(answer);
  t.deepEqual(a.raw(), [answer]);
  t.deepEqual(c.raw(), []);
  t.deepEqual(rig.drops(), {});
  a.say(arp({ mac: a.mac, sender: a.v4, target: "10.0.2.77" }), solicitation(a, "fd00::77"));
  t.deepEqual([...b.raw(), ...c.raw(), ...a.raw()], []);
  t.deepEqual(rig.drops(), { "switch.unknown": 2 });
});

test("probes for an address reach whoever can defend it; for one's own there is silence", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  a.say(
    arp({ mac: a.mac, sender: "0.0.0.0", target: a.v4 }),
    solicitation(a, a.v6, "::"),
    solicitation(a, linkLocal(a), "::"),
  );
  t.deepEqual([...a.raw(), ...b.raw()], []);
  const probes = [arp({ mac: a.mac, sender: "0.0.0.0", target: b.v4 }), solicitation(a, b.v6, "::")];
  a.say(...probes);
  t.deepEqual(b.raw(), probes);
  a.say(arp({ mac: a.mac, sender: "0.0.0.0", target: GATEWAY }), solicitation(a, "fd00::2", "::"));
  t.is(a.raw().length, 2, "ours are defended");
  t.deepEqual(rig.drops(), {});
});

test("what is for all reaches all others; what only a router hears, nobody else", async (t) => {
  const rig = new Members();
  const [a, b, c] = await rig.hosts("a", "b", "c");
  const forAll = [
    datagram(a, BROADCAST_MAC, "255.255.255.255"),
    datagram(a, BROADCAST_MAC, "10.0.2.255"),
    datagram(a, [1, 0, 0x5e, 0, 0, 0xfb], "224.0.0.251"),
    datagram6(a, groupMac("ff02::fb"), "ff02::fb"),
    arp({ mac: a.mac, sender: a.v4, target: a.v4 }),
    advertisement(a, a.v6),
  ];
  a.say(...forAll);
  t.deepEqual(b.raw(), forAll);
  t.deepEqual(c.raw(), forAll);
  t.deepEqual(a.raw(), []);
  a.say(
    datagram(a, BROADCAST_MAC, "255.255.255.255", "0.0.0.0", [68, 67]),
    datagram6(a, groupMac("ff02::1:2"), "ff02::1:2", linkLocal(a), [546, 547]),
    discovery(a, {
      type: 133,
      body: [0, 0, 0, 0],
      source: linkLocal(a),
      destination: "ff02::2",
      to: groupMac("ff02::2"),
    }),
    discovery(a, {
      type: 143,
      body: [0, 0, 0, 0],
      source: linkLocal(a),
      destination: "ff02::16",
      to: groupMac("ff02::16"),
    }),
  );
  t.deepEqual([...b.raw(), ...c.raw()], []);
  t.is(rig.count("router.advertised"), 1);
  t.is(rig.count("dhcp.malformed"), 1);
  t.is(rig.count("dhcpv6.malformed"), 1);
  t.is(rig.count("stack.listener_report"), 1);
  t.deepEqual(rig.drops(), {});
});

/** Frames that lie, what they lie about, and under which counter they are dropped. `b` is another member. */
/** The frame with its checksum at `offset` behind `start` left to whoever receives it. */
function leaving(bytes: Uint8Array, start: number, offset: number): Uint8Array {
  bytes.set([1, 0, 0, 0, 0, 0, start, 0, offset, 0]);
  return bytes;
}

/** The first fragment of a datagram. */
function fragment6(from: Host, to: Host, ports: readonly [number, number]): Uint8Array {
  const header = [17, 0, 0, 1, 0, 0, 0, 7];
  const payload = udp(ports[0], ports[1], new Array(24).fill(1), from.v6, to.v6);
  const packet = ipv6({ source: from.v6, destination: to.v6, next: 44, extensions: header, payload });
  return frame(0x86dd, packet, [...to.mac], [...from.mac]);
}

const LIES: readonly [what: string, counter: string, make: (a: Host, b: Host) => Uint8Array][] = [
  [
    "another's hardware address",
    "spoofed_mac",
    (a, b) => frame(0x0800, datagram(a, b.mac, b.v4).subarray(26), [...b.mac], [...b.mac]),
  ],
  [
    "the gateway's hardware address",
    "spoofed_mac",
    (a, b) => frame(0x0800, datagram(a, b.mac, b.v4).subarray(26), [...b.mac], OUR_MAC),
  ],
  [
    "a hardware address of nobody",
    "spoofed_mac",
    (a, b) => frame(0x0800, datagram(a, b.mac, b.v4).subarray(26), [...b.mac], NOBODYS_MAC),
  ],
  [
    "a group's hardware address",
    "spoofed_mac",
    (a, b) => frame(0x0800, datagram(a, b.mac, b.v4).subarray(26), [...b.mac], BROADCAST_MAC),
  ],
  ["another's IPv4 address", "spoofed_ip", (a, b) => datagram(a, b.mac, b.v4, "10.0.2.102")],
  ["the receiver's IPv4 address", "spoofed_ip", (a, b) => datagram(a, b.mac, b.v4, b.v4)],
  ["the gateway's IPv4 address", "spoofed_ip", (a, b) => datagram(a, b.mac, b.v4, GATEWAY)],
  ["an IPv4 address of nobody", "spoofed_ip", (a, b) => datagram(a, b.mac, b.v4, "10.0.2.200")],
  ["an IPv4 address from elsewhere", "spoofed_ip", (a, b) => datagram(a, b.mac, b.v4, "8.8.8.8")],
  ["no IPv4 address", "spoofed_ip", (a, b) => datagram(a, b.mac, b.v4, "0.0.0.0")],
  ["another's IPv4 address to the gateway", "spoofed_ip", (a, b) => datagram(a, OUR_MAC, "198.51.100.7", b.v4)],
  ["another's IPv4 address to all", "spoofed_ip", (a, b) => datagram(a, BROADCAST_MAC, "255.255.255.255", b.v4)],
  ["another's IPv6 address", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, "fd00::102")],
  ["another's link-local address", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, linkLocal(b))],
  [
    "what another's kernel may form",
    "spoofed_ip",
    (a, b) => datagram6(a, b.mac, b.v6, text6([...ip6("fd00::").slice(0, 8), ...ip6(linkLocal(b)).slice(8)])),
  ],
  ["the gateway's IPv6 address", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, "fd00::2")],
  ["the gateway's link-local address", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, OUR_LINK_LOCAL)],
  ["an IPv6 address from elsewhere", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, "2001:db8::1")],
  ["a mapped address", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, `::ffff:${b.v4}`)],
  ["a group as a source", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, "ff02::1")],
  ["no IPv6 address", "spoofed_ip", (a, b) => datagram6(a, b.mac, b.v6, "::")],
  [
    "no IPv6 address, in a fragment",
    "spoofed_ip",
    (a, b) =>
      frame(
        0x86dd,
        ipv6({
          source: "::",
          destination: b.v6,
          next: 44,
          extensions: [58, 0, 0, 1, 0, 0, 0, 1],
          payload: new Uint8Array(64),
        }),
        [...b.mac],
        [...a.mac],
      ),
  ],
  [
    "ARP: another's IPv4 address",
    "spoofed_arp",
    (a, b) => arp({ operation: 2, mac: a.mac, sender: "10.0.2.102", target: b.v4, to: b.mac }),
  ],
  ["ARP: the gateway's, as a question", "spoofed_arp", (a, b) => arp({ mac: a.mac, sender: GATEWAY, target: b.v4 })],
  [
    "ARP: the gateway's, as an announcement",
    "spoofed_arp",
    (a) => arp({ mac: a.mac, sender: GATEWAY, target: GATEWAY }),
  ],
  [
    "ARP: the gateway's, as an answer",
    "spoofed_arp",
    (a, b) => arp({ operation: 2, mac: a.mac, sender: GATEWAY, target: b.v4, to: b.mac }),
  ],
  [
    "ARP: the DNS server's",
    "spoofed_arp",
    (a, b) => arp({ operation: 2, mac: a.mac, sender: "10.0.2.3", target: b.v4, to: b.mac }),
  ],
  ["ARP: an address of nobody", "spoofed_arp", (a) => arp({ mac: a.mac, sender: "10.0.2.200", target: "10.0.2.200" })],
  [
    "ARP: another hardware address than Ethernet's",
    "spoofed_arp",
    (a, b) => arp({ operation: 2, mac: NOBODYS_MAC, from: a.mac, sender: a.v4, target: b.v4, to: b.mac }),
  ],
  [
    "ARP: an answer of nobody",
    "spoofed_arp",
    (a, b) => arp({ operation: 2, mac: a.mac, sender: "0.0.0.0", target: b.v4, to: b.mac }),
  ],
  ["a neighbour advertisement for another's address", "spoofed_discovery", (a) => advertisement(a, "fd00::102")],
  ["a neighbour advertisement for the gateway's address", "spoofed_discovery", (a) => advertisement(a, "fd00::2")],
  [
    "a neighbour advertisement for the gateway's link-local address",
    "spoofed_discovery",
    (a) => advertisement(a, OUR_LINK_LOCAL),
  ],
  [
    "a neighbour advertisement with another hardware address",
    "spoofed_discovery",
    (a) => advertisement(a, a.v6, a.v6, NOBODYS_MAC),
  ],
  [
    "a neighbour solicitation with another hardware address",
    "spoofed_discovery",
    (a, b) => solicitation(a, b.v6, a.v6, NOBODYS_MAC),
  ],
  [
    "a neighbour solicitation whose second option lies",
    "spoofed_discovery",
    (a, b) => {
      const destination = text6(solicitedNode(b.v6));
      const body = [0, 0, 0, 0, ...ip6(b.v6), 1, 1, ...a.mac, 1, 1, ...NOBODYS_MAC];
      return discovery(a, { type: 135, body, source: a.v6, destination, to: groupMac(destination) });
    },
  ],
  [
    "options that are cut short",
    "spoofed_discovery",
    (a, b) =>
      discovery(a, { type: 135, body: [0, 0, 0, 0, ...ip6(b.v6), 1, 9], source: a.v6, destination: b.v6, to: b.mac }),
  ],
  [
    "to be a router",
    "router",
    (a) =>
      discovery(a, {
        type: 134,
        body: new Array(12).fill(1),
        source: linkLocal(a),
        destination: "ff02::1",
        to: ALL_NODES_MAC,
      }),
  ],
  [
    "to be a router, to one",
    "router",
    (a, b) =>
      discovery(a, {
        type: 134,
        body: new Array(12).fill(1),
        source: linkLocal(a),
        destination: linkLocal(b),
        to: b.mac,
      }),
  ],
  [
    "to be a router, behind an option header",
    "router",
    (a, b) => {
      const payload = icmp6(134, 0, new Array(12).fill(1), linkLocal(a), linkLocal(b));
      const packet = ipv6({
        source: linkLocal(a),
        destination: linkLocal(b),
        hops: 255,
        next: 60,
        extensions: [58, 0, 1, 4, 0, 0, 0, 0],
        payload,
      });
      return frame(0x86dd, packet, [...b.mac], [...a.mac]);
    },
  ],
  [
    "a better way",
    "router",
    (a, b) =>
      discovery(a, {
        type: 137,
        body: new Array(36).fill(1),
        source: linkLocal(a),
        destination: linkLocal(b),
        to: b.mac,
      }),
  ],
  // Whoever completes a checksum writes it where the virtio header says, after the guard has looked (virtio 1.2, 5.1.6.2).
  [
    "another sender in ARP, by an open checksum",
    "bad_offload",
    (a, b) => leaving(arp({ mac: a.mac, sender: a.v4, target: b.v4 }), 14, 14),
  ],
  ["another IPv4 source, by an open checksum", "bad_offload", (a, b) => leaving(datagram(a, b.mac, b.v4), 14, 12)],
  ["another IPv6 source, by an open checksum", "bad_offload", (a, b) => leaving(datagram6(a, b.mac, b.v6), 14, 22)],
  ["another UDP port, by an open checksum", "bad_offload", (a, b) => leaving(datagram(a, b.mac, b.v4), 34, 2)],
  [
    "another target of a neighbour advertisement, by an open checksum",
    "bad_offload",
    (a) => leaving(advertisement(a, a.v6), 54, 22),
  ],
  ["to be a DHCPv6 server, in fragments", "dhcp_server", (a, b) => fragment6(a, b, [547, 546])],
  ["to be a DHCP server", "dhcp_server", (a, b) => datagram(a, b.mac, b.v4, a.v4, [67, 68])],
  ["to be a DHCP server, to all", "dhcp_server", (a) => datagram(a, BROADCAST_MAC, "255.255.255.255", a.v4, [67, 68])],
  ["to be a DHCPv6 server", "dhcp_server", (a, b) => datagram6(a, b.mac, b.v6, a.v6, [547, 546])],
  [
    "a VLAN's tag",
    "unknown_ethertype",
    (a, b) => frame(0x8100, [0, 0, 8, 0, ...datagram(a, b.mac, b.v4, b.v4).subarray(26)], [...b.mac], [...a.mac]),
  ],
];

for (const [what, counter, make] of LIES) {
  test(`a member claims ${what}: nobody hears of it, and it is counted`, async (t) => {
    const rig = new Members();
    const [a, b, c] = await rig.hosts("a", "b", "c");
    a.say(make(a, b));
    t.deepEqual([...a.raw(), ...b.raw(), ...c.raw()], []);
    t.deepEqual(rig.drops(), { [`switch.${counter}`]: 1 });
    t.is(rig.count("flows.open"), 0);
    for (const host of [a, b, c]) reachesGateway(t, host);
  });
}

test("checksums that kernels leave open pass as they are, in tunnels too", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const frames = [
    leaving(datagram(a, b.mac, b.v4), 34, 6),
    leaving(datagram6(a, b.mac, b.v6), 54, 6),
    leaving(datagram(a, b.mac, b.v4, a.v4, [5000, 4789]), 34, 10), // of the packet in it
    fragment6(a, b, [5000, 6000]),
  ];
  a.say(...frames);
  t.deepEqual(
    b.raw().map((bytes) => Buffer.from(bytes).toString("hex")),
    frames.map((bytes) => Buffer.from(bytes).toString("hex")),
  );
  t.deepEqual(rig.drops(), {});
});

test("broken headers are dropped before anybody looks further", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  a.say(
    frame(0x0800, [0x45, 0, 0], [...b.mac], [...a.mac]),
    frame(0x86dd, [0x60, 0, 0, 0, 9, 9], [...b.mac], [...a.mac]),
    frame(0x0806, [0, 1, 8, 0, 6], [...b.mac], [...a.mac]),
    new Uint8Array(20),
  );
  t.deepEqual(b.raw(), []);
  t.is(rig.count("stack.ip_malformed"), 2);
  t.is(rig.count("stack.arp_malformed"), 1);
  t.is(rig.count("stack.short_frame"), 1);
});

test("frames for a hardware address that nobody has, or for oneself, go nowhere", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  a.say(datagram(a, NOBODYS_MAC, "10.0.2.77"), datagram(a, a.mac, a.v4));
  t.deepEqual([...a.raw(), ...b.raw()], []);
  t.deepEqual(rig.drops(), { "switch.unknown": 1, "switch.to_itself": 1 });
});

test("a kernel inside may form addresses of its own; what nobody else has becomes the member's, up to eight", async (t) => {
  const rig = new Members();
  const [a, b, c] = await rig.hosts("a", "b", "c");
  const formed = text6([...ip6("fd00::").slice(0, 8), ...ip6(linkLocal(a)).slice(8)]);
  a.say(
    advertisement(a, formed, formed),
    datagram6(a, b.mac, b.v6, "fd00::abcd:1"),
    datagram6(a, b.mac, b.v6, "fe80::77"),
  );
  t.is(b.raw().length, 3);
  c.raw();
  // It is now the one who is asked for it, and nobody else may have it.
  b.say(solicitation(b, "fd00::abcd:1"));
  t.is(a.raw().length, 1);
  b.say(datagram6(b, a.mac, a.v6, "fd00::abcd:1"));
  t.deepEqual(rig.drops(), { "switch.spoofed_ip": 1 });
  // The ninth that it takes is in place of the first.
  for (let i = 2; i <= 8; i++) a.say(datagram6(a, b.mac, b.v6, `fd00::abcd:${i}`));
  t.is(b.raw().length, 7);
  b.say(datagram6(b, a.mac, a.v6, "fd00::abcd:1"), datagram6(b, a.mac, a.v6, "fd00::abcd:2"));
  t.is(a.raw().length, 1);
  // A lease goes before what somebody took.
  a.say(datagram6(a, b.mac, b.v6, "fd00::103"));
  const d = await rig.join("d");
  t.is(d.v6, "fd00::103");
  b.raw();
  a.say(datagram6(a, b.mac, b.v6, "fd00::103"));
  t.deepEqual(b.raw(), []);
  d.say(datagram6(d, b.mac, b.v6));
  t.is(b.raw().length, 1);
});

test("an isolated member reaches us and the outside, and no other member either way", async (t) => {
  const rig = new Members();
  const [a] = await rig.hosts("a");
  const lone = await rig.join("lone", { isolate: true });
  t.deepEqual(a.raw(), [], "it is not announced");
  lone.raw();
  const other = await rig.join("other", { isolate: true });
  a.raw();
  other.raw();
  lone.say(
    datagram(lone, a.mac, a.v4),
    datagram6(lone, a.mac, a.v6),
    datagram(lone, other.mac, other.v4),
    arp({ mac: lone.mac, sender: lone.v4, target: a.v4 }),
    solicitation(lone, a.v6),
    datagram(lone, BROADCAST_MAC, "255.255.255.255"),
    datagram(lone, NOBODYS_MAC, "10.0.2.77"),
    datagram(lone, OUR_MAC, a.v4),
  );
  a.say(
    datagram(a, lone.mac, lone.v4),
    arp({ mac: a.mac, sender: a.v4, target: lone.v4 }),
    datagram(a, BROADCAST_MAC, "255.255.255.255"),
  );
  t.deepEqual([...a.raw(), ...other.raw()], []);
  t.deepEqual(
    lone.heard().map(({ source, protocol }) => [source, protocol]),
    [[GATEWAY, 1]],
    "unreachable, says the gateway",
  );
  t.is(rig.drops()["switch.isolated"], 8);
  reachesGateway(t, lone);
  lone.say(arp({ mac: lone.mac, sender: lone.v4, target: GATEWAY }), datagram(lone, OUR_MAC, "198.51.100.7"));
  t.is(lone.raw().length, 1);
  t.is(rig.engine.datagrams.length, 1, "the outside is dialled");
});

test("a newcomer is announced to the others in its own name (RFC 5227, 3; RFC 4861, 7.2.6), and asked for by us", async (t) => {
  const rig = new Members();
  const [a] = await rig.hosts("a");
  const b = await rig.join("b");
  const [first, second, ...more] = a.heard();
  t.deepEqual(more, []);
  t.like(first, { type: 0x0806, from: b.macText, to: "ff:ff:ff:ff:ff:ff" });
  t.deepEqual([...first.payload], [0, 1, 8, 0, 6, 4, 0, 1, ...b.mac, ...ip4(b.v4), 0, 0, 0, 0, 0, 0, ...ip4(b.v4)]);
  t.like(second, {
    type: 0x86dd,
    from: b.macText,
    to: "33:33:00:00:00:01",
    source: b.v6,
    destination: "ff02::1",
    ttl: 255,
  });
  t.deepEqual([...second.payload], [...icmp6(136, 0, [0x20, 0, 0, 0, ...ip6(b.v6), 2, 1, ...b.mac], b.v6, "ff02::1")]);
  t.deepEqual(
    b.heard().map(({ from }) => from),
    new Array(4).fill("52:55:0a:00:02:02"),
  );
});

test("frames for all are copied as often in one turn as is bounded, and then no more", async (t) => {
  const rig = new Members();
  const hosts = await rig.hosts(...Array.from({ length: 40 }, (_, i) => `m${i}`));
  const [a, b] = hosts;
  // The simulated engine takes 100 frames in one turn.
  a.say(...Array.from({ length: 100 }, () => datagram(a, BROADCAST_MAC, "255.255.255.255")));
  const copies = b.raw().length;
  t.true(copies >= Math.floor(FLOODED / 40) && copies < 100, `${copies}`);
  t.is(rig.drops()["switch.flood_limit"], 100 - copies);
});

/** A segment port that keeps what it is told, and the way to hand frames in. */
function segmentOf(rig: Members) {
  const frames: Uint8Array[] = [];
  let turns = 0;
  const noted: [number, number][] = [];
  const slab = new Uint8Array(rig.network.slab);
  const segment = rig.network.addSegment({
    frame: (offset, length) => noted.push([offset, length]),
    endOfTurn: () => {
      turns++;
      for (const [offset, length] of noted.splice(0)) frames.push(slab.slice(offset, offset + length));
    },
  });
  // A datagram brings the frame, as VXLAN's would: it lies in a slot of the turn.
  const { datagrams } = rig.network.parts;
  const socket = datagrams.open(4, null, {
    datagram: (_socket, offset, length) => segment.deliver(offset, length),
    datagramFailed: () => {},
  });
  const say = (...said: Uint8Array[]) => {
    const from = new Uint8Array(24);
    from[0] = 4;
    for (const bytes of said) rig.engine.datagrams.find((_, i) => i === 0)?.deliver(bytes, from);
    rig.engine.settle();
  };
  return { segment, say, take: () => frames.splice(0), turns: () => turns, close: () => datagrams.close(socket) };
}

/** Somebody behind a segment. */
function remote(v4: string, v6: string): Host {
  const mac = [2, 0xee, 0, 0, 0, Number(v4.split(".")[3])];
  const macText = mac.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  return { mac, macText, v4, v6 } as unknown as Host; // as much of one as the builders above read
}

test("those elsewhere, behind a segment port: questions, unknown addresses and floods reach them, and they reach members and us", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const segment = segmentOf(rig);
  t.true(segment.segment.link >= MAX_LINKS);
  const far = remote("10.0.2.50", "fd00::50");
  const out = [
    arp({ mac: a.mac, sender: a.v4, target: far.v4 }),
    solicitation(a, far.v6),
    datagram(a, far.mac, far.v4),
    datagram(a, BROADCAST_MAC, "255.255.255.255"),
  ];
  a.say(...out);
  t.deepEqual(segment.take(), out);
  t.is(b.raw().length, 1, "the flood");
  const inward = [
    arp({ operation: 2, mac: far.mac, sender: far.v4, target: a.v4, to: a.mac }),
    datagram(far, a.mac, a.v4),
    datagram6(far, a.mac, a.v6),
  ];
  segment.say(...inward);
  t.deepEqual(a.raw(), inward);
  t.deepEqual(b.raw(), []);
  segment.say(datagram(far, BROADCAST_MAC, "255.255.255.255"));
  t.deepEqual([a.raw().length, b.raw().length], [1, 1]);
  t.deepEqual(segment.take(), [], "what comes from a segment never goes to one");
  t.deepEqual(rig.drops(), {});
  // Ours answers there, too.
  segment.say(arp({ mac: far.mac, sender: far.v4, target: GATEWAY }), ...pings(far));
  const answers = segment.take();
  t.is(answers.length, 3);
  t.true(answers.every((bytes) => Buffer.from(bytes.subarray(12, 18)).equals(Buffer.from(far.mac))));
  // A newcomer is announced there, too.
  await rig.join("late");
  t.is(segment.take().length, 2);
  segment.segment.remove();
  rig.engine.settle();
  a.say(datagram(a, far.mac, far.v4));
  t.deepEqual(segment.take(), []);
  t.deepEqual(rig.drops(), { "switch.unknown": 1 });
});

test("those elsewhere cannot speak in the name of a member or of us, nor reach an isolated one", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const lone = await rig.join("lone", { isolate: true });
  for (const host of [a, b, lone]) host.raw();
  const segment = segmentOf(rig);
  const far = remote("10.0.2.50", "fd00::50");
  const as = (mac: readonly number[], bytes: Uint8Array) =>
    Uint8Array.from([...bytes.subarray(0, 18), ...mac, ...bytes.subarray(24)]);
  segment.say(
    as(b.mac, datagram(far, a.mac, a.v4)),
    as(OUR_MAC, datagram(far, a.mac, a.v4)),
    datagram(far, a.mac, a.v4, b.v4),
    datagram(far, a.mac, a.v4, GATEWAY),
    datagram6(far, a.mac, a.v6, b.v6),
    datagram6(far, a.mac, a.v6, OUR_LINK_LOCAL),
    arp({ mac: far.mac, sender: GATEWAY, target: a.v4 }),
    arp({ mac: far.mac, sender: b.v4, target: b.v4 }),
    advertisement(far, b.v6),
    discovery(far, {
      type: 134,
      body: new Array(12).fill(1),
      source: "fe80::50",
      destination: "ff02::1",
      to: ALL_NODES_MAC,
    }),
    discovery(far, {
      type: 133,
      body: [0, 0, 0, 0],
      source: "fe80::50",
      destination: "ff02::2",
      to: groupMac("ff02::2"),
    }),
    datagram(far, lone.mac, lone.v4),
    datagram(far, NOBODYS_MAC, "10.0.2.51"),
  );
  t.deepEqual([...a.raw(), ...b.raw(), ...lone.raw(), ...segment.take()], []);
  t.deepEqual(rig.drops(), {
    "switch.isolated": 1,
    "switch.router": 2,
    "switch.spoofed_arp": 2,
    "switch.spoofed_discovery": 1,
    "switch.spoofed_ip": 4,
    "switch.spoofed_mac": 2,
    "switch.unknown": 1,
  });
  lone.say(datagram(lone, far.mac, far.v4));
  t.deepEqual(segment.take(), []);
});

test("a capture sees what members send as it was read, and what they get as it is written", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const seen: [number, number, Uint8Array, number][] = [];
  const slab = new Uint8Array(rig.network.slab);
  const stop = rig.network.capture({
    frame: (link, direction, offset, length, now) =>
      seen.push([link, direction, slab.slice(offset, offset + length), now]),
  });
  rig.engine.advance(5);
  const sent = [datagram(a, b.mac, b.v4), ...pings(a)];
  a.say(...sent);
  const answers = a.raw();
  t.deepEqual(seen, [
    ...sent.map((bytes) => [a.member.link, 0, bytes, rig.engine.now] as [number, number, Uint8Array, number]),
    [b.member.link, 1, sent[0], rig.engine.now],
    ...answers.map((bytes) => [a.member.link, 1, bytes, rig.engine.now] as [number, number, Uint8Array, number]),
  ]);
  stop();
  a.say(...sent);
  t.is(seen.length, 6);
});
