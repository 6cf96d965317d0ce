import test from "ava";
import fc from "fast-check";
import { parseAddress } from "../../src/wire/address.js";
import { addWords, checksum, fold, pseudoHeader, pseudoHeaderIPv4 } from "../../src/wire/checksum.js";
import { ipv4Word } from "../../src/wire/ipv4.js";
import { sum } from "../simulation/frames.js";

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

test("the example of RFC 1071", (t) => {
  const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
  t.is(fold(addWords(viewOf(bytes), 0, 8, 0)), 0xddf2);
  t.is(checksum(addWords(viewOf(bytes), 0, 8, 0)), 0x220d);
});

test("a header of a real packet sums to a valid checksum", (t) => {
  const header = Buffer.from("45000073000040004011b861c0a80001c0a800c7", "hex");
  t.is(checksum(addWords(viewOf(header), 0, 20, 0)), 0);
});

test("any bytes, any odd or even length: as the plain definition has it", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), (bytes) => {
      t.is(checksum(addWords(viewOf(bytes), 0, bytes.length, 0)), sum(bytes));
    }),
  );
});

test("the longest packet, all ones, does not overflow", (t) => {
  const bytes = new Uint8Array(65535).fill(0xff);
  t.is(checksum(addWords(viewOf(bytes), 0, bytes.length, 0)), sum(bytes));
  t.is(fold(addWords(viewOf(bytes), 0, bytes.length, 0xfffff)), fold(0xffff - sum(bytes) + 0xfffff));
});

test("a pseudo header has both addresses, the protocol and the length", (t) => {
  const a = parseAddress("10.0.2.100");
  const b = parseAddress("198.51.100.7");
  const expected = 0xffff - sum([10, 0, 2, 100, 198, 51, 100, 7, 0, 17, 0x0b, 0xc0]);
  t.is(fold(pseudoHeader(a, b, 17, 0x0bc0)), expected);
  t.is(fold(pseudoHeaderIPv4(ipv4Word(a), ipv4Word(b), 17, 0x0bc0)), expected);
  const six = parseAddress("2001:db8::1");
  t.is(fold(pseudoHeader(six, six, 58, 0x10008)), 0xffff - sum([...six, ...six, 0, 1, 0, 8, 0, 0, 0, 58]));
});
