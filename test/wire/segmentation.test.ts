/** What is refused, and what is done in place. What becomes of sound frames is compared with Linux: test/integration/segmentation. */
import test from "ava";
import fc from "fast-check";
import { MOST_SEGMENTS, Segmenter } from "../../src/wire/segmentation.js";
import { frame, ipv4, ipv6, parse, pseudoHeader, sum, u16, udpChecksumValid, type Vnet } from "../simulation/frames.js";

const tcp = (payload: number, header = 20): Uint8Array =>
  Uint8Array.from([
    ...u16(40000),
    ...u16(80),
    ...new Array(8).fill(1),
    (header / 4) << 4,
    16,
    ...new Array(header - 14 + payload).fill(0),
  ]);
const udp = (payload: number): Uint8Array =>
  Uint8Array.from([...u16(40000), ...u16(80), ...u16(8 + payload), 0, 0, ...new Array(payload).fill(0)]);
const SEGMENTS: Vnet = { flags: 1, gso: 1, size: 1000, start: 34, offset: 16, headers: 54 };
const packet4 = (vnet: Vnet, change = {}) =>
  frame(0x0800, ipv4({ protocol: 6, payload: tcp(3000), ...change }), undefined, undefined, vnet);
const packet6 = (vnet: Vnet, change = {}) =>
  frame(0x86dd, ipv6({ next: 6, payload: tcp(3000), ...change }), undefined, undefined, vnet);

/** Into how many frames one falls. */
function count(given: Uint8Array, length = given.length): number {
  const memory = new Uint8Array(70_000);
  memory.set(given, 100);
  return new Segmenter(memory).read(100, length);
}

function altered(given: Uint8Array, at: number, value: number): Uint8Array {
  const out = given.slice();
  out[at] = value;
  return out;
}

test("sound super-frames, to compare the others with", (t) => {
  t.is(count(packet4(SEGMENTS)), 3);
  t.is(count(packet6({ ...SEGMENTS, gso: 4, start: 54 })), 3);
  t.is(count(packet4({ ...SEGMENTS, gso: 0x81 })), 3);
  t.is(count(packet4({ ...SEGMENTS, gso: 5, offset: 6 }, { protocol: 17, payload: udp(3000) })), 3);
  t.is(count(packet4({ ...SEGMENTS, headers: 0 })), 3, "hdr_len is a hint");
  t.is(count(packet4({ ...SEGMENTS, size: 3000 })), 1);
});

const IP = 26;
const hostile: [name: string, given: Uint8Array][] = [
  ["nothing behind the virtio header", new Uint8Array(25)],
  ["an empty one", new Uint8Array(0)],
  ["segments without an open checksum", packet4({ ...SEGMENTS, flags: 0 })],
  ["segments of no bytes", packet4({ ...SEGMENTS, size: 0 })],
  ["more segments than anybody makes", packet4({ ...SEGMENTS, size: 1 })],
  ["a kind that nobody knows", packet4({ ...SEGMENTS, gso: 2 })],
  ["UDP fragmentation", packet4({ ...SEGMENTS, gso: 3, offset: 6 }, { protocol: 17, payload: udp(3000) })],
  ["IPv6 said of IPv4", packet4({ ...SEGMENTS, gso: 4 })],
  ["IPv4 said of IPv6", packet6({ ...SEGMENTS, gso: 1, start: 54 })],
  ["UDP said of TCP", packet4({ ...SEGMENTS, gso: 5 })],
  ["TCP said of UDP", packet4(SEGMENTS, { protocol: 17, payload: udp(3000) })],
  ["TCP said of another protocol", packet4(SEGMENTS, { protocol: 132 })],
  ["a checksum elsewhere in the header", packet4({ ...SEGMENTS, offset: 14 })],
  ["a checksum that begins in the IP header", packet4({ ...SEGMENTS, start: 30 })],
  ["a checksum that begins in the payload", packet4({ ...SEGMENTS, start: 54 })],
  ["a checksum that begins before the frame's payload", packet4({ ...SEGMENTS, gso: 0, start: 12 })],
  ["a checksum behind the frame", packet4({ ...SEGMENTS, gso: 0, start: 3050, offset: 23 })],
  ["a checksum far behind the frame", packet4({ ...SEGMENTS, gso: 0, start: 65535, offset: 65535 })],
  ["a checksum at an odd place", packet4({ ...SEGMENTS, gso: 0, offset: 17 })],
  ["headers longer than the frame", packet4({ ...SEGMENTS, headers: 4000 })],
  ["an IP header of four words", altered(packet4(SEGMENTS), IP, 0x44)],
  ["an IP header of fifteen words", altered(packet4(SEGMENTS), IP, 0x4f)],
  ["another version", altered(packet4(SEGMENTS), IP, 0x65)],
  ["an IPv4 packet longer than its frame", altered(packet4(SEGMENTS), IP + 2, 0xff)],
  ["an IPv4 packet shorter than its headers", altered(altered(packet4(SEGMENTS), IP + 2, 0), IP + 3, 30)],
  ["a fragment", packet4(SEGMENTS, { fragment: 0x2000 })],
  ["the rest of a fragment", packet4(SEGMENTS, { fragment: 100 })],
  ["an IPv6 packet longer than its frame", altered(packet6({ ...SEGMENTS, gso: 4, start: 54 }), IP + 4, 0xff)],
  [
    "a fragment of IPv6",
    packet6({ ...SEGMENTS, gso: 4, start: 62 }, { next: 44, extensions: [6, 0, 0, 1, 0, 0, 0, 1] }),
  ],
  [
    "an extension header beyond the end",
    packet6({ ...SEGMENTS, gso: 4, start: 54 }, { next: 0, extensions: [6, 255, 0, 0, 0, 0, 0, 0], payload: tcp(500) }),
  ],
  ["a TCP header of four words", packet4(SEGMENTS, { payload: altered(tcp(3000), 12, 0x40) })],
  ["a TCP header longer than the packet", packet4(SEGMENTS, { payload: altered(tcp(10), 12, 0xf0) })],
  ["half a TCP header", packet4({ ...SEGMENTS, headers: 0 }, { payload: tcp(0).subarray(0, 18) })],
  [
    "half a UDP header",
    packet4({ ...SEGMENTS, headers: 0, gso: 5, offset: 4 }, { protocol: 17, payload: udp(0).subarray(0, 6) }),
  ],
  ["neither IPv4 nor IPv6", frame(0x88b5, ipv4({ protocol: 6, payload: tcp(3000) }), undefined, undefined, SEGMENTS)],
  [
    "a VLAN tag",
    frame(0x8100, [0, 5, 8, 0, ...ipv4({ protocol: 6, payload: tcp(3000) })], undefined, undefined, {
      ...SEGMENTS,
      start: 38,
    }),
  ],
];
for (const [name, given] of hostile) test(`refused: ${name}`, (t) => t.is(count(given), 0));

