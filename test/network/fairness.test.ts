/** What one member asks of the tables that all have in common leaves something for the others. */
import test from "ava";
import { MAX_DATAGRAMS } from "../../src/stack/fragments.js";
import { echo, frame, ipv4, OUR_MAC, udp } from "../simulation/frames.js";
import { type Host, Members } from "../simulation/members.js";

const OUTSIDE = "198.51.100.7";

const packet = (
  from: Host,
  payload: ArrayLike<number>,
  { destination = OUTSIDE, protocol = 17, id = 0, fragment = 0 },
) => frame(0x0800, ipv4({ source: from.v4, destination, protocol, id, fragment, payload }), OUR_MAC, [...from.mac]);

test("fragments: a datagram of another member is put together while one sends nothing but first fragments", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const flood = (from: number) => {
    for (let id = from; id < from + 2 * MAX_DATAGRAMS; id++)
      a.say(packet(a, new Uint8Array(64), { id, fragment: 0x2000 }));
  };
  const whole = udp(5000, 9, new Uint8Array(100).fill(7), b.v4, OUTSIDE);
  flood(0);
  b.say(packet(b, whole.subarray(0, 64), { id: 1, fragment: 0x2000 }));
  flood(1000);
  b.say(packet(b, whole.subarray(64), { id: 1, fragment: 8 }));
  const sent = rig.engine.datagrams.flatMap((socket) => socket.take());
  t.deepEqual(
    sent.map(({ bytes }) => bytes.length),
    [100],
  );
});

test("errors: another member is told what happened while one scans", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const knock = (from: Host) => packet(from, udp(5000, 9, [1], from.v4, "10.0.2.77"), { destination: "10.0.2.77" });
  for (let i = 0; i < 1500; i++) a.say(knock(a));
  t.true(a.raw().length <= 1010);
  b.say(knock(b));
  t.deepEqual(
    b.heard().map(({ payload }) => [...payload.subarray(0, 2)]),
    [[3, 1]],
  );
});

test("ping: another member's goes on while one asks by ever new numbers", async (t) => {
  const rig = new Members();
  const [a, b] = await rig.hosts("a", "b");
  const ping = (from: Host, id: number) => packet(from, echo(8, id, 1, [id & 255]), { protocol: 1 });
  for (let id = 0; id < 300; id++) a.say(ping(a, id));
  b.say(ping(b, 7));
  const socket = rig.engine.datagrams[rig.engine.datagrams.length - 1];
  for (let id = 300; id < 600; id++) a.say(ping(a, id));
  t.false(socket.closed);
});
