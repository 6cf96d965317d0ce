import test from "ava";
import fc from "fast-check";
import { MAX_DATAGRAMS } from "../../src/stack/fragments.js";
import { endpoint, parseAddress } from "../../src/wire/address.js";
import { FRAGMENTED_DATAGRAM } from "../simulation/captured.js";
import { frame, ipv4, type Parsed, udp, udpChecksumValid } from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const MORE = 0x2000;

/** One fragment of a datagram to 198.51.100.7. `from`: in bytes. */
function part(payload: Uint8Array, from: number, more: boolean, id = 7): Uint8Array {
  return frame(0x0800, ipv4({ protocol: 17, id, fragment: (from >> 3) | (more ? MORE : 0), payload }));
}

function cut(datagram: Uint8Array, size: number, id = 7): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < datagram.length; at += size) {
    parts.push(part(datagram.subarray(at, at + size), at, at + size < datagram.length, id));
  }
  return parts;
}

const pattern = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) & 0xff);
const sent = (network: SimulatedNetwork) => network.engine.datagrams.flatMap((socket) => socket.take());

test("what Linux fragments is put together", (t) => {
  const network = new SimulatedNetwork();
  network.exchange(...FRAGMENTED_DATAGRAM);
  const [datagram] = sent(network);
  t.is(datagram.bytes.length, 3000);
  t.true(datagram.bytes.every((byte) => byte === 0x78));
  t.deepEqual([...datagram.remote.subarray(2, 4)], [0, 9]);
  t.is(network.reassembly.size, 0);
});

test("any size, any cut, any order", (t) => {
  const network = new SimulatedNetwork();
  let id = 0;
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 65507 }),
      fc.integer({ min: 100, max: 1000 }).map((n) => n * 8),
      fc.infiniteStream(fc.nat()),
      (length, size, random) => {
        id = (id + 1) & 0xffff;
        const payload = pattern(length, id);
        const parts = cut(udp(5000, 9, payload), size, id);
        for (let i = parts.length - 1; i > 0; i--) {
          const j = (random.next().value ?? 0) % (i + 1);
          [parts[i], parts[j]] = [parts[j], parts[i]];
        }
        network.exchange(...parts);
        const datagrams = sent(network);
        t.is(datagrams.length, 1);
        t.is(Buffer.compare(datagrams[0].bytes, payload), 0);
      },
    ),
    { numRuns: 60 },
  );
});

test("overlapping fragments (teardrop) lose the datagram", (t) => {
  const datagram = udp(5000, 9, pattern(64));
  const network = new SimulatedNetwork();
  network.exchange(part(datagram.subarray(0, 40), 0, true), part(datagram.subarray(32, 72), 32, false));
  t.is(sent(network).length, 0);
  t.is(network.counters.get("stack.fragment_overlap"), 1);
  t.is(network.reassembly.size, 0);
});

test("a fragment that comes twice changes nothing (RFC 8200, 4.5); one with other bytes loses the datagram", (t) => {
  const datagram = udp(5000, 9, pattern(4000));
  const parts = cut(datagram, 1480);
  for (let twice = 0; twice < parts.length; twice++) {
    const network = new SimulatedNetwork();
    // The last to come is not the one that is there twice: the datagram is complete, and gone, before that.
    const order = [parts[twice], parts[twice], ...parts.filter((_, i) => i !== twice)];
    network.exchange(...order);
    t.deepEqual(
      sent(network).map(({ bytes }) => Buffer.from(bytes).equals(pattern(4000))),
      [true],
    );
    t.is(network.counters.get("stack.fragment_duplicate"), 1);
    t.is(network.counters.get("stack.fragment_overlap"), 0);

    const changed = Uint8Array.from(parts[twice]);
    changed[changed.length - 1] ^= 1;
    network.exchange(parts[twice], changed);
    t.is(network.counters.get("stack.fragment_overlap"), 1);
    t.is(network.reassembly.size, 0);
  }
});

test("more than 65,535 bytes (ping of death), two ends, data behind the end, odd and empty pieces", (t) => {
  const bytes = pattern(1480);
  const cases: [string, Uint8Array[]][] = [
    ["stack.fragment_malformed", [part(bytes, 0, true), part(bytes, 65528, false)]],
    ["stack.fragment_overlap", [part(bytes, 1480, false), part(bytes, 4440, false)]],
    ["stack.fragment_overlap", [part(bytes, 1480, false), part(bytes, 4440, true)]],
    ["stack.fragment_overlap", [part(bytes, 4440, true), part(bytes, 1480, false)]],
    ["stack.fragment_malformed", [part(bytes.subarray(0, 1479), 0, true)]],
    ["stack.fragment_malformed", [part(bytes.subarray(0, 0), 8, false)]],
  ];
  for (const [counter, frames] of cases) {
    const network = new SimulatedNetwork();
    network.exchange(...frames);
    t.is(network.counters.get(counter), 1, counter);
    t.is(network.reassembly.size, 0);
    t.is(sent(network).length, 0);
  }
});

