import test from "ava";
import fc from "fast-check";
import { writeVnetOf } from "../../src/wire/open-checksum.js";
import { frame, ipv4, ipv6, parse, pseudoHeader, sum, u16, udp } from "../simulation/frames.js";

const NONE = { flags: 0, gso: 0, headers: 0, size: 0, start: 0, offset: 0 };
const V4: [string, string] = ["10.0.2.200", "10.0.2.100"];
const V6: [string, string] = ["fd00::200", "fd00::100"];

/** What is written before a frame. */
function written(given: Uint8Array) {
  const bytes = Uint8Array.from([...new Array(12).fill(0xff), ...given.subarray(12)]);
  writeVnetOf(new DataView(bytes.buffer), 0, bytes.length);
  const room = new Uint8Array(200); // parse() reads on
  room.set(bytes);
  return parse(room).vnet;
}

function tcp(ends: [string, string], complete: boolean): Uint8Array {
  const header = [...u16(80), ...u16(40000), ...new Array(8).fill(3), 0x50, 16, 1, 0, 0, 0, 0, 0, 1, 2, 3];
  const pseudo = pseudoHeader(...ends, 6, header.length);
  header.splice(16, 2, ...u16(complete ? sum([...pseudo, ...header]) : 0xffff - sum(pseudo)));
  return Uint8Array.from(header);
}

function datagram(ends: [string, string], complete: boolean): Uint8Array {
  const bytes = udp(53, 5000, [1, 2, 3], ...ends);
  if (!complete) bytes.set(u16(0xffff - sum(pseudoHeader(...ends, 17, bytes.length))), 6);
  return bytes;
}

const four = (protocol: number, payload: Uint8Array, more = {}) =>
  frame(0x0800, ipv4({ source: V4[0], destination: V4[1], protocol, payload, ...more }));
const six = (next: number, payload: Uint8Array) =>
  frame(0x86dd, ipv6({ source: V6[0], destination: V6[1], next, payload }));

test("an open checksum is asked for, a complete one is not", (t) => {
  t.deepEqual(written(four(6, tcp(V4, false))), { ...NONE, flags: 1, start: 34, offset: 16 });
  t.deepEqual(written(four(6, tcp(V4, false), { options: [1, 1, 1, 0] })), {
    ...NONE,
    flags: 1,
    start: 38,
    offset: 16,
  });
  t.deepEqual(written(four(17, datagram(V4, false))), { ...NONE, flags: 1, start: 34, offset: 6 });
  t.deepEqual(written(six(6, tcp(V6, false))), { ...NONE, flags: 1, start: 54, offset: 16 });
  t.deepEqual(written(six(17, datagram(V6, false))), { ...NONE, flags: 1, start: 54, offset: 6 });
  for (const complete of [
    four(6, tcp(V4, true)),
    four(17, datagram(V4, true)),
    six(6, tcp(V6, true)),
    six(17, datagram(V6, true)),
  ]) {
    t.deepEqual(written(complete), NONE);
  }
});

test("fragments, other protocols, and what is cut short are left as they are", (t) => {
  t.deepEqual(written(four(6, tcp(V4, false), { fragment: 0x2000 })), NONE);
  t.deepEqual(written(four(6, tcp(V4, false), { fragment: 5 })), NONE);
  t.deepEqual(written(four(47, tcp(V4, false))), NONE);
  t.deepEqual(written(six(44, tcp(V6, false))), NONE);
  t.deepEqual(written(frame(0x88b5, ipv4({ protocol: 6, payload: tcp(V4, false) }))), NONE);
  const whole = four(6, tcp(V4, false));
  for (let length = 26; length < whole.length; length++) t.deepEqual(written(whole.subarray(0, length)), NONE);
});

test("any frame: no exception, and what is asked for lies within it", (t) => {
  fc.assert(
    fc.property(fc.constantFrom(0x0800, 0x86dd), fc.uint8Array({ maxLength: 100 }), (type, bytes) => {
      const { flags, start, offset } = written(frame(type, bytes));
      t.true(flags === 0 || start + offset + 2 <= 14 + bytes.length);
    }),
  );
});
