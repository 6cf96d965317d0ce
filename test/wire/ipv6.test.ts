import test from "ava";
import fc from "fast-check";
import { formatAddress, parseAddress } from "../../src/wire/address.js";
import { icmpv6Valid, setIcmpv6Checksum } from "../../src/wire/icmpv6.js";
import {
  Chain,
  HeaderChain,
  isLinkLocal,
  isLoopback,
  isMulticast,
  isUnspecified,
  linkLocalAddress,
  solicitedNode,
  writeIPv6,
} from "../../src/wire/ipv6.js";
import { encodeRouterAdvertisement, optionsValid } from "../../src/wire/ndp.js";
import { icmp6, ipv6 } from "../simulation/frames.js";

const text = fc.ipV6().filter((each) => !each.includes("."));

test("an IPv6 header is written as another implementation writes it", (t) => {
  const fields = {
    source: text,
    destination: text,
    next: fc.integer({ min: 0, max: 255 }),
    hops: fc.integer({ min: 0, max: 255 }),
    payload: fc.uint8Array({ maxLength: 40 }),
  };
  fc.assert(
    fc.property(fc.record(fields), (ip) => {
      const out = new Uint8Array(40);
      const [source, destination] = [ip.source, ip.destination].map((each) => parseAddress(each));
      writeIPv6(new DataView(out.buffer), 0, ip.payload.length, ip.next, ip.hops, source, destination);
      t.deepEqual([...out], [...ipv6(ip).subarray(0, 40)]);
    }),
  );
});

test("an ICMPv6 checksum covers the pseudo header, as another implementation computes it", (t) => {
  fc.assert(
    fc.property(text, text, fc.uint8Array({ maxLength: 99 }), (source, destination, body) => {
      fc.pre(!source.startsWith("::ffff:") && !destination.startsWith("::ffff:"));
      const message = icmp6(128, 0, body, source, destination);
      const view = new DataView(message.buffer);
      const [from, to] = [parseAddress(source), parseAddress(destination)];
      t.true(icmpv6Valid(view, 0, message.length, from, to));
      const expected = [message[2], message[3]];
      message.set([9, 9], 2);
      setIcmpv6Checksum(view, 0, message.length, from, to);
      t.deepEqual([message[2], message[3]], expected);
    }),
  );
});

test("kinds of addresses", (t) => {
  const kinds: [string, boolean[]][] = [
    ["::", [true, false, false, false]],
    ["::1", [false, true, false, false]],
    ["fe80::1", [false, false, true, false]],
    ["febf:ffff::", [false, false, true, false]],
    ["fec0::1", [false, false, false, false]],
    ["ff02::1", [false, false, false, true]],
    ["2001:db8::", [false, false, false, false]],
    ["::1:0", [false, false, false, false]],
  ];
  for (const [name, expected] of kinds) {
    const address = parseAddress(name);
    t.deepEqual(
      [isUnspecified, isLoopback, isLinkLocal, isMulticast].map((is) => is(address)),
      expected,
      name,
    );
  }
});

test("addresses that others give: link-local of a MAC address, solicited-node (RFC 4291, appendix A and 2.7.1)", (t) => {
  const mac = Uint8Array.of(0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde);
  t.is(formatAddress(linkLocalAddress(mac)), "fe80::3656:78ff:fe9a:bcde");
  t.is(formatAddress(solicitedNode(parseAddress("4037::1:800:200e:8c6c"))), "ff02::1:ff0e:8c6c");
});

test("any bytes after a header are walked to an end, within the packet", (t) => {
  const chain = new HeaderChain();
  const piece = fc.tuple(
    fc.constantFrom(0, 43, 44, 60, 6, 17, 58, 59),
    fc.nat({ max: 2 }),
    fc.uint8Array({ minLength: 6, maxLength: 6 }),
  );
  fc.assert(
    fc.property(
      fc.constantFrom(0, 43, 44, 60, 17),
      fc.array(piece, { maxLength: 12 }),
      fc.nat(7),
      (next, pieces, odd) => {
        const payload = [...pieces.flatMap(([type, length, rest]) => [type, length, ...rest]), ...new Uint8Array(odd)];
        const bytes = ipv6({ next, payload });
        const result = chain.read(new DataView(bytes.buffer), 0, bytes.length, false);
        if (result === Chain.Complete) t.true(chain.transport >= 40 && chain.transport <= bytes.length);
        t.true(chain.pointer >= 0 && chain.pointer < bytes.length);
      },
    ),
    { numRuns: 2000 },
  );
});

test("options of neighbour discovery, ours and any", (t) => {
  const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const message = encodeRouterAdvertisement({
    hopLimit: 64,
    lifetime: 1800,
    managed: false,
    mac: new Uint8Array(6),
    mtu: 1500,
    prefix: parseAddress("fd00::"),
    prefixLength: 120,
    autonomous: false,
    dns: [],
    search: new Uint8Array(0),
  });
  t.is(message.length, 16 + 8 + 8 + 32);
  t.deepEqual([message[5], message[16 + 16 + 2], message[16 + 16 + 3]], [0, 120, 0x80]);
  t.true(optionsValid(view(message), 16, message.length));
  t.false(optionsValid(view(message), 16, message.length - 1));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      t.notThrows(() => optionsValid(view(bytes), 0, bytes.length));
    }),
  );
});
