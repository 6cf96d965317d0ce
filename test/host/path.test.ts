/** TTL and "don't fragment" of what the sandbox sends, as its packets outside have them, and the errors that come of it. */
import test from "ava";
import { Path } from "../../src/native/engine.js";
import { Tcp } from "../../src/tcp/tcp.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { BOTH, type Inet } from "../simulation/families.js";
import { frame, ip4, ip6, ipv4, ipv6, sum, u16, u32, udp } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const DONT_FRAGMENT = 0x4000;

/** A packet of the sandbox with this TTL; IPv4's with or without DF. */
function packet(inet: Inet, protocol: number, hops: number, whole: boolean, payload: ArrayLike<number>): Uint8Array {
  const fragment = whole ? DONT_FRAGMENT : 0;
  if (inet.family === 6) return frame(0x86dd, ipv6({ destination: inet.outside, next: protocol, hops, payload }));
  return frame(0x0800, ipv4({ destination: inet.outside, protocol, ttl: hops, fragment, payload }));
}

const datagram = (inet: Inet, length: number) => udp(5000, 33434, new Uint8Array(length), inet.inside, inet.outside);

function synSegment(inet: Inet): number[] {
  const bytesOf = inet.family === 4 ? ip4 : ip6;
  const segment = [...u16(5000), ...u16(80), ...u32(7), ...u32(0), 0x50, 0x02, ...u16(65_535), 0, 0, 0, 0];
  const pseudo = [...bytesOf(inet.inside), ...bytesOf(inet.outside), 0, 6, ...u16(segment.length)];
  segment.splice(16, 2, ...u16(sum([...pseudo, ...segment])));
  return segment;
}

for (const inet of BOTH) {
  test(`${inet.name}: the TTL outside is the packet's less one, and the host's own for a usual packet`, (t) => {
    const network = new SimulatedNetwork();
    const echo = inet.ping(inet.echo, 1, 1, [], inet.inside, inet.outside);
    for (const [hops, outside] of [
      [2, 1],
      [30, 29],
      [64, 0],
      [255, 254],
    ]) {
      network.exchange(packet(inet, 17, hops, true, datagram(inet, 8)), packet(inet, inet.icmp, hops, true, echo));
      t.deepEqual(
        network.engine.datagrams.map((socket) => socket.take().map(({ path }) => path)),
        [[outside], [outside]],
      );
    }
  });

  test(`${inet.name}: what gets no further than us is said by the gateway, and nothing leaves`, (t) => {
    const network = new SimulatedNetwork();
    const [error] = network.exchange(packet(inet, 17, 1, true, datagram(inet, 8)));
    t.deepEqual([...error.payload.subarray(0, 2)], [...inet.timeExceeded]);
    t.is(error.source, inet.gateway);
    t.is(network.engine.datagrams.length, 0);
  });

  test(`${inet.name}: a packet goes whole where it must, up to 1,500 bytes of UDP and any of ICMP`, (t) => {
    const network = new SimulatedNetwork({ mtu: 9000 });
    const pathOf = (bytes: Uint8Array) => {
      network.exchange(bytes);
      return network.engine.datagrams.flatMap((socket) => socket.take().map(({ path }) => path));
    };
    const fits = 1500 - inet.header - 8;
    t.deepEqual(pathOf(packet(inet, 17, 64, true, datagram(inet, 100))), [0]);
    t.deepEqual(pathOf(packet(inet, 17, 64, true, datagram(inet, fits))), [Path.Whole]);
    t.deepEqual(pathOf(packet(inet, 17, 64, true, datagram(inet, fits + 1))), [Path.Split]);
    const echo = inet.ping(inet.echo, 1, 1, new Uint8Array(8000), inet.inside, inet.outside);
    t.deepEqual(pathOf(packet(inet, inet.icmp, 9, true, echo)), [Path.Whole | 8]);
    if (inet.family === 4) t.deepEqual(pathOf(packet(inet, 17, 64, false, datagram(inet, fits))), [Path.Split]);
  });

  test(`${inet.name}: a host that knows the path's MTU says so in the gateway's name`, (t) => {
    const network = new SimulatedNetwork();
    network.exchange(packet(inet, 17, 64, true, datagram(inet, 1400)));
    const [socket] = network.engine.datagrams;
    const remote = endpoint(parseAddress(inet.outside), 33434);
    socket.fail(new Uint8Array(100), remote, null, { errno: 90, type: -1, code: 0, info: 1280 });
    network.engine.settle();
    const [error] = network.received();
    t.deepEqual([...error.payload.subarray(0, 2)], [...inet.tooBig]);
    t.is(error.payload[6] * 256 + error.payload[7], 1280);
    t.is(error.source, inet.gateway);
  });

  test(`${inet.name}: a SYN that a router gave up is told in its name, with the SYN as the sandbox sent it`, (t) => {
    const network = new SimulatedNetwork({
      tcp: ({ egress: output, sockets: streams, policy, clock, random, counters, flows, timers }) =>
        new Tcp({ output, streams, policy, clock, random, counters, flows, timers }),
    });
    const syn = packet(inet, 6, 3, true, synSegment(inet));
    network.exchange(syn);
    const [stream] = network.engine.streams;
    t.is(stream.hops, 2);
    const [type, code] = inet.timeExceeded;
    stream.fail(113, { type, code, from: endpoint(parseAddress(inet.router), 0) });
    network.engine.settle();
    const [error] = network.received();
    t.deepEqual([...error.payload.subarray(0, 2)], [type, code]);
    t.is(error.source, inet.router);
    t.deepEqual([...error.payload.subarray(8)], [...syn.subarray(26)]);
    t.is(network.flows.size, 0);
  });
}
