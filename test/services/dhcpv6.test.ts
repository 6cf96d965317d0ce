import test from "ava";
import fc from "fast-check";
import { parseDhcpv6 } from "../../src/wire/dhcpv6.js";
import { DHCLIENT_REQUEST, DHCLIENT_SOLICIT } from "../simulation/captured.js";
import { frame, ip6, ipv6, OUR_LINK_LOCAL, OUR_MAC, u16, u32, udp } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const CLIENT = "fe80::11:22ff:fe33:4455";
const SERVERS = "ff02::1:2";
const SERVERS_MAC = [0x33, 0x33, 0, 1, 0, 2];
/** Options as they stand in messages. */
const option = (code: number, value: ArrayLike<number>) => [...u16(code), ...u16(value.length), ...Array.from(value)];
const CLIENT_ID = option(1, [0, 3, 0, 1, 2, 0x11, 0x22, 0x33, 0x44, 0x55]);
const SERVER_ID = option(2, [0, 3, 0, 1, ...OUR_MAC]);
const address = (text: string, preferred: number, valid: number) =>
  option(5, [...ip6(text), ...u32(preferred), ...u32(valid)]);
const association = (id: number, t1: number, t2: number, inside: number[]) =>
  option(3, [...u32(id), ...u32(t1), ...u32(t2), ...inside]);
const LEASED = address("fd00::100", 86400, 86400);
const SEARCH = option(24, Buffer.from("\x07example\x03net\x00"));
const COMMON = [...option(23, ip6("fd00::3")), ...SEARCH];

function sent(network: SimulatedNetwork, message: ArrayLike<number>) {
  const payload = udp(546, 547, message, CLIENT, SERVERS);
  const packet = ipv6({ source: CLIENT, destination: SERVERS, hops: 1, next: 17, payload });
  return network.exchange(frame(0x86dd, packet, SERVERS_MAC));
}

/** The one answer to a message of this type with these options, from its type on. */
function answer(type: number, options: number[], network = new SimulatedNetwork()): number[] {
  const [reply] = sent(network, [type, 1, 2, 3, ...options]);
  return reply === undefined ? [] : [...reply.payload.subarray(8)];
}

test("dhclient's Solicit and Request are answered with the sandbox's address, resolver and search domain", (t) => {
  const id = [...u16(1), ...u16(14), ...DHCLIENT_SOLICIT.subarray(8, 22)];
  for (const [message, type] of [
    [DHCLIENT_SOLICIT, 2],
    [DHCLIENT_REQUEST, 7],
  ] as const) {
    const [reply] = sent(new SimulatedNetwork(), message);
    t.deepEqual([reply.source, reply.destination], [OUR_LINK_LOCAL, CLIENT]);
    t.is(reply.to, "02:11:22:33:44:55");
    t.deepEqual([...reply.payload.subarray(0, 4)], [...u16(547), ...u16(546)]);
    const expected = [type, ...message.subarray(1, 4), ...id, ...SERVER_ID];
    expected.push(...association(0x22334455, 43200, 69120, LEASED), ...COMMON);
    t.deepEqual([...reply.payload.subarray(8)], expected);
  }
});

test("a rapid commit is answered at once (RFC 8415, 18.3.1)", (t) => {
  const wish = association(1, 0, 0, []);
  const expected = [7, 1, 2, 3, ...CLIENT_ID, ...SERVER_ID, ...option(14, []), ...association(1, 43200, 69120, LEASED)];
  t.deepEqual(answer(1, [...CLIENT_ID, ...option(14, []), ...wish]), [...expected, ...COMMON]);
});

test("renewing and rebinding: our address goes on, another has no life left", (t) => {
  const had = association(9, 0, 0, [...address("fd00::100", 1, 2), ...address("fd00::77", 3, 4)]);
  const lease = association(9, 43200, 69120, [...LEASED, ...address("fd00::77", 0, 0)]);
  const expected = [7, 1, 2, 3, ...CLIENT_ID, ...SERVER_ID, ...lease, ...COMMON];
  t.deepEqual(answer(5, [...CLIENT_ID, ...SERVER_ID, ...had]), expected);
  t.deepEqual(answer(6, [...CLIENT_ID, ...had]), expected);
});

