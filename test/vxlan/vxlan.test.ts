/** A network's way to others over VXLAN (RFC 7348): what is sent to whom, and what of what comes reaches whom. On a simulated engine. */
import test from "ava";
import dns from "dns-packet";
import fc from "fast-check";
import { NetnsError } from "../../src/errors.js";
import { MAX_PAYLOAD } from "../../src/native/engine.js";
import { Vxlan, type VxlanOptions } from "../../src/vxlan/vxlan.js";
import { endpoint, formatEndpoint, parseAddress } from "../../src/wire/address.js";
import {
  BROADCAST_MAC,
  echo,
  frame,
  ip4,
  ipv4,
  OUR_MAC,
  type Parsed,
  parse,
  pseudoHeader,
  sum,
  u16,
  u32,
  udp,
  udpChecksumValid,
} from "../simulation/frames.js";
import { type Host, Members } from "../simulation/members.js";
import type { SimulatedDatagram } from "../simulation/sockets.js";

const ALPHA = endpoint(parseAddress("198.51.100.20"), 4789);
const BETA = endpoint(parseAddress("198.51.100.30"), 4790);
const VNI = 0x12ab34;
/** RFC 7348, 5: the I flag, and the identifier in the first three bytes of the second word. */
const HEADER = [8, 0, 0, 0, 0x12, 0xab, 0x34, 0];
/** A host on a network elsewhere. */
const FAR = { mac: [2, 0xaa, 0, 0, 0, 1], ip: "10.0.2.200" };
const FAR_TOO = { mac: [2, 0xbb, 0, 0, 0, 1], ip: "10.0.2.201" };

class Rig extends Members {
  readonly vxlan: Vxlan;

  constructor(options: Partial<VxlanOptions> = {}) {
    super({ mtu: 1450 });
    this.vxlan = new Vxlan(this.network, { vni: VNI, port: 4789, remotes: [ALPHA, BETA], mtu: 1450, ...options });
  }

  get socket(): SimulatedDatagram {
    return this.engine.datagrams[0];
  }

  /** What was sent since the last call: to whom, and the frames, each behind twelve zeros as parse() wants it. */
  sent(): { to: string; header: number[]; frame: Parsed }[] {
    return this.socket.take().flatMap(({ bytes, segment, remote }) => {
      const step = segment || bytes.length;
      const parts = Array.from({ length: Math.ceil(bytes.length / step) }, (_, i) =>
        bytes.subarray(i * step, (i + 1) * step),
      );
      return parts.map((part) => ({
        to: formatEndpoint(remote),
        header: [...part.subarray(0, 8)],
        frame: parse(Uint8Array.from([...new Array(12).fill(0), ...part.subarray(8)])),
      }));
    });
  }

  /** Datagrams come in together. */
  come(datagrams: readonly Uint8Array[], from = ALPHA): void {
    const size = datagrams[0].length;
    this.socket.deliver(Buffer.concat(datagrams), from, undefined, datagrams.length > 1 ? size : 0);
    this.engine.settle();
  }
}

/** A frame in a datagram. `given` has a virtio header, which is left away. */
function encapsulated(given: Uint8Array, header = HEADER): Uint8Array {
  return Uint8Array.from([...header, ...given.subarray(12)]);
}

function packet(
  from: { mac: readonly number[]; ip: string },
  to: { mac: readonly number[]; ip: string },
  payload: Uint8Array,
): Uint8Array {
  return frame(
    0x0800,
    ipv4({ source: from.ip, destination: to.ip, protocol: 17, payload: udp(7000, 7001, payload, from.ip, to.ip) }),
    [...to.mac],
    [...from.mac],
  );
}

const here = ({ mac, v4 }: Host) => ({ mac, ip: v4 });
const asked = (from: { mac: readonly number[]; ip: string }, target: string): Uint8Array =>
  frame(
    0x0806,
    [0, 1, 8, 0, 6, 4, 0, 1, ...from.mac, ...ip4(from.ip), 0, 0, 0, 0, 0, 0, ...ip4(target)],
    BROADCAST_MAC,
    [...from.mac],
  );

