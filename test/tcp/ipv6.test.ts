/** A TCP connection over IPv6 through the whole stack, frame by frame. */
import test from "ava";
import { Tcp } from "../../src/tcp/tcp.js";
import { formatEndpoint } from "../../src/wire/address.js";
import { V6 } from "../simulation/families.js";
import {
  frame,
  ip6,
  ipv6,
  OUR_MAC,
  type Parsed,
  partialChecksum,
  SANDBOX_MAC,
  sum,
  u16,
  u32,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const [FIN, SYN, RST, PSH, ACK] = [1, 2, 4, 8, 16];

function network(mtu = 1500) {
  return new SimulatedNetwork({
    mtu,
    tcp: ({ egress: output, sockets: streams, policy, clock, random, counters, flows, timers }) =>
      new Tcp({ output, streams, policy, clock, random, counters, flows, timers }),
  });
}

/** A segment of the sandbox; `gso`: the size of the segments of a super-frame. */
function segment(
  flags: number,
  seq: number,
  ack: number,
  payload: ArrayLike<number> = [],
  gso = 0,
  port = 80,
  mss = 1440,
) {
  const options = flags & SYN ? [2, 4, ...u16(mss), 1, 3, 3, 7] : [];
  const header = [...u16(40_000), ...u16(port), ...u32(seq), ...u32(ack), (5 + options.length / 4) << 4, flags];
  header.push(...u16(64_000), 0, 0, 0, 0, ...options);
  const bytes = Uint8Array.from([...header, ...Array.from(payload)]);
  const pseudo = [...ip6(V6.inside), ...ip6(V6.outside), ...u32(bytes.length), 0, 0, 0, 6];
  bytes.set(u16(gso > 0 ? 0xffff - sum(pseudo) : sum([...pseudo, ...bytes])), 16);
  const vnet = gso > 0 ? { flags: 1, gso: 4, size: gso, start: 54, offset: 16 } : {};
  return frame(0x86dd, ipv6({ destination: V6.outside, next: 6, payload: bytes }), OUR_MAC, SANDBOX_MAC, vnet);
}

function read({ payload }: Parsed) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  return {
    flags: payload[13],
    seq: view.getUint32(4),
    ack: view.getUint32(8),
    options: [...payload.subarray(20, (payload[12] >> 4) * 4)],
    data: payload.subarray((payload[12] >> 4) * 4),
  };
}

test("a connection: segment size of an IPv6 packet, a super-frame each way, the end of both streams", (t) => {
  const net = network();
  t.is(net.exchange(segment(SYN, 1000, 0)).length, 0, "dial first");
  const [socket] = net.engine.streams;
  t.is(formatEndpoint(socket.remote), "[2001:db8::7]:80");
  socket.establish();
  net.engine.settle();
  const [answer] = net.received();
  t.deepEqual([answer.source, answer.destination, answer.protocol], [V6.outside, V6.inside, 6]);
  t.true(answer.headerValid);
  t.is(answer.payload[16] * 256 + answer.payload[17], partialChecksum(answer));
  const synAck = read(answer);
  t.deepEqual([synAck.flags, synAck.ack], [SYN | ACK, 1001]);
  t.deepEqual(synAck.options.slice(0, 4), [2, 4, ...u16(1440)]);
  const ack = synAck.seq + 1;

  const question = Uint8Array.from({ length: 20_000 }, (_, i) => i & 0xff);
  net.exchange(segment(ACK, 1001, ack), segment(PSH | ACK, 1001, ack, question, 1440));
  t.is(Buffer.compare(Buffer.from(socket.received), question), 0);

  socket.write(Uint8Array.from({ length: 30_000 }, (_, i) => (i * 3) & 0xff));
  net.engine.settle();
  const [data, ...more] = net.received().filter(({ payload }) => payload.length > 20);
  t.is(more.length, 0);
  t.deepEqual(data.vnet, { flags: 1, gso: 4, headers: 74, size: 1440, start: 54, offset: 16 });
  t.deepEqual([read(data).seq, read(data).data.length], [ack, 30_000]);

  socket.finish();
  net.engine.settle();
  const [fin] = net.exchange(segment(ACK, 21_001, ack + 30_000)).map(read);
  t.deepEqual([fin.flags & FIN, fin.seq], [FIN, ack + 30_000]);
  const [last] = net.exchange(segment(FIN | ACK, 21_001, ack + 30_001)).map(read);
  t.is(last.ack, 21_002);
  net.pass(5000);
  t.is(net.flows.size, 0);
});

for (const mtu of [1280, 1281, 1500, 9000, 65520, 65521]) {
  test(`at MTU ${mtu} the segment size leaves room for the longer header`, (t) => {
    const net = network(mtu);
    net.exchange(segment(SYN, 1, 0, [], 0, 80, 65_535));
    const [socket] = net.engine.streams;
    socket.establish();
    net.engine.settle();
    const synAck = read(net.received()[0]);
    t.deepEqual(synAck.options.slice(0, 4), [2, 4, ...u16(mtu - 60)]);
    socket.write(Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7) & 0xff));
    const frames = net.exchange(segment(ACK, 2, synAck.seq + 1));
    const data = Buffer.concat(frames.map((each) => read(each).data));
    t.is(data.length, 200_000);
    t.true(data.every((byte, i) => byte === ((i * 7) & 0xff)));
    for (const { vnet, ip } of frames) {
      const whole = vnet.gso === 0;
      t.is(vnet.size, whole ? 0 : mtu - 60);
      t.true(ip.length <= (whole ? mtu : 65_575));
    }
  });
}

test("a refusal is a reset; no route and the like are ICMPv6 errors about the SYN; a stray segment is reset", (t) => {
  const errors: [number, readonly [number, number]][] = [
    [101, V6.noRoute],
    [113, V6.noHost],
    [13, V6.prohibited],
  ];
  for (const [errno, expected] of errors) {
    const net = network();
    const syn = segment(SYN, 1000, 0);
    net.exchange(syn);
    net.engine.streams[0].fail(errno);
    net.engine.settle();
    const [error] = net.received();
    t.deepEqual([...error.payload.subarray(0, 2)], [...expected]);
    t.deepEqual([...error.payload.subarray(8)], [...syn.subarray(26)], "all of it");
  }
  const net = network();
  net.exchange(segment(SYN, 1000, 0));
  net.engine.streams[0].fail(111);
  net.engine.settle();
  t.is(read(net.received()[0]).flags, RST | ACK);
  t.is(read(net.exchange(segment(ACK, 7, 8))[0]).flags, RST);
});
