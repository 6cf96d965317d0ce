/** The filter's language: what it wants of a frame is what tcpdump wants with the same words, and mistakes are told clearly. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import test from "ava";
import fc from "fast-check";
import { CaptureFilter } from "../../src/capture/filter.js";
import { NetnsError } from "../../src/errors.js";
import { echo, echo6, frame, ip4, ipv4, ipv6, SANDBOX_MAC, u16, udp } from "../simulation/frames.js";

const tcp = (from: number, to: number): number[] => [
  ...u16(from),
  ...u16(to),
  ...new Array(8).fill(1),
  0x50,
  16,
  1,
  0,
  0,
  0,
  0,
  0,
];
const arp = (operation: number, sender: string, target: string): Uint8Array =>
  frame(0x0806, [
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    operation,
    ...SANDBOX_MAC,
    ...ip4(sender),
    ...new Array(6).fill(0),
    ...ip4(target),
  ]);
const v4 = (packet: Parameters<typeof ipv4>[0]): Uint8Array => frame(0x0800, ipv4(packet));
const v6 = (packet: Parameters<typeof ipv6>[0]): Uint8Array => frame(0x86dd, ipv6(packet));
const options = [1, 1, 1, 0];

const FRAMES: Uint8Array[] = [
  v4({ protocol: 6, payload: tcp(40000, 80) }),
  v4({ protocol: 6, payload: tcp(80, 40000), source: "198.51.100.7", destination: "10.0.2.100" }),
  v4({ protocol: 6, payload: tcp(53, 443), options }),
  v4({ protocol: 17, payload: udp(5000, 53, [1, 2, 3]) }),
  v4({ protocol: 17, payload: udp(80, 80, []), destination: "10.0.2.101" }),
  v4({ protocol: 17, payload: udp(53, 80, new Uint8Array(40)), fragment: 0x2000 }),
  v4({ protocol: 17, payload: udp(53, 80, new Uint8Array(40)), fragment: 0x2005 }),
  v4({ protocol: 1, payload: echo(8, 80, 53, [1]) }),
  v4({ protocol: 132, payload: tcp(80, 53) }),
  v4({ protocol: 47, payload: tcp(80, 53) }),
  v6({ next: 6, payload: tcp(40000, 80) }),
  v6({ next: 17, payload: udp(53, 5000, []), source: "2001:db8::7", destination: "fd00::100" }),
  v6({ next: 58, payload: echo6(128, 80, 53, [1, 2]) }),
  v6({ next: 132, payload: tcp(53, 53) }),
  v6({ next: 59, payload: [] }),
  arp(1, "10.0.2.100", "10.0.2.2"),
  arp(2, "10.0.2.2", "10.0.2.100"),
  arp(1, "10.0.2.100", "198.51.100.7"),
  frame(0x88b5, new Uint8Array(50)),
];

/** The numbers of the frames that a filter wants. */
function wanted(text: string): number[] {
  const filter = new CaptureFilter(text);
  return FRAMES.flatMap((each, i) =>
    filter.matches(new DataView(each.buffer, each.byteOffset, each.byteLength), 12, each.length) ? [i] : [],
  );
}

const folder = mkdtempSync(path.join(os.tmpdir(), "netns-rootless-"));
test.after.always(() => rmSync(folder, { recursive: true }));
const file = path.join(folder, "frames.pcap");
const little = (value: number): number[] => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
// The number of a frame is its time.
writeFileSync(
  file,
  Buffer.concat([
    Buffer.from([...little(0xa1b2c3d4), 2, 0, 4, 0, ...little(0), ...little(0), ...little(65535), ...little(1)]),
    ...FRAMES.map((each, i) =>
      Buffer.from([
        ...little(i),
        ...little(0),
        ...little(each.length - 12),
        ...little(each.length - 12),
        ...each.subarray(12),
      ]),
    ),
  ]),
);

/** The same by tcpdump, which has no word "proto" of ours. */
function byTcpdump(text: string): number[] {
  const expression = text.replaceAll("proto ", "");
  const { stdout, stderr, status } = spawnSync("tcpdump", ["-n", "-O", "-tt", "-r", file, expression], {
    encoding: "utf8",
  });
  if (stderr.includes("expression rejects all packets")) return [];
  if (status !== 0) throw new Error(`tcpdump ${expression}: ${stderr}`);
  return stdout
    .split("\n")
    .filter((line) => /^\d+\.0{6} /.test(line))
    .map((line) => Number.parseInt(line, 10));
}

