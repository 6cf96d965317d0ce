/** What is sent to a link without offloads: each frame complete, none longer than the MTU, in the order of sending. */
import test from "ava";
import { parseAddress } from "../../src/wire/address.js";
import {
  frame,
  ipv4,
  type Parsed,
  pseudoHeader,
  SANDBOX_MAC,
  SANDBOX_V6,
  sum,
  u16,
  udp,
  type Vnet,
} from "../simulation/frames.js";
import { SimulatedNetwork } from "../simulation/network.js";

const WORLDS = [
  { outside: parseAddress("198.51.100.7"), inside: parseAddress("10.0.2.100"), ip: 20 },
  { outside: parseAddress("2001:db8::7"), inside: parseAddress(SANDBOX_V6), ip: 40 },
];
const NONE = { flags: 0, gso: 0, headers: 0, size: 0, start: 0, offset: 0 };

/** Runs `action` within a turn of a network whose sandbox has a plain link, and gives the frames that were written. */
function sent(
  action: (network: SimulatedNetwork) => void,
  mtu = 1500,
): { frames: Parsed[]; network: SimulatedNetwork } {
  let acts = action;
  const network: SimulatedNetwork = new SimulatedNetwork({
    plain: true,
    mtu,
    tcp: (network) => ({
      input: () => {},
      endOfTurn: () => {
        acts(network);
        acts = () => {};
      },
    }),
  });
  network.engine.settle();
  return { frames: network.received(), network };
}

/** Counted over everything, a complete checksum gives 0. */
const isComplete = ({ source, destination, protocol, payload }: Parsed): boolean =>
  sum([...pseudoHeader(source, destination, protocol, payload.length), ...payload]) === 0;

for (const { outside, inside, ip } of WORLDS) {
  test(`a TCP super-frame becomes segments of the MTU; IP header of ${ip}`, (t) => {
    const mss = 1500 - ip - 20;
    const payload = Uint8Array.from({ length: 64_000 }, (_, i) => (i * 7) & 0xff);
    const { frames } = sent(({ egress, link }) => {
      const at = egress.large();
      egress.bytes.set([...u16(80), ...u16(40000), 0, 0, 0x10, 0, 0, 0, 0, 1, 0x50, 0x18, 1, 0, 0, 0, 0, 0], at);
      egress.bytes.set(payload, at + 20);
      egress.send(link, 6, outside, inside, at, 20 + payload.length, 20, mss);
      egress.view.setUint16(at + 14, 777); // the window may still change until the turn is over
    });
    t.is(frames.length, Math.ceil(64_000 / mss));
    const view = (one: Parsed) => Buffer.from(one.payload);
    for (const [i, one] of frames.entries()) {
      t.deepEqual(one.vnet, NONE);
      t.true(isComplete(one) && (ip === 40 || one.headerValid));
      t.is(view(one).readUInt32BE(4), 0x1000 + i * mss);
      t.is(view(one).readUInt16BE(14), 777);
      t.is(one.payload[13], i === frames.length - 1 ? 0x18 : 0x10, "PSH with the last only");
      t.true(one.ip.length <= 1500);
    }
    t.true(Buffer.concat(frames.map((one) => one.payload.subarray(20))).equals(payload));
  });

  test(`datagrams, acknowledgements and fragments are complete, in their order; IP header of ${ip}`, (t) => {
    const { frames } = sent(({ egress, udp, link }) => {
      udp.respond(link, outside, 53, inside, 5000, Uint8Array.of(1, 2, 3));
      const at = egress.small(20);
      egress.bytes.fill(0, at, at + 20);
      egress.send(link, 6, outside, inside, at, 20, 20, 0);
      udp.respond(link, outside, 53, inside, 5000, new Uint8Array(3000));
      const large = egress.large();
      egress.bytes.set([0x13, 0x88, 0, 9, 0, 0, 0, 0], large);
      egress.send(link, 17, outside, inside, large, 8 + 2500, 8, 1000);
    });
    t.true(frames.every(({ vnet, ip }) => vnet.flags === 0 && vnet.gso === 0 && ip.length <= 1500));
    const whole = frames.filter(({ fragment }) => fragment === 0 || fragment === 0x4000);
    t.true(whole.every(isComplete));
    t.deepEqual(
      frames.map(({ payload, fragment }) => [payload.length, fragment & 0x2001 ? "more" : ""].join("")),
      [11, 20, ...(ip === 20 ? ["1480more", "1480more", 48] : ["1448more", "1448more", 112]), 1008, 1008, 508].map(
        String,
      ),
    );
  });
}

test("what lies in its virtio header, or is longer than the MTU, is dropped and counted", (t) => {
  const relayed = (payload: number, vnet: Vnet) =>
    frame(
      0x0800,
      ipv4({ protocol: 17, payload: udp(5000, 53, new Uint8Array(payload)) }),
      SANDBOX_MAC,
      SANDBOX_MAC,
      vnet,
    );
  const { frames, network } = sent(({ egress, link }) => {
    const pass = (bytes: Uint8Array) => {
      const at = egress.place(bytes.length);
      egress.bytes.set(bytes, at);
      egress.relay(link, at, bytes.length);
    };
    pass(relayed(100, {}));
    pass(relayed(100, { flags: 1, start: 34, offset: 200 }));
    pass(relayed(1472, {}));
    pass(relayed(1473, {}));
    pass(new Uint8Array(20));
  });
  t.deepEqual(
    frames.map(({ payload }) => payload.length),
    [108, 1480],
  );
  t.is(network.counters.get("plain.bad_offload"), 2);
  t.is(network.counters.get("plain.too_long"), 1);
});

test("more than a turn has room for is dropped and counted, and the next turn has room again", (t) => {
  const { frames, network } = sent(({ egress, link }) => {
    const at = egress.large();
    egress.bytes.fill(0, at, at + 65_000);
    egress.bytes[at + 12] = 0x50;
    for (let i = 0; i < 60; i++) egress.relay(link, at - 66, 0); // nothing at all
    for (let i = 0; i < 60; i++) egress.send(link, 6, WORLDS[0].outside, WORLDS[0].inside, at, 65_000, 20, 1400);
  }, 1500);
  t.true(frames.length > 1000 && frames.length < 60 * 47, `${frames.length}`);
  t.is(network.counters.get("plain.no_room"), 60 * 47 - frames.length);
  t.is(network.counters.get("plain.bad_offload"), 60);
});

test("what a plain link brings is verified, since nobody vouches for its checksums", (t) => {
  const network = new SimulatedNetwork({ plain: true });
  const datagram = udp(5000, 7000, [1, 2, 3]);
  network.exchange(frame(0x0800, ipv4({ protocol: 17, payload: datagram })));
  t.is(network.engine.datagrams.length, 1);
  const wrong = datagram.slice();
  wrong[9] ^= 1;
  network.exchange(frame(0x0800, ipv4({ protocol: 17, payload: wrong })));
  t.is(network.counters.get("udp.checksum"), 1);
  t.is(network.engine.datagrams[0].sent.length, 1);
});
