/**
 * Frames from a generator, and a host that behaves at random, against the whole stack: nothing throws (the simulated engine
 * checks every command), nothing hangs, every table keeps its bound, what goes into the sandbox is well formed, and
 * nothing reaches the host's loopback.
 */
import type { ExecutionContext } from "ava";
import { MAX_DATAGRAMS } from "../../src/stack/fragments.js";
import { MAX_NEIGHBOURS } from "../../src/stack/neighbours.js";
import { Tcp } from "../../src/tcp/tcp.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { isLoopback } from "../../src/wire/ipv6.js";
import { parse } from "./frames.js";
import { SimulatedNetwork } from "./network.js";
import { SimulatedDatagram, SimulatedStream } from "./sockets.js";

const FRAMES = 1_000_000;
const BATCH = 200;
const UDP_LIMITS = { flows: 256, peersPerOwner: 32, peers: 1024 };
const TCP_FLOWS = 512;
const OUTSIDE = "198.51.100.7";

/** mulberry32 */
export function generator(seed: number) {
  let state = seed;
  return (below: number): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** A whole number from 0 to less than `below`. */
export type Pick = (below: number) => number;

/**
 * A frame changed at random: up to three times a bit, a byte, or its length.
 * @param template makes a frame that is right
 * @param mend sets its checksums right again, which is done mostly, or else nothing gets far
 */
export function mutated(
  random: Pick,
  template: (random: Pick) => Uint8Array,
  mend: (bytes: Uint8Array) => void,
): Uint8Array {
  if (random(20) === 0) {
    const noise = new Uint8Array(random(200));
    for (let i = 0; i < noise.length; i++) noise[i] = random(256);
    return noise;
  }
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
      default: {
        const longer = new Uint8Array(bytes.length + random(40));
        longer.set(bytes);
        bytes = longer;
      }
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
    const remote = last?.remote ?? endpoint(parseAddress(OUTSIDE), 9);
    if (random(4) === 0) {
      const failure = {
        errno: [111, 113, 101, 90, 13][random(5)],
        type: [-1, 1, 2, 3, 4, 11][random(6)],
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

/** Sends a million frames; `rooms`: each part of the stack that must have something to tell in the end. */
export function bombard(t: ExecutionContext, random: Pick, next: (random: Pick) => Uint8Array, rooms: string[]): void {
  t.timeout(120_000);
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
    for (let i = 0; i < BATCH; i++) network.wire.incoming.push(next(random));
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
      if (socket instanceof SimulatedStream) t.false(reachesLoopback(socket.remote));
      else if (socket instanceof SimulatedDatagram) t.false(socket.sent.some(({ remote }) => reachesLoopback(remote)));
    }
  }
  t.true(written > FRAMES / 100);
  // The frames got everywhere: each part of the stack has something to tell.
  const counters = Object.keys(network.counters.snapshot());
  for (const room of rooms) {
    t.true(
      counters.some((name) => name.startsWith(room)),
      room,
    );
  }
  t.log(`${written} frames into the sandbox; ${JSON.stringify(network.counters.snapshot())}`);
}

function reachesLoopback(remote: Uint8Array): boolean {
  return remote[0] === 4 ? remote[20] === 127 : isLoopback(remote.subarray(8));
}
