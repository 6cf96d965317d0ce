/** A member that sends two hundred thousand random and forged frames: nobody hears a lie, and the others' frames all arrive. */
import test from "ava";
import { formatAddress } from "../../src/wire/address.js";
import { linkLocalAddress } from "../../src/wire/ipv6.js";
import {
  BROADCAST_MAC,
  echo,
  echo6,
  frame,
  icmp6,
  ip4,
  ip6,
  ipv4,
  ipv6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  udp,
} from "../simulation/frames.js";
import { generator, mutated, type Pick } from "../simulation/fuzz.js";
import { type Host, Members } from "../simulation/members.js";

const FRAMES = 200_000;
const BATCH = 50;
const GATEWAY = "52:55:0a:00:02:02";

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const linkLocal = (host: Host) => formatAddress(linkLocalAddress(Uint8Array.from(host.mac)));

/** Frames that are right in form, in the name of anybody to anybody. */
function templates(hosts: readonly Host[]): (random: Pick) => Uint8Array {
  const macs = [
    ...hosts.map(({ mac }) => [...mac]),
    OUR_MAC,
    [2, 9, 9, 9, 9, 9],
    BROADCAST_MAC,
    [0x33, 0x33, 0, 0, 0, 1],
  ];
  const fours = [
    ...hosts.map(({ v4 }) => v4),
    "10.0.2.2",
    "10.0.2.3",
    "0.0.0.0",
    "10.0.2.200",
    "255.255.255.255",
    "8.8.8.8",
  ];
  const sixes = [
    ...hosts.map(({ v6 }) => v6),
    ...hosts.map(linkLocal),
    ...["fd00::2", OUR_LINK_LOCAL, "::", "ff02::1", "ff02::1:ff00:102", "2001:db8::1", "fd00::77"],
  ];
  const ports = [53, 67, 68, 546, 547, 5000];
  return (random) => {
    const one = <T>(list: readonly T[]): T => list[random(list.length)];
    const [to, source4, target4, source6, target6] = [one(macs), one(fours), one(fours), one(sixes), one(sixes)];
    // Mostly its own, or nothing gets beyond the first check.
    const from = random(5) ? macs[0] : one(macs);
    const four = random(3) ? fours[0] : source4;
    const six = random(3) ? sixes[0] : source6;
    const bytes = new Uint8Array(random(200)).fill(random(256));
    switch (random(8)) {
      case 0:
        return frame(
          0x0806,
          [0, 1, 8, 0, 6, 4, 0, 1 + random(2), ...one([from, one(macs)]), ...ip4(four), ...to, ...ip4(target4)],
          to,
          from,
        );
      case 1:
        return frame(
          0x0800,
          ipv4({
            source: four,
            destination: target4,
            protocol: 17,
            payload: udp(one(ports), one(ports), bytes, four, target4),
          }),
          to,
          from,
        );
      case 2:
        return frame(
          0x86dd,
          ipv6({
            source: six,
            destination: target6,
            next: 17,
            payload: udp(one(ports), one(ports), bytes, six, target6),
          }),
          to,
          from,
        );
      case 3:
      case 4: {
        const type = 133 + random(5);
        const body = [0x20, 0, 0, 0, ...ip6(one(sixes)), 1 + random(2), 1, ...(random(3) ? from : one(macs))];
        const extensions = random(4) ? [] : [58, 0, 1, 4, 0, 0, 0, 0];
        const payload = icmp6(type, 0, body, six, target6);
        const next = extensions.length > 0 ? [0, 60][random(2)] : 58;
        return frame(
          0x86dd,
          ipv6({ source: six, destination: target6, hops: 255, next, extensions, payload }),
          to,
          from,
        );
      }
      case 5:
        return frame(
          0x0800,
          ipv4({ source: four, destination: target4, protocol: 1, payload: echo(8, 1, 1, bytes) }),
          to,
          from,
        );
      case 6:
        return frame(
          0x86dd,
          ipv6({ source: six, destination: target6, next: 58, payload: echo6(128, 1, 1, bytes, six, target6) }),
          to,
          from,
        );
      default:
        return frame([0x8100, 0x88cc, 0x0800, 0x86dd, 0x0806, random(65536)][random(6)], bytes, to, from);
    }
  };
}