test("a frame for nobody here goes to every remote, byte for byte behind the header of the RFC", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  rig.sent();
  const given = packet(here(red), FAR, Uint8Array.of(1, 2, 3));
  red.say(given);
  const sent = rig.socket.take();
  t.deepEqual(
    sent.map(({ bytes, remote }) => [formatEndpoint(remote), Buffer.from(bytes).toString("hex")]),
    ["198.51.100.20:4789", "198.51.100.30:4790"].map((to) => [to, Buffer.from(encapsulated(given)).toString("hex")]),
  );
  t.is(formatEndpoint(rig.vxlan.local[0]), "0.0.0.0:4789");
});

test("who is where is learned from what comes, and forgotten after five minutes of silence; groups go to all", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  const to = (given: Uint8Array) => {
    rig.sent();
    red.say(given);
    return rig.sent().map(({ to }) => to);
  };
  const toFar = packet(here(red), FAR, Uint8Array.of(1));
  rig.come([encapsulated(packet(FAR, here(red), Uint8Array.of(9)))], BETA);
  t.deepEqual(to(toFar), ["198.51.100.30:4790"]);
  t.deepEqual(to(asked(here(red), "10.0.2.210")), ["198.51.100.20:4789", "198.51.100.30:4790"]);
  rig.come([encapsulated(packet(FAR, here(red), Uint8Array.of(9)))], ALPHA);
  t.deepEqual(to(toFar), ["198.51.100.20:4789"], "it has moved");
  t.is(rig.count("vxlan.moved"), 1);
  rig.engine.advance(299_999);
  t.is(to(toFar).length, 1);
  rig.engine.advance(1);
  t.is(to(toFar).length, 2);
});

test("what comes reaches its member, as complete as it is; groups reach all members, and no remote", async (t) => {
  const rig = new Rig();
  const [red, blue] = await rig.hosts("red", "blue");
  rig.sent();
  const given = packet(FAR, here(red), Uint8Array.of(5, 6));
  rig.come([encapsulated(given)]);
  t.deepEqual(red.raw(), [given]);
  t.deepEqual(blue.raw(), []);
  const group = packet(FAR, { mac: BROADCAST_MAC, ip: "10.0.2.255" }, Uint8Array.of(7));
  rig.come([encapsulated(group)], BETA);
  t.deepEqual([red.raw(), blue.raw()], [[group], [group]]);
  rig.come([encapsulated(packet(FAR, FAR_TOO, Uint8Array.of(8)))]);
  t.deepEqual(rig.sent(), [], "split horizon");
  t.is(rig.count("switch.unknown"), 1);
});

test("datagrams that came together are taken apart, and none is damaged by its neighbour", async (t) => {
  const rig = new Rig();
  const [red, blue] = await rig.hosts("red", "blue");
  const given = Array.from({ length: 40 }, (_, i) =>
    packet(FAR, here(i % 3 === 0 ? blue : red), new Uint8Array(1350).fill(i + 1)),
  );
  given.push(packet(FAR, here(red), new Uint8Array(100).fill(99)));
  rig.come(given.map((each) => encapsulated(each)));
  t.deepEqual(
    [red.raw(), blue.raw()],
    [0, 1].map((k) => given.filter((_, i) => (i < 40 && i % 3 === 0 ? 1 : 0) === k)),
  );
});

test("the longest burst that an engine reports is taken", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  const given = Array.from({ length: 64 }, (_, i) => packet(FAR, here(red), new Uint8Array(960).fill(i)));
  t.true(
    given.length * (given[0].length - 4) < MAX_PAYLOAD && given.length * (given[0].length - 4) > MAX_PAYLOAD - 2000,
  );
  rig.come(given.map((each) => encapsulated(each)));
  t.deepEqual(red.raw(), given);
});

test("a super-frame leaves as datagrams of the MTU, complete, in one call for each remote", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  rig.come([encapsulated(packet(FAR, here(red), Uint8Array.of(9)))], BETA);
  rig.socket.take();
  const payload = Uint8Array.from({ length: 40_000 }, (_, i) => i & 255);
  const partial = 0xffff - sum(pseudoHeader(red.v4, FAR.ip, 6, 20 + payload.length));
  const header = [...u16(1), ...u16(2), ...u32(1000), ...u32(1), 0x50, 24, 1, 0, ...u16(partial), 0, 0];
  const segment = Uint8Array.from([...header, ...payload]);
  const vnet = { flags: 1, gso: 1, size: 1410, start: 34, offset: 16, headers: 54 };
  red.say(
    frame(
      0x0800,
      ipv4({ source: red.v4, destination: FAR.ip, protocol: 6, payload: segment }),
      FAR.mac,
      [...red.mac],
      vnet,
    ),
  );
  t.is(rig.socket.sent.length, 1);
  t.is(rig.socket.sent[0].segment, 8 + 14 + 1450);
  const sent = rig.sent();
  t.is(sent.length, 29);
  for (const { header, frame, to } of sent) {
    t.deepEqual(header, HEADER);
    t.is(to, "198.51.100.30:4790");
    t.true(frame.headerValid && frame.ip.length <= 1450);
    t.is(sum([...pseudoHeader(red.v4, FAR.ip, 6, frame.payload.length), ...frame.payload]), 0);
  }
  t.true(Buffer.concat(sent.map(({ frame }) => frame.payload.subarray(20))).equals(payload));
});

