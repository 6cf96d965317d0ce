/** Super-frames and open checksums: what we make of them is, byte for byte, what Linux makes of them. */
import { spawnSync } from "node:child_process";
import test from "ava";
import fc from "fast-check";
import { Segmenter } from "../../src/wire/segmentation.js";
import { PROGRAMS } from "../bed/bed.js";
import { frame, ipv4, ipv6, pseudoHeader, sum, u16, u32 } from "../simulation/frames.js";

const FLAG = { fin: 1, syn: 2, psh: 8, ack: 16, cwr: 128 };

/** A packet from inside with an open checksum, cut into `size` bytes (0: not cut). */
interface Given {
  family: 4 | 6;
  tcp: boolean;
  ecn: boolean;
  flags: number;
  seq: number;
  id: number;
  options: number[];
  ipOptions: number[];
  /** Pairs of a type and a body, whose length is six more than a multiple of eight. */
  extensions: [type: number, body: number[]][];
  payload: Uint8Array;
  size: number;
}

function superFrame(given: Given): Uint8Array {
  const { family, tcp, flags, seq, options, payload, size, extensions, ipOptions, id } = given;
  const source = family === 4 ? "10.0.2.100" : "fd00::100";
  const destination = family === 4 ? "198.51.100.7" : "2001:db8::7";
  const header = tcp
    ? [
        ...u16(40000),
        ...u16(443),
        ...u32(seq),
        ...u32(77),
        (5 + options.length / 4) << 4,
        flags,
        1,
        0,
        0,
        0,
        0,
        0,
        ...options,
      ]
    : [...u16(40000), ...u16(443), ...u16(8 + payload.length), 0, 0];
  const protocol = tcp ? 6 : 17;
  const field = tcp ? 16 : 6;
  const length = header.length + payload.length;
  header.splice(field, 2, ...u16(0xffff - sum(pseudoHeader(source, destination, protocol, length))));
  const segment = Uint8Array.from([...header, ...payload]);
  const types = [...extensions.map(([type]) => type), protocol];
  const chain = extensions.flatMap(([, body], i) => [types[i + 1], (body.length + 2) / 8 - 1, ...body]);
  const packet =
    family === 4
      ? ipv4({ protocol, id, fragment: 0x4000, options: ipOptions, payload: segment })
      : ipv6({ extensions: chain, next: types[0], payload: segment });
  const start = 14 + (family === 4 ? 20 + ipOptions.length : 40 + chain.length);
  const kind = tcp ? (family === 4 ? 1 : 4) : 5;
  const gso = size === 0 ? 0 : kind | (given.ecn ? 0x80 : 0);
  const vnet = { flags: 1, gso, size, start, offset: field, headers: start + header.length };
  return frame(family === 4 ? 0x0800 : 0x86dd, packet, [2, 0, 0, 0, 0, 10], [2, 0, 0, 0, 0, 11], vnet);
}

/** What we make of a frame, written into the same memory as it was read from, or into another. */
function ours(given: Uint8Array, apart: boolean): string[] {
  const memory = new Uint8Array(1 << 20);
  memory.set(given, 7);
  const into = apart ? new Uint8Array(1 << 20) : memory;
  const view = new DataView(into.buffer);
  const segmenter = new Segmenter(memory);
  const count = segmenter.read(7, given.length);
  const made: string[] = [];
  for (let i = 0; i < count; i++) {
    const length = segmenter.write(i, into, view, 100_000);
    if (length > segmenter.longest)
      throw new Error(`${length} bytes are longer than the longest, ${segmenter.longest}`);
    made.push(Buffer.from(into.subarray(100_000, 100_000 + length)).toString("hex"));
  }
  return made;
}

function linux(frames: readonly Uint8Array[]): (string[] | null)[] {
  const input = JSON.stringify(frames.map((each) => Buffer.from(each).toString("hex")));
  const command = ["--user", "--map-root-user", "--net", "python3", `${PROGRAMS}/segmented.py`];
  const { stdout, stderr, status } = spawnSync("unshare", command, { input, maxBuffer: 1 << 28, timeout: 60_000 });
  if (status !== 0) throw new Error(`ended with ${status}: ${stderr}`);
  return JSON.parse(stdout.toString());
}

