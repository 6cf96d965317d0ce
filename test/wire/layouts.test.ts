import test from "ava";
import fc from "fast-check";
import { formatAddress, parseAddress } from "../../src/wire/address.js";
import { ARP_LENGTH, ArpOperation, arpOperation, isArp, writeArp } from "../../src/wire/arp.js";
import { formatMac, parseMac } from "../../src/wire/ethernet.js";
import { icmpValid, setIcmpChecksum } from "../../src/wire/icmp.js";
import { ipv4Address, ipv4Word, isUnicastWord, prefixMask, writeIPv4 } from "../../src/wire/ipv4.js";
import { Gso, writeChecksumVnet } from "../../src/wire/vnet.js";
import { ipv4, parse } from "../simulation/frames.js";

test("an IPv4 header is written as another implementation writes it", (t) => {
  fc.assert(
    fc.property(
      fc.record({
        source: fc.ipV4(),
        destination: fc.ipV4(),
        protocol: fc.integer({ min: 0, max: 255 }),
        ttl: fc.integer({ min: 0, max: 255 }),
        id: fc.integer({ min: 0, max: 65535 }),
        fragment: fc.integer({ min: 0, max: 65535 }),
        payload: fc.uint8Array({ maxLength: 40 }),
      }),
      (ip) => {
        const out = new Uint8Array(20);
        const source = ipv4Word(parseAddress(ip.source));
        const destination = ipv4Word(parseAddress(ip.destination));
        const view = new DataView(out.buffer);
        writeIPv4(view, 0, 20 + ip.payload.length, ip.id, ip.fragment, ip.ttl, ip.protocol, source, destination);
        t.deepEqual(Array.from(out), Array.from(ipv4(ip).subarray(0, 20)));
      },
    ),
  );
});

test("an address as a word and back", (t) => {
  fc.assert(
    fc.property(fc.ipV4(), (text) => {
      t.is(formatAddress(ipv4Address(ipv4Word(parseAddress(text)))), text);
    }),
  );
});

test("masks, and the addresses that can be a source", (t) => {
  t.is(prefixMask(0), 0);
  t.is(prefixMask(24) >>> 0, 0xffffff00);
  t.is(prefixMask(32) >>> 0, 0xffffffff);
  const word = (text: string) => ipv4Word(parseAddress(text));
  for (const text of ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"]) {
    t.false(isUnicastWord(word(text)), text);
  }
  for (const text of ["10.0.2.100", "1.0.0.1", "198.51.100.7", "223.255.255.255"])
    t.true(isUnicastWord(word(text)), text);
});

test("an ARP reply, byte for byte (RFC 826)", (t) => {
  const view = new DataView(new ArrayBuffer(ARP_LENGTH));
  writeArp(view, 0, ArpOperation.Reply, 0x52550a00, 0x0202, 0x0a000202, 0x02112233, 0x4455, 0x0a000264);
  t.is(Buffer.from(view.buffer).toString("hex"), "0001080006040002" + "52550a0002020a000202" + "0211223344550a000264");
  t.true(isArp(view, 0, ARP_LENGTH));
  t.is(arpOperation(view, 0), ArpOperation.Reply);
  t.false(isArp(view, 0, ARP_LENGTH - 1));
  view.setUint8(4, 8);
  t.false(isArp(view, 0, ARP_LENGTH));
});

test("a virtio header is little-endian, fields where Linux has them", (t) => {
  const bytes = new Uint8Array(60);
  writeChecksumVnet(new DataView(bytes.buffer), 0, 34, 16, Gso.TcpV4, 1460, 54);
  t.is(Buffer.from(bytes.subarray(0, 12)).toString("hex"), "0101" + "3600" + "b405" + "2200" + "1000" + "0000");
  t.deepEqual(parse(bytes).vnet, { flags: 1, gso: 1, headers: 54, size: 1460, start: 34, offset: 16 });
});

test("MAC addresses as text", (t) => {
  t.is(formatMac(parseMac("52:55:0A:00:02:02")), "52:55:0a:00:02:02");
  for (const bad of ["", "52:55:0a:00:02", "52:55:0a:00:02:0g", "52550a000202", "52:55:0a:00:02:02:03"]) {
    t.throws(() => parseMac(bad), { instanceOf: RangeError });
  }
});

test("an ICMP checksum that is set is valid, and any changed bit makes it invalid", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 8, maxLength: 200 }), fc.nat(), (bytes, position) => {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      setIcmpChecksum(view, 0, bytes.length);
      t.true(icmpValid(view, 0, bytes.length));
      bytes[position % bytes.length] ^= 1 << (position & 7);
      t.false(icmpValid(view, 0, bytes.length));
    }),
  );
});