test("open checksums are completed on the way out", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  rig.sent();
  const datagram = udp(1, 2, [1, 2, 3, 4, 5], red.v4, FAR.ip);
  datagram.set(u16(0xffff - sum(pseudoHeader(red.v4, FAR.ip, 17, datagram.length))), 6);
  const vnet = { flags: 1, start: 34, offset: 6 };
  red.say(
    frame(
      0x0800,
      ipv4({ source: red.v4, destination: FAR.ip, protocol: 17, payload: datagram }),
      FAR.mac,
      [...red.mac],
      vnet,
    ),
  );
  for (const { frame } of rig.sent()) t.true(udpChecksumValid(red.v4, FAR.ip, frame.payload));
});

const BAD: [name: string, counter: string, bytes: Uint8Array, from?: Uint8Array][] = [
  [
    "an unknown remote",
    "vxlan.unknown_remote",
    encapsulated(packet(FAR, FAR_TOO, Uint8Array.of(1))),
    endpoint(parseAddress("198.51.100.66"), 4789),
  ],
  [
    "another network",
    "vxlan.unknown_vni",
    encapsulated(packet(FAR, FAR_TOO, Uint8Array.of(1)), [8, 0, 0, 0, 0x12, 0xab, 0x35, 0]),
  ],
  [
    "no identifier",
    "vxlan.no_vni",
    encapsulated(packet(FAR, FAR_TOO, Uint8Array.of(1)), [0, 0, 0, 0, 0x12, 0xab, 0x34, 0]),
  ],
  ["a datagram of nothing", "vxlan.short", new Uint8Array(0)],
  ["a header only", "vxlan.short", Uint8Array.from(HEADER)],
  ["half an Ethernet header", "vxlan.short", Uint8Array.from([...HEADER, ...new Array(13).fill(2)])],
  [
    "a frame from a group",
    "vxlan.bad_source_mac",
    encapsulated(packet({ ...FAR, mac: [3, 0, 0, 0, 0, 1] }, FAR_TOO, Uint8Array.of(1))),
  ],
  [
    "an Ethernet header only",
    "switch.unknown_ethertype",
    Uint8Array.from([...HEADER, ...OUR_MAC, ...FAR.mac, 0x12, 0x34]),
  ],
];
for (const [name, counter, bytes, from] of BAD) {
  test(`dropped and counted: ${name}`, async (t) => {
    const rig = new Rig();
    const [red] = await rig.hosts("red");
    rig.come([bytes], from);
    t.is(rig.count(counter), 1);
    t.deepEqual(red.raw(), []);
  });
}

test("what is reserved in the header is ignored (RFC 7348, 5)", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  const given = packet(FAR, here(red), Uint8Array.of(1));
  rig.come([encapsulated(given, [0xff, 1, 2, 3, 0x12, 0xab, 0x34, 0x77])]);
  t.deepEqual(red.raw(), [given]);
});

test("nobody elsewhere speaks in the name of a member or of the gateway", async (t) => {
  const rig = new Rig();
  const [red, blue] = await rig.hosts("red", "blue");
  rig.come([encapsulated(packet(here(blue), here(red), Uint8Array.of(1)))]);
  rig.come([encapsulated(packet({ ...FAR, ip: blue.v4 }, here(red), Uint8Array.of(1)))]);
  rig.come([encapsulated(packet({ mac: OUR_MAC, ip: FAR.ip }, here(red), Uint8Array.of(1)))]);
  rig.come([encapsulated(asked({ ...FAR, ip: "10.0.2.2" }, red.v4))]);
  t.deepEqual(red.raw(), []);
});

