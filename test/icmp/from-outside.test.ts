/**
 * ICMP errors that reach the host's sockets about what the sandbox sent, of every type and code that a socket can report: for UDP, ping
 * and connect(), the sandbox gets the same type and code, from who reported it, about the packet as it sent it, byte by byte.
 */
import test from "ava";
import { rejectReason } from "../../src/host/failure.js";
import { Tcp } from "../../src/tcp/tcp.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { Reject } from "../../src/wire/reject.js";
import { BOTH, type Inet } from "../simulation/families.js";
import { icmp6ChecksumValid, ip4, ip6, type Parsed, sum, u16, u32, udp } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const at = (address: string, port = 0) => endpoint(parseAddress(address), port);

interface Case {
  readonly type: number;
  readonly code: number;
  /** What the kernel makes of it (icmp_err_convert, icmpv6_err_convert). */
  readonly errno: number;
  /** What the socket reports besides: MTU or place. */
  readonly info: number;
  /** The four bytes after the checksum. */
  readonly rest: readonly number[];
}

const [EPROTO, EMSGSIZE, ENOPROTOOPT, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EACCES] = [
  71, 90, 92, 111, 113, 101, 13,
];
const [EHOSTDOWN, ENONET, EOPNOTSUPP] = [112, 64, 95];
const NOTHING = [0, 0, 0, 0];

const V4_CASES: readonly Case[] = [
  ...[
    ENETUNREACH,
    EHOSTUNREACH,
    ENOPROTOOPT,
    ECONNREFUSED,
    EMSGSIZE,
    EOPNOTSUPP,
    ENETUNREACH,
    EHOSTDOWN,
    ENONET,
    ENETUNREACH,
    EHOSTUNREACH,
    ENETUNREACH,
    EHOSTUNREACH,
    EHOSTUNREACH,
    EHOSTUNREACH,
    EHOSTUNREACH,
  ].map((errno, code) => ({
    type: 3,
    code,
    errno,
    info: code === 4 ? 1400 : 0,
    rest: code === 4 ? [0, 0, ...u16(1400)] : NOTHING,
  })),
  ...[0, 1].map((code) => ({ type: 11, code, errno: EHOSTUNREACH, info: 0, rest: NOTHING })),
  ...[0, 1, 2].map((code) => ({ type: 12, code, errno: EPROTO, info: 20, rest: [20, 0, 0, 0] })),
];

const V6_CASES: readonly Case[] = [
  ...[ENETUNREACH, EACCES, EHOSTUNREACH, EHOSTUNREACH, ECONNREFUSED, EACCES, EACCES].map((errno, code) => ({
    type: 1,
    code,
    errno,
    info: 0,
    rest: NOTHING,
  })),
  { type: 2, code: 0, errno: EMSGSIZE, info: 1400, rest: u32(1400) },
  ...[0, 1].map((code) => ({ type: 3, code, errno: EHOSTUNREACH, info: 0, rest: NOTHING })),
  { type: 4, code: 0, errno: EPROTO, info: 40, rest: u32(40) },
  // Where the header's name stands in the sandbox's packet, which may not be where it stood in the host's.
  { type: 4, code: 1, errno: EPROTO, info: 48, rest: u32(6) },
  { type: 4, code: 2, errno: EPROTO, info: 40, rest: u32(40) },
];

const CASES = { 4: V4_CASES, 6: V6_CASES };

/** The packet of a frame without the fields that only the sandbox's kernel knew: IPv4's identification, flags and header checksum. */
function known(inet: Inet, ip: Uint8Array): number[] {
  return [...ip].filter((_, i) => inet.family === 6 || ![4, 5, 6, 7, 10, 11].includes(i));
}

function check(t: { deepEqual(a: unknown, b: unknown, m?: string): void; true(a: boolean, m?: string): void }) {
  return (inet: Inet, error: Parsed, { type, code, rest }: Case, from: string, original: Uint8Array) => {
    const name = `${type}/${code}`;
    t.deepEqual([error.source, error.destination, error.protocol], [from, inet.inside, inet.icmp], name);
    t.true(error.headerValid, name);
    const valid =
      inet.family === 4 ? sum(error.payload) === 0 : icmp6ChecksumValid(error.source, error.destination, error.payload);
    t.true(valid, name);
    t.deepEqual([...error.payload.subarray(0, 2)], [type, code], name);
    t.deepEqual([...error.payload.subarray(4, 8)], [...rest], name);
    const quoted = error.payload.subarray(8);
    t.deepEqual(known(inet, quoted), known(inet, original.subarray(26)), name);
    // IPv4 routers change the quoted header; its checksum has to be right all the same.
    if (inet.family === 4) t.deepEqual(sum(quoted.subarray(0, 20)), 0, name);
  };
}

