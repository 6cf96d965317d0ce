/** A million mutated and random IPv4 frames; see test/simulation/fuzz.ts. */
import test from "ava";
import { UDHCPC_DISCOVER } from "../simulation/captured.js";
import {
  BROADCAST_MAC,
  echo,
  frame,
  ip4,
  ipv4,
  OUR_MAC,
  SANDBOX_MAC,
  sum,
  u16,
  u32,
  udp,
} from "../simulation/frames.js";
import { bombard, generator, mutated, type Pick } from "../simulation/fuzz.js";

const PLACES = [
  "198.51.100.7",
  "198.51.100.8",
  "203.0.113.5",
  "10.0.2.2",
  "10.0.2.3",
  "10.0.2.77",
  "127.0.0.1",
  "224.0.0.1",
];

function tcp(random: Pick, destination: string): Uint8Array {
  const flags = [0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x12][random(7)];
  const options = flags & 2 ? [2, 4, 5, 0xb4, 1, 3, 3, 7] : [];
  const header = [
    ...u16(1000 + random(300)),
    ...u16(80 + random(3)),
    ...u32(1000 + random(5000)),
    ...u32(random(8) ? random(0x7fffffff) : 0),
  ];
  header.push(((20 + options.length) / 4) << 4, flags, ...u16(random(65536)), 0, 0, 0, 0, ...options);
  const payload = new Uint8Array(flags & 2 ? 0 : random(600)).fill(random(256));
  const segment = Uint8Array.from([...header, ...payload]);
  const pseudo = [...ip4("10.0.2.100"), ...ip4(destination), 0, 6, ...u16(segment.length)];
  segment.set(u16(sum([...pseudo, ...segment])), 16);
  return segment;
}

/** A frame that is right, of any kind. */
function template(random: Pick): Uint8Array {
  const destination = PLACES[random(PLACES.length)];
  const port = [53, 67, 9, 80, 1 + random(65535)][random(5)];
  const bytes = new Uint8Array(random(300)).fill(random(256));
  switch (random(9)) {
    case 0: {
      const mac = [2, 0, 0, 0, 0, random(256)];
      const body = [
        0,
        1,
        8,
        0,
        6,
        4,
        0,
        1 + random(2),
        ...mac,
        10,
        0,
        2,
        random(256),
        0,
        0,
        0,
        0,
        0,
        0,
        10,
        0,
        2,
        random(8),
      ];
      return frame(0x0806, body, random(2) ? BROADCAST_MAC : OUR_MAC, mac);
    }
    case 1:
      return UDHCPC_DISCOVER.slice();
    case 2: {
      const payload = echo(random(8) ? 8 : random(256), random(400), random(65536), bytes);
      return frame(0x0800, ipv4({ destination, protocol: 1, payload }));
    }
    case 3: {
      const fragment = (random(2) ? 0x2000 : 0) | (random(3) ? random(200) : random(8192));
      return frame(
        0x0800,
        ipv4({ destination, protocol: [1, 6, 17][random(3)], id: random(100), fragment, payload: bytes }),
      );
    }
    case 4: {
      const payload = udp(4000 + random(600), port, bytes, "10.0.2.100", destination);
      const vnet = { flags: 1, gso: 5, size: 1 + random(200), start: 34, offset: 6 };
      return frame(0x0800, ipv4({ destination, protocol: 17, payload }), OUR_MAC, SANDBOX_MAC, vnet);
    }
    case 5:
      return frame(0x0800, ipv4({ destination, protocol: random(256), payload: bytes }));
    case 6:
      return frame(0x0800, ipv4({ destination, protocol: 6, payload: tcp(random, destination) }));
    case 7: {
      const vnet = { flags: 1, gso: random(2), size: 1 + random(1460), start: 34, offset: 16 };
      const payload = tcp(random, destination);
      return frame(0x0800, ipv4({ destination, protocol: 6, payload }), OUR_MAC, SANDBOX_MAC, vnet);
    }
    default: {
      const payload = udp(4000 + random(600), port, bytes, "10.0.2.100", destination);
      return frame(0x0800, ipv4({ destination, protocol: 17, ttl: random(20) ? 64 : random(3), payload }));
    }
  }
}

/** Sets the IP header's checksum right, as far as there is a header. */
function mend(bytes: Uint8Array): void {
  const header = (bytes[26] & 15) * 4;
  if (bytes.length < 26 + header || header < 20) return;
  bytes.set([0, 0], 36);
  bytes.set(u16(sum(bytes.subarray(26, 26 + header))), 36);
}

test("a million frames", (t) => {
  bombard(t, generator(20_260_729), (random) => mutated(random, template, mend), [
    "stack.",
    "udp.",
    "icmp.",
    "dhcp.",
    "tcp.",
    "policy.",
  ]);
});