test("those elsewhere find gateway and names here", async (t) => {
  const rig = new Rig();
  await rig.hosts("red");
  rig.sent();
  rig.come([encapsulated(asked(FAR, "10.0.2.3"))]);
  const [reply, ...more] = rig.sent();
  t.is(more.length, 0, "to the one who asked alone");
  t.deepEqual([...reply.frame.payload.subarray(0, 18)], [0, 1, 8, 0, 6, 4, 0, 2, ...OUR_MAC, ...ip4("10.0.2.3")]);
  const query = dns.encode({
    type: "query",
    id: 7,
    flags: dns.RECURSION_DESIRED,
    questions: [{ name: "red.lab.internal", type: "A" }],
  });
  const question = udp(5353, 53, query, FAR.ip, "10.0.2.3");
  rig.come([
    encapsulated(
      frame(
        0x0800,
        ipv4({ source: FAR.ip, destination: "10.0.2.3", protocol: 17, payload: question }),
        OUR_MAC,
        FAR.mac,
      ),
    ),
  ]);
  const [{ frame: answer }] = rig.sent();
  t.is(answer.to, FAR.mac.map((byte) => byte.toString(16).padStart(2, "0")).join(":"));
  t.true(udpChecksumValid("10.0.2.3", FAR.ip, answer.payload));
  const message = dns.decode(Buffer.from(answer.payload.subarray(8)));
  t.like(message.answers?.[0], { data: "10.0.2.100" });
});

test("fragments for the gateway in the middle of a burst are put together, and what came with them stays as it is", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  rig.sent();
  const body = echo(
    8,
    5,
    1,
    Uint8Array.from({ length: 2792 }, (_, i) => i & 255),
  );
  const piece = (from: number, to: number) =>
    frame(
      0x0800,
      ipv4({
        source: FAR.ip,
        destination: "10.0.2.2",
        protocol: 1,
        fragment: (from >> 3) | (to < body.length ? 0x2000 : 0),
        payload: body.subarray(from, to),
      }),
      OUR_MAC,
      FAR.mac,
    );
  const others = [1, 2, 3].map((fill) => packet(FAR, here(red), new Uint8Array(1392).fill(fill)));
  rig.come([others[0], piece(0, 1400), others[1], piece(1400, 2800), others[2]].map((each) => encapsulated(each)));
  t.deepEqual(red.raw(), others);
  const answer = Buffer.concat(rig.sent().map(({ frame }) => frame.payload));
  t.deepEqual([...answer.subarray(0, 2), ...answer.subarray(4)], [0, 0, ...body.subarray(4)]);
});

test("more than a turn has room for is dropped and counted", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  for (let i = 0; i < 30; i++) {
    const segment = Uint8Array.from([
      ...u16(1),
      ...u16(2),
      ...new Array(8).fill(0),
      0x50,
      16,
      1,
      0,
      0,
      0,
      0,
      0,
      ...new Array(60_000).fill(1),
    ]);
    const vnet = { flags: 1, gso: 1, size: 1410, start: 34, offset: 16 };
    red.queue(
      frame(
        0x0800,
        ipv4({ source: red.v4, destination: FAR.ip, protocol: 6, payload: segment }),
        FAR.mac,
        [...red.mac],
        vnet,
      ),
    );
  }
  rig.sent();
  rig.engine.settle();
  t.is(rig.sent().length / 2 + rig.count("vxlan.no_room"), 30 * 43);
  t.true(rig.count("vxlan.no_room") > 0);
  red.say(packet(here(red), FAR, Uint8Array.of(1)));
  t.is(rig.sent().length, 2, "the next turn has room again");
});

test("packets longer than the MTU, and virtio headers that lie, are dropped and counted", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  rig.sent();
  red.say(packet(here(red), FAR, new Uint8Array(1422)));
  red.say(packet(here(red), FAR, new Uint8Array(1423)));
  const lies = packet(here(red), FAR, new Uint8Array(10));
  lies[0] = 1;
  lies[6] = 255;
  red.say(lies);
  t.is(rig.sent().length, 2);
  t.deepEqual([rig.count("vxlan.too_long"), rig.count("vxlan.bad_offload")], [1, 1]);
});