test("a datagram that stays incomplete is given up after 30 s", (t) => {
  const datagram = udp(5000, 9, pattern(2000));
  const [first, second] = cut(datagram, 1480);
  const network = new SimulatedNetwork();
  network.exchange(first);
  network.engine.advance(29_000);
  network.exchange(second);
  t.is(sent(network).length, 1);
  network.exchange(first);
  network.engine.advance(30_001);
  network.exchange(second);
  t.is(sent(network).length, 0);
  t.is(network.counters.get("stack.fragment_timeout"), 1);
});

test("what is given up is reported with a quotation of its first fragment, if that one came (RFC 792)", (t) => {
  const datagram = udp(5000, 9, pattern(4000));
  const [first, second, third] = cut(datagram, 1480);
  const [, headless] = cut(datagram, 1480, 8);
  const network = new SimulatedNetwork();
  network.exchange(second, headless);
  network.pass(1000);
  network.exchange(first);
  network.pass(28_999);
  t.is(network.received().length, 0);
  network.pass(1);
  const [error, ...others] = network.received();
  t.deepEqual([error.source, error.destination, error.protocol], ["10.0.2.2", "10.0.2.100", 1]);
  t.deepEqual([...error.payload.subarray(0, 2)], [11, 1], "time exceeded: fragment reassembly");
  t.deepEqual([...error.payload.subarray(4, 8)], [0, 0, 0, 0]);
  t.deepEqual([...error.payload.subarray(8)], [...first.subarray(26, 26 + 548)]);
  t.is(others.length, 0);
  t.deepEqual([network.reassembly.size, network.timers.size], [0, 0]);
  network.exchange(third, first, second);
  t.is(sent(network).length, 1, "the same number may be used again");
});

test("each is given up in its own time", (t) => {
  const network = new SimulatedNetwork();
  const [first] = cut(udp(5000, 9, pattern(2000)), 1480);
  network.exchange(first);
  network.pass(20_000);
  network.exchange(part(first.subarray(46), 0, true, 8));
  network.pass(10_000);
  t.is(network.received().length, 1);
  network.pass(19_999);
  t.is(network.received().length, 0);
  network.pass(1);
  t.is(network.received().length, 1);
});

test("no more than so many at once: the oldest goes, the newest are served", (t) => {
  const network = new SimulatedNetwork();
  const datagram = udp(5000, 9, pattern(2000));
  const all = Array.from({ length: MAX_DATAGRAMS + 10 }, (_, id) => cut(datagram, 1480, id));
  network.exchange(...all.map(([first]) => first));
  t.is(network.reassembly.size, MAX_DATAGRAMS);
  t.is(network.counters.get("stack.fragment_limit"), 10);
  network.exchange(...all.slice(20).map(([, second]) => second));
  t.is(sent(network).length, MAX_DATAGRAMS - 10);
});

test("a datagram longer than the MTU goes in as fragments that put together are the datagram", (t) => {
  const network = new SimulatedNetwork({ mtu: 1500 });
  network.exchange(frame(0x0800, ipv4({ protocol: 17, payload: udp(5000, 9, [1]) })));
  const [socket] = network.engine.datagrams;
  for (const length of [1473, 2960, 20_000, 60_000]) {
    const payload = pattern(length);
    socket.deliver(payload, endpoint(parseAddress("198.51.100.7"), 9));
    network.engine.settle();
    const fragments = network.received();
    t.is(fragments.length, Math.ceil((length + 8) / 1480));
    const datagram = joined(t, fragments, 1500);
    t.is(Buffer.compare(datagram.subarray(8), payload), 0);
    t.true(udpChecksumValid("198.51.100.7", "10.0.2.100", datagram));
  }
});

/** Puts fragments together, checking each. */
function joined(t: import("ava").ExecutionContext, fragments: Parsed[], mtu: number): Uint8Array {
  const length = fragments.reduce((sum, { payload }) => sum + payload.length, 0);
  const bytes = new Uint8Array(length);
  fragments.forEach((fragment, index) => {
    t.true(fragment.headerValid);
    t.true(fragment.ip.length <= mtu);
    t.is(fragment.id, fragments[0].id);
    t.is(fragment.vnet.flags, 0);
    t.is((fragment.fragment & MORE) !== 0, index < fragments.length - 1);
    bytes.set(fragment.payload, (fragment.fragment & 0x1fff) * 8);
  });
  return bytes;
}