const plain: Given = {
  family: 4,
  tcp: true,
  ecn: false,
  flags: FLAG.ack,
  seq: 1000,
  id: 7,
  options: [],
  ipOptions: [],
  extensions: [],
  payload: Uint8Array.from({ length: 4000 }, (_, i) => (i * 7) & 0xff),
  size: 1448,
};
const timestamps = [1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7];
const hopByHop: [number, number[]] = [0, [1, 4, 0, 0, 0, 0]];
const padding: [number, number[]] = [60, [1, 12, ...new Array(12).fill(0)]];

test("segments of TCP and UDP are those of Linux: headers, flags, numbers, lengths and checksums", (t) => {
  const all = FLAG.ack | FLAG.psh | FLAG.fin | FLAG.cwr;
  const cases: Given[] = [4, 6].flatMap((family) => {
    const base = { ...plain, family: family as 4 | 6 };
    return [
      base,
      { ...base, flags: all },
      { ...base, flags: all, ecn: true, options: timestamps },
      { ...base, seq: 0xffffff00, id: 0xffff, payload: plain.payload.subarray(0, 1449) },
      { ...base, payload: new Uint8Array(1448), flags: all },
      { ...base, payload: new Uint8Array(65_000).fill(255), size: 8900 },
      { ...base, payload: new Uint8Array(3001), size: 3 },
      { ...base, size: 0 },
      { ...base, size: 0, flags: FLAG.ack, payload: new Uint8Array(0) },
      { ...base, tcp: false, size: 1000 },
      { ...base, tcp: false, size: 1472, payload: plain.payload.subarray(0, 1473) },
      { ...base, tcp: false, size: 0, payload: plain.payload.subarray(0, 333) },
    ];
  });
  cases.push({ ...plain, ipOptions: [1, 1, 1, 1, 1, 1, 1, 0] });
  cases.push({ ...plain, tcp: false, size: 999, ipOptions: [1, 1, 1, 0] });
  for (const extensions of [[hopByHop], [padding], [hopByHop, padding]]) {
    cases.push({ ...plain, family: 6, extensions, flags: all });
    cases.push({ ...plain, family: 6, extensions, tcp: false });
  }
  const random = fc.record({
    family: fc.constantFrom<4 | 6>(4, 6),
    tcp: fc.boolean(),
    ecn: fc.boolean(),
    flags: fc.integer({ min: 0, max: 255 }).map((flags) => (flags | FLAG.ack) & ~FLAG.syn),
    seq: fc.integer({ min: 0, max: 0xffffffff }),
    id: fc.integer({ min: 0, max: 0xffff }),
    options: fc.constantFrom([], timestamps, [1, 1, 1, 0]),
    ipOptions: fc.constant<number[]>([]),
    extensions: fc.constantFrom<[number, number[]][]>([], [], [hopByHop], [padding]),
    payload: fc.uint8Array({ minLength: 1, maxLength: 9000 }),
    size: fc.integer({ min: 100, max: 3000 }),
  });
  for (const given of fc.sample(random, { numRuns: 300, seed: 1 })) {
    const { tcp, family, ecn } = given;
    cases.push({ ...given, ecn: ecn && tcp, extensions: family === 6 ? given.extensions : [] });
  }
  const frames = cases.map(superFrame);
  const theirs = linux(frames);
  const differing = cases.filter(
    (_, i) =>
      JSON.stringify(ours(frames[i], false)) !== JSON.stringify(theirs[i]) ||
      JSON.stringify(ours(frames[i], true)) !== JSON.stringify(theirs[i]),
  );
  for (const { payload, ...rest } of differing) t.log(rest, payload.length);
  t.is(differing.length, 0);
  t.true(theirs.every((each) => each !== null && each.length > 0));
  t.true(theirs.reduce((count, each) => count + (each?.length ?? 0), 0) > 1500);
});

test("what is no IP, with a checksum that is anywhere, is completed as Linux does it", (t) => {
  const payload = Uint8Array.from({ length: 61 }, (_, i) => i * 3);
  const frames = [
    frame(0x88b6, payload, [2, 0, 0, 0, 0, 10], [2, 0, 0, 0, 0, 11], { flags: 1, start: 20, offset: 8 }),
    frame(0x88b6, payload, [2, 0, 0, 0, 0, 10], [2, 0, 0, 0, 0, 11]),
    frame(0x88b6, new Uint8Array(50), [2, 0, 0, 0, 0, 10], [2, 0, 0, 0, 0, 11], { flags: 1, start: 20, offset: 8 }),
  ];
  t.deepEqual(
    frames.map((each) => ours(each, false)),
    linux(frames),
  );
});
