/** A million mutated and random IPv6 frames: extension headers, fragments, neighbour discovery; see test/simulation/fuzz.ts. */
import test from "ava";
import {
  DHCLIENT_REQUEST,
  DHCLIENT_SOLICIT,
  DUPLICATE_DETECTION,
  LISTENER_REPORT,
  ROUTER_SOLICITATION,
  SOLICITATION_OF_GATEWAY,
} from "../simulation/captured.js";
import {
  echo6,
  frame,
  icmp6,
  ip6,
  ipv6,
  OUR_LINK_LOCAL,
  OUR_MAC,
  SANDBOX_MAC,
  SANDBOX_V6,
  sum,
  u16,
  u32,
  udp,
} from "../simulation/frames.js";
import { bombard, generator, mutated, type Pick } from "../simulation/fuzz.js";

const PLACES = [
  "2001:db8::7",
  "2001:db8::8",
  "2001:db8:5::5",
  "fd00::2",
  "fd00::3",
  "fd00::77",
  "::1",
  "::ffff:127.0.0.1",
  "64:ff9b::7f00:1",
  OUR_LINK_LOCAL,
  "ff02::1",
];
const CLIENT = "fe80::11:22ff:fe33:4455";

function tcp(random: Pick, destination: string): Uint8Array {
  const flags = [0x02, 0x10, 0x18, 0x11, 0x04, 0x14, 0x12][random(7)];
  const options = flags & 2 ? [2, 4, 5, 0xa0, 1, 3, 3, 7] : [];
  const header = [...u16(1000 + random(300)), ...u16(80 + random(3)), ...u32(1000 + random(5000))];
  header.push(...u32(random(8) ? random(0x7fffffff) : 0), ((20 + options.length) / 4) << 4, flags);
  header.push(...u16(random(65536)), 0, 0, 0, 0, ...options);
  const payload = new Uint8Array(flags & 2 ? 0 : random(600)).fill(random(256));
  const segment = Uint8Array.from([...header, ...payload]);
  const pseudo = [...ip6(SANDBOX_V6), ...ip6(destination), ...u32(segment.length), 0, 0, 0, 6];
  segment.set(u16(sum([...pseudo, ...segment])), 16);
  return segment;
}

/** Extension headers before `protocol`, and the type of the first. */
function extensions(random: Pick, protocol: number): { next: number; bytes: number[] } {
  const bytes: number[] = [];
  let next = protocol;
  for (let i = random(4); i > 0; i--) {
    const type = [0, 43, 44, 60, 60][random(5)];
    const option = [random(3) ? 1 : random(256), 4, 0, 0, 0, 0];
    const rest =
      type === 44
        ? [0, ...u16(random(2) ? 0 : random(65536)), ...u32(random(8))]
        : [0, ...(type === 43 ? [0, random(2), 0, 0, 0, 0] : option)];
    bytes.unshift(next, ...rest);
    next = type;
  }
  return { next, bytes };
}

function discovery(random: Pick): Uint8Array {
  const captured = [DUPLICATE_DETECTION, LISTENER_REPORT, ROUTER_SOLICITATION, SOLICITATION_OF_GATEWAY];
  if (random(2)) return captured[random(captured.length)].slice();
  const source = [SANDBOX_V6, CLIENT, "::"][random(3)];
  const destination = ["ff02::1:ff00:2", "ff02::2", "fd00::2"][random(3)];
  const mac = [2, 0, 0, 0, 0, random(256)];
  const target = ["fd00::2", "fd00::3", `fd00::${random(999)}`, OUR_LINK_LOCAL][random(4)];
  const body = [...u32(random(4) << 29), ...ip6(target), 1 + random(2), random(10) ? 1 : random(4), ...mac];
  const payload = icmp6(133 + random(5), random(10) ? 0 : 1, body, source, destination);
  const packet = ipv6({ source, destination, hops: random(10) ? 255 : 254, next: 58, payload });
  return frame(0x86dd, packet, random(2) ? OUR_MAC : [0x33, 0x33, 0, 0, 0, 1], random(2) ? mac : SANDBOX_MAC);
}

/** A frame that is right, of any kind. */
function template(random: Pick): Uint8Array {
  const destination = PLACES[random(PLACES.length)];
  const port = [53, 547, 9, 80, 1 + random(65535)][random(5)];
  const bytes = new Uint8Array(random(300)).fill(random(256));
  const datagram = () => udp(4000 + random(600), port, bytes, SANDBOX_V6, destination);
  switch (random(10)) {
    case 0:
    case 1:
      return discovery(random);
    case 2: {
      const message = udp(546, 547, random(2) ? DHCLIENT_SOLICIT : DHCLIENT_REQUEST, CLIENT, "ff02::1:2");
      const packet = ipv6({ source: CLIENT, destination: "ff02::1:2", hops: 1, next: 17, payload: message });
      return frame(0x86dd, packet, [0x33, 0x33, 0, 1, 0, 2]);
    }
    case 3: {
      const payload = echo6(random(8) ? 128 : random(256), random(400), random(65536), bytes, SANDBOX_V6, destination);
      return frame(0x86dd, ipv6({ destination, next: 58, payload }));
    }
    case 4: {
      const word = (random(2) ? 1 : 0) | (8 * (random(3) ? random(200) : random(8192)));
      const header = [[58, 6, 17, 60][random(4)], 0, ...u16(word), ...u32(random(100))];
      return frame(0x86dd, ipv6({ destination, next: 44, extensions: header, payload: bytes }));
    }
    case 5: {
      const vnet = { flags: 1, gso: 5, size: 1 + random(200), start: 54, offset: 6 };
      return frame(0x86dd, ipv6({ destination, next: 17, payload: datagram() }), OUR_MAC, SANDBOX_MAC, vnet);
    }
    case 6: {
      const vnet = random(2) ? {} : { flags: 1, gso: random(2) * 4, size: 1 + random(1440), start: 54, offset: 16 };
      const packet = ipv6({ destination, next: 6, payload: tcp(random, destination) });
      return frame(0x86dd, packet, OUR_MAC, SANDBOX_MAC, vnet);
    }
    case 7: {
      const { next, bytes: headers } = extensions(random, [6, 17, 58, random(256)][random(4)]);
      return frame(0x86dd, ipv6({ destination, next, extensions: headers, payload: datagram() }));
    }
    case 8: {
      const { next, bytes: headers } = extensions(random, 17);
      return frame(0x86dd, ipv6({ destination, next, extensions: headers, payload: datagram() }));
    }
    default:
      return frame(0x86dd, ipv6({ destination, hops: random(20) ? 64 : random(3), next: 17, payload: datagram() }));
  }
}

/** Sets the checksum of ICMPv6 directly behind the header right. */
function mend(bytes: Uint8Array): void {
  if (bytes[32] !== 58 || bytes.length < 26 + 48) return;
  const message = bytes.subarray(66);
  message.set([0, 0], 2);
  const pseudo = [...bytes.subarray(34, 66), ...u32(message.length), 0, 0, 0, 58];
  message.set(u16(sum([...pseudo, ...message])), 2);
  bytes.set(u16(message.length), 30);
}

test("a million IPv6 frames", (t) => {
  bombard(t, generator(20_261_121), (random) => mutated(random, template, mend), [
    "stack.ndp_",
    "stack.fragment_",
    "stack.unknown_option",
    "stack.routing_header",
    "router.",
    "udp.",
    "icmp.",
    "dhcpv6.",
    "tcp.",
    "policy.",
  ]);
});