test("there is one address: a second association, temporary addresses and prefixes are refused", (t) => {
  const wishes = [...association(1, 0, 0, []), ...association(2, 0, 0, []), ...option(4, u32(3))];
  wishes.push(...option(25, [...u32(4), ...u32(0), ...u32(0)]));
  const bytes = answer(1, [...CLIENT_ID, ...wishes]);
  const none = (text: string) => option(13, [0, 2, ...Buffer.from(text)]);
  const text = "one address for each client";
  const expected = [2, 1, 2, 3, ...CLIENT_ID, ...SERVER_ID, ...association(1, 43200, 69120, LEASED)];
  expected.push(...association(2, 0, 0, none(text)), ...option(4, [...u32(3), ...none(text)]));
  const noPrefix = option(13, [0, 6, ...Buffer.from("no prefixes here")]);
  expected.push(...option(25, [...u32(4), ...u32(0), ...u32(0), ...noPrefix]));
  t.deepEqual(bytes, [...expected, ...COMMON]);
});

test("Confirm says whether the addresses are of this link; Release and Decline succeed; Information-Request gets the rest", (t) => {
  const ids = [7, 1, 2, 3, ...CLIENT_ID, ...SERVER_ID];
  const confirm = (text: string) => answer(4, [...CLIENT_ID, ...association(1, 0, 0, address(text, 1, 1))]);
  t.deepEqual(confirm("fd00::abcd"), [...ids, ...option(13, [0, 0])]);
  t.deepEqual(confirm("2001:db8::1"), [...ids, ...option(13, [0, 4, ...Buffer.from("not of this link")])]);
  t.deepEqual(answer(4, [...CLIENT_ID, ...association(1, 0, 0, [])]), []);
  const held = association(1, 0, 0, address("fd00::100", 0, 0));
  for (const type of [8, 9]) {
    t.deepEqual(answer(type, [...CLIENT_ID, ...SERVER_ID, ...held]), [...ids, ...option(13, [0, 0])]);
  }
  t.deepEqual(answer(11, CLIENT_ID), [...ids, ...COMMON]);
  t.deepEqual(answer(11, []), [7, 1, 2, 3, ...SERVER_ID, ...COMMON]);
});

test("what is not for us or cannot be is dropped under its own counter (RFC 8415, 16)", (t) => {
  const other = option(2, [0, 3, 0, 1, 1, 2, 3, 4, 5, 6]);
  const cases: [number, number[], string][] = [
    [1, [], "dhcpv6.malformed"],
    [1, [...CLIENT_ID, ...SERVER_ID], "dhcpv6.malformed"],
    [3, CLIENT_ID, "dhcpv6.malformed"],
    [3, [...CLIENT_ID, ...other], "dhcpv6.other_server"],
    [6, [...CLIENT_ID, ...SERVER_ID], "dhcpv6.malformed"],
    [1, [...CLIENT_ID, ...CLIENT_ID], "dhcpv6.malformed"],
    [1, [...CLIENT_ID, 0, 3, 0, 40, 1], "dhcpv6.malformed"],
    [1, [...CLIENT_ID, ...association(1, 0, 0, [0, 5, 0, 24, 1])], "dhcpv6.malformed"],
    [12, CLIENT_ID, "dhcpv6.relayed"],
    [7, CLIENT_ID, "dhcpv6.unknown_type"],
    [4, [...CLIENT_ID, ...association(1, 0, 0, [])], "dhcpv6.nothing_to_confirm"],
  ];
  for (const [type, options, counter] of cases) {
    const network = new SimulatedNetwork();
    t.deepEqual(answer(type, options, network), []);
    t.is(network.counters.get(counter), 1, `${type} ${counter}`);
  }
});

test("any bytes are a message or are none", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      t.notThrows(() => parseDhcpv6(bytes));
    }),
  );
  fc.assert(
    fc.property(fc.nat({ max: DHCLIENT_REQUEST.length - 1 }), fc.nat({ max: 255 }), (at, value) => {
      const bytes = DHCLIENT_REQUEST.slice();
      bytes[at] = value;
      t.notThrows(() => sent(new SimulatedNetwork(), bytes));
    }),
  );
});
