/**
 * A million mutated and random frames, and a host that behaves at random, against the whole stack: nothing throws (the
 * simulated engine checks every command), nothing hangs, every table keeps its bound, what goes into the sandbox is well
 * formed, and nothing reaches the host's loopback.
 */
import test from "ava";
import { MAX_DATAGRAMS } from "../../src/stack/fragments.js";
import { MAX_NEIGHBOURS } from "../../src/stack/neighbours.js";
import { Tcp } from "../../src/tcp/tcp.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { UDHCPC_DISCOVER } from "../simulation/captured.js";
import {
  BROADCAST_MAC,
  echo,
  frame,
  ip4,
  ipv4,
  OUR_MAC,
  parse,
  SANDBOX_MAC,
  sum,
  u16,
  u32,
  udp,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";
import { SimulatedDatagram, SimulatedStream } from "../simulation/sockets.js";

const FRAMES = 1_000_000;
const BATCH = 200;
const UDP_LIMITS = { flows: 256, peersPerOwner: 32, peers: 1024 };
const TCP_FLOWS = 512;

/** mulberry32 */
function generator(seed: number) {
  let state = seed;
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Pick = (below: number) => number;

const PLACES = [
  "198.51.100.7",
  "198.51.100.8",
  "203.0.113.5",
  "10.0.2.2",
  "10.0.2.3",
  "10.0.2.77",
  "127.0.0.1",
  "224.0.0.1",
];

function tcp(random: Pick, destination: string): Uint8Array {
  const flags = [0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x12][random(7)];
  const options = flags & 2 ? [2, 4, 5, 0xb4, 1, 3, 3, 7] : [];
  const header = [
    ...u16(1000 + random(300)),
    ...u16(80 + random(3)),
    ...u32(1000 + random(5000)),
    ...u32(random(8) ? random(0x7fffffff) : 0),
  ];
  header.push(((20 + options.length) / 4) << 4, flags, ...u16(random(65536)), 0, 0, 0, 0, ...options);
  const payload = new Uint8Array(flags & 2 ? 0 : random(600)).fill(random(256));
  const segment = Uint8Array.from([...header, ...payload]);
  const pseudo = [...ip4("10.0.2.100"), ...ip4(destination), 0, 6, ...u16(segment.length)];
  segment.set(u16(sum([...pseudo, ...segment])), 16);
  return segment;
}

/** A frame that is right, of any kind. */
function template(random: Pick): Uint8Array {
  const destination = PLACES[random(PLACES.length)];
  const port = [53, 67, 9, 80, 1 + random(65535)][random(5)];
  const bytes = new Uint8Array(random(300)).fill(random(256));
  switch (random(9)) {
    case 0: {
      const mac = [2, 0, 0, 0, 0, random(256)];
      const body = [
        0,
        1,
        8,
        0,
        6,
        4,
        0,
        1 + random(2),
        ...mac,
        10,
        0,
        2,
        random(256),
        0,
        0,
        0,
        0,
        0,
        0,
        10,
        0,
        2,
        random(8),
      ];
      return frame(0x0806, body, random(2) ? BROADCAST_MAC : OUR_MAC, mac);
    }
    case 1:
      return UDHCPC_DISCOVER.slice();
    case 2: {
      const payload = echo(random(8) ? 8 : random(256), random(400), random(65536), bytes);
      return frame(0x0800, ipv4({ destination, protocol: 1, payload }));
    }
    case 3: {
      const fragment = (random(2) ? 0x2000 : 0) | (random(3) ? random(200) : random(8192));
      return frame(
        0x0800,
        ipv4({ destination, protocol: [1, 6, 17][random(3)], id: random(100), fragment, payload: bytes }),
      );
    }
    case 4: {
      const payload = udp(4000 + random(600), port, bytes, "10.0.2.100", destination);
      const vnet = { flags: 1, gso: 5, size: 1 + random(200), start: 34, offset: 6 };
      return frame(0x0800, ipv4({ destination, protocol: 17, payload }), OUR_MAC, SANDBOX_MAC, vnet);
    }
    case 5:
      return frame(0x0800, ipv4({ destination, protocol: random(256), payload: bytes }));
    case 6:
      return frame(0x0800, ipv4({ destination, protocol: 6, payload: tcp(random, destination) }));
    case 7: {
      const vnet = { flags: 1, gso: random(2), size: 1 + random(1460), start: 34, offset: 16 };
      const payload = tcp(random, destination);
      return frame(0x0800, ipv4({ destination, protocol: 6, payload }), OUR_MAC, SANDBOX_MAC, vnet);
    }
    default: {
      const payload = udp(4000 + random(600), port, bytes, "10.0.2.100", destination);
      return frame(0x0800, ipv4({ destination, protocol: 17, ttl: random(20) ? 64 : random(3), payload }));
    }
  }
}

/** Sets the IP header's checksum right, as far as there is a header. */
function mend(bytes: Uint8Array): void {
  const header = (bytes[26] & 15) * 4;
  if (bytes.length < 26 + header || header < 20) return;
  bytes.set([0, 0], 36);
  bytes.set(u16(sum(bytes.subarray(26, 26 + header))), 36);
}

function mutated(random: Pick): Uint8Array {
  if (random(20) === 0) return Uint8Array.from({ length: random(200) }, () => random(256));
  let bytes = template(random);
  const changes = random(4);
  for (let i = 0; i < changes && bytes.length > 0; i++) {
    const position = random(3) ? random(Math.min(bytes.length, 80)) : random(bytes.length);
    switch (random(5)) {
      case 0:
        bytes[position] ^= 1 << random(8);
        break;
      case 1:
        bytes[position] = [0, 1, 0x7f, 0x80, 0xff][random(5)];
        break;
      case 2:
        bytes[position] = random(256);
        break;
      case 3:
        bytes = bytes.slice(0, position);
        break;
      default:
        bytes = Uint8Array.from([...bytes, ...new Uint8Array(random(40))]);
    }
  }
  if (bytes.length > 60 && random(4) > 0) mend(bytes);
  return bytes;
}

/** Something happens on a socket of the host. */
function host(network: SimulatedNetwork, random: Pick): void {
  const socket = network.engine.sockets[random(Math.max(1, network.engine.sockets.length))];
  if (socket === undefined || socket.closed) return;
  const bytes = new Uint8Array(random(3) ? random(400) : random(9000)).fill(random(256));
  if (socket instanceof SimulatedDatagram) {
    const [last] = socket.sent.slice(-1);
    const remote = last?.remote ?? endpoint(parseAddress("198.51.100.7"), 9);
    if (random(4) === 0) {
      const failure = {
        errno: [111, 113, 101, 90, 13][random(5)],
        type: [-1, 3, 11][random(3)],
        code: random(14),
        info: random(1500),
      };
      socket.fail(bytes.subarray(0, 100), remote, random(2) ? remote : null, failure);
    } else socket.deliver(bytes, remote, socket.local, random(3) ? 0 : 1 + random(500));
    socket.sent.length = 0;
  } else if (socket instanceof SimulatedStream) {
    const what = random(8);
    if (what === 0) socket.fail(111);
    else if (!socket.connected) socket.establish();
    else if (what === 1) socket.finish();
    else if (what === 2) socket.capacity = random(2000);
    else if (what === 3) socket.read(1_000_000);
    else if (socket.stream.length < 100_000) socket.write(bytes);
    socket.received.length = 0;
  }
}

test("a million frames", (t) => {
  t.timeout(120_000);
  const random = generator(20_260_729);
  let stack: Tcp | null = null;
  const network = new SimulatedNetwork({
    engine: { slots: 256, maxSockets: 2048, maxEvents: 4096 },
    limits: UDP_LIMITS,
    tcp: (parts) => {
      const { egress: output, sockets: streams, policy, clock, counters, flows, timers } = parts;
      const options = { maxFlows: TCP_FLOWS, maxHalfOpen: TCP_FLOWS / 2 };
      stack = new Tcp({ output, streams, policy, clock, random: parts.random, counters, flows, timers, options });
      return stack;
    },
  });
  const tcpFlows = () => stack?.flowCount ?? 0;
  let written = 0;
  for (let done = 0; done < FRAMES; done += BATCH) {
    for (let i = 0; i < BATCH; i++) network.wire.incoming.push(mutated(random));
    for (let i = random(40); i > 0; i--) host(network, random);
    network.engine.advance(random(100) ? random(50) : random(60_000));
    network.engine.turn();
    for (const bytes of network.wire.take()) {
      const parsed = parse(bytes);
      written++;
      if (parsed.type === 0x0806) continue;
      if (!parsed.headerValid || parsed.from !== "52:55:0a:00:02:02")
        t.fail(`a bad frame: ${Buffer.from(bytes).toString("hex")}`);
    }
    if (done % 20_000 !== 0) continue;
    t.true(network.udp.flowCount <= UDP_LIMITS.flows);
    t.true(network.udp.peerCount <= UDP_LIMITS.peers);
    t.true(network.icmp.flowCount <= 256);
    t.true(tcpFlows() <= TCP_FLOWS);
    t.true(network.reassembly.size <= MAX_DATAGRAMS);
    t.true(network.neighbours.size(network.link) <= MAX_NEIGHBOURS);
    t.is(network.flows.size, network.udp.flowCount + 2 * network.udp.peerCount + network.icmp.flowCount + tcpFlows());
    for (const socket of network.engine.opened) {
      if (socket instanceof SimulatedStream) t.not(socket.remote[20], 127);
      else if (socket instanceof SimulatedDatagram) t.true(socket.sent.every(({ remote }) => remote[20] !== 127));
    }
  }
  t.true(written > FRAMES / 100);
  // The frames got everywhere: each part of the stack has something to tell.
  const counters = Object.keys(network.counters.snapshot());
  for (const room of ["stack.", "udp.", "icmp.", "dhcp.", "tcp.", "policy."]) {
    t.true(
      counters.some((name) => name.startsWith(room)),
      room,
    );
  }
  t.log(`${written} frames into the sandbox; ${JSON.stringify(network.counters.snapshot())}`);
});