const PRIMITIVES = [
  ...["10.0.2.100", "198.51.100.7", "10.0.2.2", "10.0.2.101", "fd00::100", "2001:db8::7", "192.0.2.1"].map(
    (a) => `host ${a}`,
  ),
  ...[80, 53, 443, 40000, 9, 0, 65535].map((port) => `port ${port}`),
  ...["tcp", "udp", "icmp", "icmp6", "arp"].flatMap((name) => [`proto ${name}`, name]),
];

test("each condition by itself wants what tcpdump wants", (t) => {
  for (const text of PRIMITIVES) t.deepEqual(wanted(text), byTcpdump(text), text);
});

test("conditions joined in any way, too", (t) => {
  const { expression } = fc.letrec<{ term: string; expression: string }>((tie) => ({
    term: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      fc.constantFrom(...PRIMITIVES),
      tie("term").map((term) => `not ${term}`),
      tie("term").map((term) => `! ${term}`),
      tie("expression").map((inner) => `( ${inner} )`),
      tie("expression").map((inner) => `(${inner})`),
    ),
    expression: fc
      .array(fc.tuple(fc.constantFrom("and", "or", "&&", "||"), tie("term")), { minLength: 1, maxLength: 4 })
      .map((parts) => parts.map(([word, term], i) => (i === 0 ? term : `${word} ${term}`)).join(" ")),
  }));
  for (const text of fc.sample(expression, { numRuns: 150, seed: 5 })) t.deepEqual(wanted(text), byTcpdump(text), text);
});

test("`and` and `or` bind alike, from left to right", (t) => {
  t.deepEqual(wanted("arp or udp and port 53"), wanted("(arp or udp) and port 53"));
  t.notDeepEqual(wanted("arp or udp and port 53"), wanted("arp or (udp and port 53)"));
});

test("ports are found behind the extension headers of IPv6, which tcpdump does not look behind", (t) => {
  const behind = v6({ next: 0, extensions: [6, 0, 1, 4, 0, 0, 0, 0], payload: tcp(40000, 80) });
  const view = new DataView(behind.buffer);
  t.true(new CaptureFilter("tcp and port 80").matches(view, 12, behind.length));
  t.false(new CaptureFilter("port 81").matches(view, 12, behind.length));
});

const MISTAKES: [text: string, message: RegExp][] = [
  ["", /is empty/],
  ["   ", /is empty/],
  ["host", /ends where an address is expected/],
  ["host example.net", /has "example.net" where an IPv4 or IPv6 address is expected/],
  ["port http", /has "http" where a port \(0 to 65535\) is expected/],
  ["port 65536", /has "65536" where a port/],
  ["port -1", /has "-1" where a port/],
  ["proto gre", /has "gre" where one of tcp, udp, icmp, icmp6, arp is expected/],
  ["tcp port 80", /has "port" where "and" or "or" is expected/],
  ["tcp and", /ends where a condition is expected/],
  ["(tcp", /ends where "\)" is expected/],
  ["tcp)", /has "\)" where "and" or "or" is expected/],
  ["(tcp udp)", /has "udp" where "\)" is expected/],
  ["src host 10.0.2.1", /has "src" where one of host ADDRESS, port NUMBER, proto NAME, not, or \( is expected/],
  ["tcp & udp", /has "&" where/],
  [`${"(".repeat(200)}tcp${")".repeat(200)}`, /has more than 100 levels/],
  [`${"not ".repeat(200)}tcp`, /has more than 100 levels/],
  ["tcp or ".repeat(1000), /is longer than 4096 characters/],
];
for (const [i, [text, message]] of MISTAKES.entries()) {
  test(`mistake ${i} is told: ${text.slice(0, 30)}`, (t) => {
    const error = t.throws(() => new CaptureFilter(text), { instanceOf: NetnsError, message });
    t.is(error?.code, "USAGE");
    t.false(error?.message.includes("\n"));
  });
}

test("any frame and any text: nothing but a match, no match, or a mistake", (t) => {
  const words = fc.array(
    fc.constantFrom("host", "port", "proto", "tcp", "and", "or", "not", "(", ")", "10.0.2.1", "::1", "80", "!", "|"),
  );
  fc.assert(
    fc.property(
      words,
      fc.uint8Array({ maxLength: 120 }),
      fc.constantFrom(0x0800, 0x86dd, 0x0806),
      (words, bytes, type) => {
        const given = frame(type, bytes);
        const end = given.length;
        let filter: CaptureFilter;
        try {
          filter = new CaptureFilter(words.join(" "));
        } catch (error) {
          t.true(error instanceof NetnsError);
          return;
        }
        t.is(typeof filter.matches(new DataView(given.buffer), 12, end), "boolean");
      },
    ),
    { numRuns: 3000 },
  );
});