test("any frame: no exception, no more segments than the bound, none longer than it was said, all within the payload", (t) => {
  const word = fc.oneof(fc.integer({ min: 0, max: 65535 }), fc.constantFrom(0, 6, 14, 16, 20, 34, 54, 1000));
  const base = fc.constantFrom(
    packet4(SEGMENTS),
    packet6({ ...SEGMENTS, gso: 4, start: 54 }),
    packet4({ ...SEGMENTS, gso: 5, offset: 6 }, { protocol: 17, payload: udp(3000) }),
  );
  const changes = fc.array(fc.tuple(fc.integer({ min: 0, max: 90 }), fc.integer({ min: 0, max: 255 })), {
    maxLength: 4,
  });
  const vnet = fc.option(
    fc.record({
      flags: fc.constantFrom(0, 1, 3),
      gso: fc.constantFrom(0, 1, 4, 5, 0x81, 9),
      headers: word,
      size: word,
      start: word,
      offset: word,
    }),
  );
  fc.assert(
    fc.property(base, changes, vnet, fc.integer({ min: 0, max: 3200 }), (given, changes, vnet, length) => {
      const memory = new Uint8Array(200_000).fill(0xee);
      memory.set(given, 5);
      if (vnet !== null) memory.set(frame(0, [], undefined, undefined, vnet).subarray(0, 12), 5);
      for (const [at, value] of changes) memory[5 + at] = value;
      const segmenter = new Segmenter(memory);
      const size = Math.min(length, given.length);
      const frames = segmenter.read(5, size);
      t.true(frames <= MOST_SEGMENTS);
      for (let i = 0; i < frames; i++) {
        const written = segmenter.write(i, memory, new DataView(memory.buffer), 100_000);
        t.true(written > 0 && written <= segmenter.longest && written <= size - 12);
        t.is(memory[100_000 + written], 0xee);
        memory.fill(0xee, 100_000, 100_000 + written);
      }
    }),
    { numRuns: 3000 },
  );
});

test("an open checksum is completed in place, and its virtio header asks for nothing more", (t) => {
  const datagram = udp(301);
  datagram.set(u16(0xffff - sum(pseudoHeader("10.0.2.100", "198.51.100.7", 17, datagram.length))), 6);
  const given = packet4({ flags: 1, start: 34, offset: 6 }, { protocol: 17, payload: datagram });
  const segmenter = new Segmenter(given);
  t.is(segmenter.read(0, given.length), 1);
  t.true(segmenter.complete());
  const parsed = parse(given);
  t.deepEqual(parsed.vnet, { flags: 0, gso: 0, headers: 0, size: 0, start: 0, offset: 0 });
  t.true(udpChecksumValid("10.0.2.100", "198.51.100.7", parsed.payload));
  t.is(segmenter.read(0, given.length), 1);
  t.true(segmenter.complete(), "once more changes nothing");
  t.true(udpChecksumValid("10.0.2.100", "198.51.100.7", parse(given).payload));
});

test("a super-frame of one segment is not completed in place, and what is complete is left alone", (t) => {
  const one = packet4({ ...SEGMENTS, size: 3000 });
  const segmenter = new Segmenter(one);
  t.is(segmenter.read(0, one.length), 1);
  t.false(segmenter.complete());
  const plain = packet4({});
  const before = plain.slice();
  const other = new Segmenter(plain);
  t.is(other.read(0, plain.length), 1);
  t.true(other.complete());
  t.deepEqual(plain, before);
});