/** What is wrong with a frame that a member got from another; null: nothing. Addresses in hexadecimal. */
function lie(bytes: Uint8Array, mac: string, own4: string, others: ReadonlySet<string>): string | null {
  if (text(bytes.subarray(18, 24)) !== mac) return "another's hardware address";
  const packet = bytes.subarray(26);
  switch (text(bytes.subarray(24, 26))) {
    case "0800":
      return text(packet.subarray(12, 16)) === own4 ? null : "another's IPv4 address";
    case "0806": {
      if (text(packet.subarray(8, 14)) !== mac) return "another's hardware address in ARP";
      const sender = text(packet.subarray(14, 18));
      return sender === own4 || sender === "00000000" ? null : "another's IPv4 address in ARP";
    }
    case "86dd": {
      if (others.has(text(packet.subarray(8, 24)))) return "another's IPv6 address";
      const type = packet[6] === 58 ? packet[40] : -1;
      if (type === 134 || type === 137) return "to be a router";
      return type === 136 && others.has(text(packet.subarray(48, 64)))
        ? "another's IPv6 address in an advertisement"
        : null;
    }
    default:
      return "an unknown EtherType";
  }
}

test("a member that floods and forges disturbs nobody", async (t) => {
  t.timeout(120_000);
  const random = generator(20_260_801);
  const rig = new Members();
  const [evil, a, b] = await rig.hosts("evil", "a", "b");
  const lone = await rig.join("lone", { isolate: true });
  for (const host of [evil, a, b, lone]) host.raw();
  const template = templates([evil, a, b, lone]);
  const mac = text(Uint8Array.from(evil.mac));
  const own4 = text(Uint8Array.from(ip4(evil.v4)));
  const others = new Set(
    [a, b, lone]
      .flatMap((host) => [host.v6, linkLocal(host)])
      .concat("fd00::2", "fd00::3", OUR_LINK_LOCAL)
      .map((each) => text(Uint8Array.from(ip6(each)))),
  );
  let heard = 0;
  let exchanged = 0;
  for (let done = 0; done < FRAMES; done += BATCH) {
    const payload = udp(1000, 2000, [done & 0xff, done >>> 8, done >>> 16], a.v4, b.v4);
    const honest = frame(
      0x0800,
      ipv4({ source: a.v4, destination: b.v4, protocol: 17, payload }),
      [...b.mac],
      [...a.mac],
    );
    const noise = Array.from({ length: BATCH }, () => mutated(random, template, () => {}));
    a.queue(honest);
    evil.say(...noise);
    rig.engine.advance(random(20));
    if (random(50) === 0) rig.engine.advance(60_000);
    for (const host of [a, b, lone]) {
      for (const bytes of host.raw()) {
        if (host === b && text(bytes) === text(honest)) {
          exchanged++;
          continue;
        }
        const from = Array.from(bytes.subarray(18, 24), (byte) => byte.toString(16).padStart(2, "0")).join(":");
        const problem =
          from === GATEWAY ? null : host === lone ? "reached an isolated member" : lie(bytes, mac, own4, others);
        if (problem !== null) t.fail(`${problem}: ${text(bytes)}`);
        if (from !== GATEWAY) heard++;
      }
    }
    evil.raw();
  }
  t.is(exchanged, FRAMES / BATCH, "every frame of another pair arrived, as it was");
  t.true(heard > FRAMES / 100, "some of it was no lie");
  const drops = rig.drops();
  for (const counter of [
    "spoofed_mac",
    "spoofed_ip",
    "spoofed_arp",
    "spoofed_discovery",
    "router",
    "dhcp_server",
    "isolated",
    "unknown",
  ]) {
    t.true(drops[`switch.${counter}`] > 0, counter);
  }
  // The others are who they were, for us and for each other.
  for (const host of [a, b, lone]) {
    const { v4: source, v6 } = host;
    host.say(
      frame(0x0800, ipv4({ source, destination: "10.0.2.2", protocol: 1, payload: echo(8, 1, 1, []) }), OUR_MAC, [
        ...host.mac,
      ]),
      frame(
        0x86dd,
        ipv6({ source: v6, destination: "fd00::2", next: 58, payload: echo6(128, 1, 1, [], v6, "fd00::2") }),
        OUR_MAC,
        [...host.mac],
      ),
    );
    t.deepEqual(
      host.heard().map(({ to, payload }) => [to, payload[0]]),
      [0, 129].map((type) => [host.macText, type]),
    );
  }
  t.log(`${heard} frames of it were heard; ${JSON.stringify(drops)}`);
  await rig.leave(evil);
  t.is(rig.count("flows.open"), 0);
});