for (const inet of BOTH) {
  test(`${inet.name}: a datagram`, (t) => {
    for (const each of CASES[inet.family]) {
      const network = new SimulatedNetwork();
      const payload = Uint8Array.from({ length: 300 }, (_, i) => i & 0xff);
      const original = inet.packet(17, udp(5000, 9, payload, inet.inside, inet.outside), inet.outside);
      network.exchange(original);
      const [socket] = network.engine.datagrams;
      socket.fail(payload, at(inet.outside, 9), at(inet.router), each);
      network.engine.settle();
      const [error, ...more] = network.received();
      t.is(more.length, 0);
      check(t)(inet, error, each, inet.router, original);
    }
  });

  test(`${inet.name}: an echo request`, (t) => {
    for (const each of CASES[inet.family]) {
      const network = new SimulatedNetwork();
      const message = (id: number) => inet.ping(inet.echo, id, 5, [1, 2, 3, 4, 5], inet.inside, inet.outside);
      const original = inet.packet(inet.icmp, message(0x1234), inet.outside);
      network.exchange(original);
      const [socket] = network.engine.datagrams;
      socket.fail(message(0x9999), at(inet.outside), at(inet.router), each);
      network.engine.settle();
      const [error, ...more] = network.received();
      t.is(more.length, 0);
      // A ping's own header is not rebuilt around other numbers.
      const rest = inet.family === 6 && each.type === 4 && each.code === 1 ? u32(each.info) : each.rest;
      check(t)(inet, error, { ...each, rest }, inet.router, original);
    }
  });

  test(`${inet.name}: a SYN`, (t) => {
    for (const each of CASES[inet.family]) {
      const network = new SimulatedNetwork({
        tcp: ({ egress: output, sockets: streams, policy, clock, random, counters, flows, timers }) =>
          new Tcp({ output, streams, policy, clock, random, counters, flows, timers }),
      });
      const original = inet.packet(6, syn(inet), inet.outside);
      network.exchange(original);
      network.engine.streams[0].fail(each.errno, { type: each.type, code: each.code, from: at(inet.router) });
      network.engine.settle();
      const [answer] = network.received();
      t.is(network.flows.size, 0);
      if (each.errno === ECONNREFUSED) {
        t.deepEqual([answer.protocol, answer.payload[13] & 4], [6, 4], "a closed port is a reset");
        continue;
      }
      // The error queue of a stream tells no more than type and code; a SYN is never too long for a path, and has no options.
      const rest = inet.family === 6 && each.type === 4 && each.code === 1 ? u32(6) : NOTHING;
      check(t)(inet, answer, { ...each, rest }, inet.router, original);
    }
  });

  test(`${inet.name}: what no kernel reports is told by what comes nearest`, (t) => {
    const unknown: [number, number, number][] =
      inet.family === 4
        ? [
            [3, 16, EHOSTUNREACH],
            [3, 255, EHOSTUNREACH],
            [12, 3, EPROTO],
            [200, 0, EHOSTUNREACH],
          ]
        : [
            [1, 9, EHOSTUNREACH],
            [4, 3, EPROTO],
            [127, 0, EHOSTUNREACH],
          ];
    for (const [type, code, errno] of unknown) {
      const network = new SimulatedNetwork();
      network.exchange(inet.packet(17, udp(5000, 9, [1], inet.inside, inet.outside), inet.outside));
      network.engine.datagrams[0].fail(Uint8Array.of(1), at(inet.outside, 9), at(inet.router), {
        errno,
        type,
        code,
        info: 0,
      });
      network.engine.settle();
      const [error] = network.received();
      const expected = errno === EPROTO ? (inet.family === 4 ? [3, 2] : [4, 1]) : inet.noHost;
      t.deepEqual([...error.payload.subarray(0, 2)], [...expected], `${type}/${code}`);
    }
  });
}

test("an error of the other family is told by what comes nearest in the sandbox's own", (t) => {
  for (const [inside, family, type, code, errno, expected] of [
    [4, 6, 1, 5, EACCES, Reject.Prohibited],
    [4, 6, 1, 2, EHOSTUNREACH, Reject.BeyondScope],
    [4, 6, 4, 0, EPROTO, Reject.ProtocolUnreachable],
    [6, 4, 3, 9, ENETUNREACH, Reject.Prohibited],
    [6, 4, 3, 6, ENETUNREACH, Reject.NoRoute],
    [6, 4, 11, 0, EHOSTUNREACH, Reject.TimeExceeded],
    [6, 4, 12, 0, EPROTO, Reject.ProtocolUnreachable],
  ] as const) {
    t.is(rejectReason(errno, family, type, code, inside), expected, `${type}/${code}`);
  }
});

function syn(inet: Inet): number[] {
  const bytesOf = inet.family === 4 ? ip4 : ip6;
  const options = [2, 4, ...u16(1400), 1, 1, 4, 2, 1, 3, 3, 7];
  const segment = [...u16(5000), ...u16(80), ...u32(7), ...u32(0), 0x80, 0x02, ...u16(65_535), 0, 0, 0, 0, ...options];
  const pseudo = [...bytesOf(inet.inside), ...bytesOf(inet.outside), 0, 6, ...u16(segment.length)];
  segment.splice(16, 2, ...u16(sum([...pseudo, ...segment])));
  return segment;
}