test("a packet that no datagram can carry is dropped, whatever the MTU", async (t) => {
  const rig = new Rig({ mtu: 65_521 });
  const [red] = await rig.hosts("red");
  rig.sent();
  red.say(packet(here(red), FAR, new Uint8Array(65_507 - 8 - 14 - 28)));
  t.is(rig.sent().length, 2, "to both remotes");
  red.say(packet(here(red), FAR, new Uint8Array(65_507 - 8 - 14 - 28 + 1)));
  t.is(rig.sent().length, 0);
  t.is(rig.count("vxlan.too_long"), 1);
});

test("a network with both families of remotes has a socket for each; a port that is taken is told", async (t) => {
  const six = endpoint(parseAddress("2001:db8::20"), 4789);
  const rig = new Rig({ remotes: [ALPHA, six] });
  const [red] = await rig.hosts("red");
  t.deepEqual(
    rig.vxlan.local.map((each) => formatEndpoint(each)),
    ["0.0.0.0:4789", "[::]:4789"],
  );
  for (const socket of rig.engine.datagrams) socket.take();
  red.say(packet(here(red), FAR, Uint8Array.of(1)));
  t.deepEqual(
    rig.engine.datagrams.map(({ sent }) => sent.map(({ remote }) => formatEndpoint(remote))),
    [["198.51.100.20:4789"], ["[2001:db8::20]:4789"]],
  );
  rig.vxlan.close();
  rig.engine.settle();
  t.is(rig.engine.datagrams.length, 0);
  red.say(packet(here(red), FAR, Uint8Array.of(1)));
  t.is(rig.count("switch.unknown"), 1);
  rig.engine.refuseOpen = -98;
  const options = { vni: 1, port: 4789, remotes: [ALPHA], mtu: 1450 };
  const error = t.throws(() => new Vxlan(rig.network, options), {
    instanceOf: NetnsError,
    message: /UDP port 4789.*--vxlan-port/,
  });
  t.is(error?.code, "PORT_BUSY");
});

test("two networks that are each other's remote: members find and ping each other", async (t) => {
  const places = [ALPHA, BETA];
  const rigs = [new Rig({ remotes: [BETA] }), new Rig({ remotes: [ALPHA] })];
  const red = await rigs[0].join("red", { v4: parseAddress("10.0.2.100") });
  const blue = await rigs[1].join("blue", { v4: parseAddress("10.0.2.150"), mac: [2, 0, 0, 0, 9, 9] });
  const carry = () => {
    for (let more = true; more; ) {
      more = false;
      for (const i of [0, 1]) {
        for (const { bytes, segment } of rigs[i].socket.take()) {
          rigs[1 - i].socket.deliver(bytes, places[i], undefined, segment);
          more = true;
        }
        rigs[1 - i].engine.settle();
      }
    }
  };
  carry();
  red.raw();
  blue.raw();
  red.say(asked(here(red), blue.v4));
  carry();
  const [question] = blue.heard();
  t.deepEqual([...question.payload.subarray(24, 28)], ip4(blue.v4));
  blue.say(packet(here(blue), here(red), Uint8Array.of(42)));
  carry();
  t.deepEqual(
    red.heard().map(({ payload }) => payload.at(-1)),
    [42],
  );
  for (const rig of rigs)
    t.deepEqual(
      Object.keys(rig.network.counters()).filter((name) => name.startsWith("vxlan.")),
      [],
    );
});

test("any bytes from a remote: no exception, and nothing in a member's or the gateway's name", async (t) => {
  const rig = new Rig();
  const [red] = await rig.hosts("red");
  const bytes = fc.uint8Array({ maxLength: 120 });
  const header = fc.constantFrom(HEADER, [8, 0, 0, 0, 0, 0, 1, 0], []);
  const ethernet = fc.constantFrom(
    [...red.mac, ...FAR.mac, 8, 0],
    [...OUR_MAC, ...FAR.mac, 8, 6],
    [...BROADCAST_MAC, ...red.mac, 8, 6],
    [],
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(header, ethernet, bytes), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 90 }),
      (parts, size) => {
        const all = parts.map(([a, b, c]) => [...a, ...b, ...c]);
        rig.socket.deliver(Uint8Array.from(all.flat()), ALPHA, undefined, parts.length > 1 ? size : 0);
        rig.engine.settle();
        for (const { from } of red.heard()) t.false([red.macText, "52:55:0a:00:02:02"].includes(from));
      },
    ),
    { numRuns: 1000 },
  );
  // And it still works.
  const given = packet(FAR, here(red), Uint8Array.of(9));
  rig.come([encapsulated(given)]);
  t.deepEqual(red.raw(), [given]);
});
