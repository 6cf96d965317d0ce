import test from "ava";
import fc from "fast-check";
import { method, NOT_SOCKS5, Reply, readGreeting, readRequest, reply } from "../../src/proxy/socks.js";
import { endpoint, formatAddress, parseAddress } from "../../src/wire/address.js";

const bytes = (...parts: (number | string)[]) =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === "number" ? [part] : [...Buffer.from(part, "latin1")])));

function destination(...parts: (number | string)[]) {
  const request = readRequest(bytes(...parts));
  if (request === null || request === NOT_SOCKS5) return request;
  const { destination, port } = request;
  return destination instanceof Uint8Array ? `${formatAddress(destination)} ${port}` : `"${destination}" ${port}`;
}

// The layouts are RFC 1928's, sections 3, 4 and 6.
test("a greeting counts its methods", (t) => {
  t.deepEqual(readGreeting(bytes(5, 1, 0)), { length: 3, open: true });
  t.deepEqual(readGreeting(bytes(5, 3, 2, 1, 0, 5, 1)), { length: 5, open: true });
  t.deepEqual(readGreeting(bytes(5, 2, 1, 2)), { length: 4, open: false });
  t.deepEqual(readGreeting(bytes(5, 0)), { length: 2, open: false });
  t.is(readGreeting(bytes(4, 1, 0, 80)), NOT_SOCKS5);
  t.is(readGreeting(bytes("GET / HTTP/1.1")), NOT_SOCKS5);
  t.is(readGreeting(bytes()), null);
});

test("a request names an address of either family, or a name", (t) => {
  t.is(destination(5, 1, 0, 1, 10, 0, 2, 100, 0x1f, 0x90), "10.0.2.100 8080");
  t.is(destination(5, 1, 0, 4, 0xfd, ..."0".repeat(13).split("").map(Number), 1, 0, 0, 80), "fd00::100 80");
  t.is(destination(5, 1, 0, 3, 3, "red", 0, 80), '"red" 80');
  t.is(destination(5, 1, 0, 3, 18, "Red.Tables.Internal", 0, 80), '"red.tables.interna" 27648');
  t.is(destination(5, 1, 0, 3, 20, "Red.Tables.Internal.", 0, 80), '"red.tables.internal" 80');
});

test("an address that is written as a name is one", (t) => {
  t.is(destination(5, 1, 0, 3, 10, "10.0.2.100", 0, 80), "10.0.2.100 80");
  t.is(destination(5, 1, 0, 3, 9, "fd00::100", 0, 80), "fd00::100 80");
  t.is(
    destination(5, 1, 0, 4, ..."0".repeat(10).split("").map(Number), 255, 255, 10, 0, 2, 100, 0, 80),
    "10.0.2.100 80",
  );
});

test("until it is all there, a greeting or request is none; what follows it is not a part of it", (t) => {
  const whole: [Uint8Array, (part: Uint8Array) => unknown][] = [
    [bytes(5, 2, 0, 1), readGreeting],
    [bytes(5, 1, 0, 1, 10, 0, 2, 100, 0, 80), readRequest],
    [bytes(5, 1, 0, 3, 4, "blue", 0, 80), readRequest],
    [bytes(5, 1, 0, 4, "0123456789abcdef", 0, 80), readRequest],
  ];
  for (const [all, read] of whole) {
    for (let length = 0; length < all.length; length++) t.is(read(all.subarray(0, length)), null);
    const found = read(all) as { length: number };
    t.is(found.length, all.length);
    t.deepEqual(read(bytes(...all, "GET / HTTP/1.1")), found);
  }
});

test("an address type that nobody knows is told as such", (t) => {
  t.is(destination(5, 1, 0, 2, 0, 0, 0), '"null" 0');
});

test("the answers", (t) => {
  t.deepEqual(method(true), bytes(5, 0));
  t.deepEqual(method(false), bytes(5, 255));
  t.deepEqual(reply(Reply.NotAllowed, null), bytes(5, 2, 0, 1, 0, 0, 0, 0, 0, 0));
  const four = endpoint(parseAddress("10.0.2.100"), 40000);
  t.deepEqual(reply(Reply.Succeeded, four), bytes(5, 0, 0, 1, 10, 0, 2, 100, 0x9c, 0x40));
  const six = endpoint(parseAddress("::1"), 40000);
  t.deepEqual(reply(Reply.Succeeded, six), bytes(5, 0, 0, 4, "\0".repeat(15), 1, 0x9c, 0x40));
});

test("any bytes are read without harm, and nothing is longer than RFC 1928 has it", (t) => {
  const said = fc.oneof(
    fc.uint8Array({ maxLength: 600 }),
    fc.uint8Array({ maxLength: 600 }).map((rest) => bytes(5, ...rest)),
    fc
      .tuple(fc.constantFrom(1, 3, 4), fc.uint8Array({ maxLength: 600 }))
      .map(([type, rest]) => bytes(5, 1, 0, type, ...rest)),
  );
  fc.assert(
    fc.property(said, (all) => {
      const greeting = readGreeting(all);
      if (greeting !== null && greeting !== NOT_SOCKS5) t.true(greeting.length <= Math.min(257, all.length));
      const request = readRequest(all);
      if (request !== null && request !== NOT_SOCKS5 && request.destination !== null) {
        t.true(request.length <= Math.min(262, all.length));
      }
    }),
  );
});
