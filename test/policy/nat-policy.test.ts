import test from "ava";
import fc from "fast-check";
import type { HostLoopback } from "../../src/policy/config.js";
import { NatPolicy } from "../../src/policy/nat-policy.js";
import type { Protocol, Verdict } from "../../src/policy/policy.js";
import { formatEndpoint, parseAddress } from "../../src/wire/address.js";
import { Reject } from "../../src/wire/reject.js";

interface Wishes {
  hostLoopback?: HostLoopback;
  outbound?: string;
  outbound6?: string;
  families?: "4" | "6" | "46";
  serveDns?: boolean;
  network?: string;
  prefix?: number;
}

function policy(wishes: Wishes = {}): NatPolicy {
  const families = wishes.families ?? "46";
  const v4 = {
    network: parseAddress(wishes.network ?? "10.0.2.0"),
    prefix: wishes.prefix ?? 24,
    gateway: parseAddress("10.0.2.2"),
    dns: parseAddress("10.0.2.3"),
  };
  const v6 = {
    network: parseAddress("fd00::"),
    prefix: 64,
    gateway: parseAddress("fd00::2"),
    dns: parseAddress("fd00::3"),
    linkLocal: parseAddress("fe80::5055:aff:fe00:202"),
  };
  return new NatPolicy({
    v4: families.includes("4") ? v4 : null,
    v6: families.includes("6") ? v6 : null,
    serveDns: wishes.serveDns ?? true,
    hostLoopback: wishes.hostLoopback ?? "closed",
    outboundAddress: wishes.outbound === undefined ? null : parseAddress(wishes.outbound),
    outboundAddress6: wishes.outbound6 === undefined ? null : parseAddress(wishes.outbound6),
  });
}

/** The verdict in one line: `198.51.100.7:80`, `198.51.100.7:80 from 192.0.2.9:0`, `service dns`, `silent policy.x`, `NoRoute policy.x`. */
function say(verdict: Verdict): string {
  if (verdict.kind === "service") return `service ${verdict.service}`;
  if (verdict.kind === "dial") {
    const remote = formatEndpoint(verdict.remote);
    return verdict.local === null ? remote : `${remote} from ${formatEndpoint(verdict.local)}`;
  }
  const names = new Map<Reject | "silent", string>([
    ["silent", "silent"],
    [Reject.NoRoute, "NoRoute"],
    [Reject.HostUnreachable, "HostUnreachable"],
    [Reject.PortUnreachable, "PortUnreachable"],
  ]);
  return `${names.get(verdict.reason) ?? verdict.reason} ${verdict.counter}`;
}

function ask(of: NatPolicy, protocol: Protocol, destination: string, port: number): string {
  return say(of.outbound(protocol, parseAddress("10.0.2.100"), parseAddress(destination), port));
}

const PROTOCOLS: readonly Protocol[] = ["tcp", "udp", "icmp"];

for (const [destination, expected] of [
  ["198.51.100.7", "198.51.100.7:80"],
  ["8.8.8.8", "8.8.8.8:80"],
  ["192.168.1.1", "192.168.1.1:80"],
  ["169.254.169.254", "169.254.169.254:80"],
  ["223.255.255.255", "223.255.255.255:80"],
  ["10.0.1.255", "10.0.1.255:80"],
  ["10.0.3.0", "10.0.3.0:80"],
  ["2001:db8::7", "[2001:db8::7]:80"],
  ["fd00:0:0:1::7", "[fd00:0:0:1::7]:80"],
  ["fc00::7", "[fc00::7]:80"],
  ["64:ff9b::c633:6407", "[64:ff9b::c633:6407]:80"],
  ["64:ff9b:1::c633:6407", "[64:ff9b:1::c633:6407]:80"],
  ["2002:c633:6407::1", "[2002:c633:6407::1]:80"],
] as const) {
  test(`${destination} is dialled as it is`, (t) => {
    t.is(ask(policy(), "tcp", destination, 80), expected);
    t.is(ask(policy(), "udp", destination, 80), expected);
    t.is(ask(policy(), "icmp", destination, 0), expected.replace(/80$/, "0"));
  });
}

for (const [destination, expected] of [
  ["0.0.0.0", "NoRoute policy.this_network"],
  ["0.1.2.3", "NoRoute policy.this_network"],
  ["127.0.0.1", "NoRoute policy.loopback"],
  ["127.0.0.53", "NoRoute policy.loopback"],
  ["127.255.255.255", "NoRoute policy.loopback"],
  ["224.0.0.251", "silent policy.multicast"],
  ["239.255.255.250", "silent policy.multicast"],
  ["240.0.0.1", "NoRoute policy.reserved"],
  ["255.255.255.254", "NoRoute policy.reserved"],
  ["255.255.255.255", "silent policy.broadcast"],
  ["10.0.2.255", "silent policy.broadcast"],
  ["10.0.2.0", "silent policy.broadcast"],
  ["10.0.2.1", "HostUnreachable policy.no_such_host"],
  ["10.0.2.100", "HostUnreachable policy.no_such_host"],
  // The same in IPv6's clothes.
  ["::ffff:127.0.0.1", "NoRoute policy.loopback"],
  ["::ffff:0.0.0.0", "NoRoute policy.this_network"],
  ["::ffff:10.0.2.1", "HostUnreachable policy.no_such_host"],
  ["::ffff:224.0.0.1", "silent policy.multicast"],
  ["::7f00:1", "NoRoute policy.reserved"],
  ["::c633:6407", "NoRoute policy.reserved"],
  ["::ffff:0:127.0.0.1", "NoRoute policy.reserved"],
  ["::ffff:0:198.51.100.7", "NoRoute policy.reserved"],
  ["64:ff9b::127.0.0.1", "NoRoute policy.loopback"],
  ["64:ff9b::0.0.0.0", "NoRoute policy.this_network"],
  ["2002:7f00:1::1", "NoRoute policy.loopback"],
  ["::", "NoRoute policy.this_network"],
  ["::1", "NoRoute policy.loopback"],
  ["fe80::1", "NoRoute policy.link_local"],
  ["febf::1", "NoRoute policy.link_local"],
  ["fec0::1", "NoRoute policy.link_local"],
  ["ff02::fb", "silent policy.multicast"],
  ["ff02::1:2", "silent policy.multicast"],
  ["ff0e::1", "silent policy.multicast"],
  ["fd00::", "HostUnreachable policy.no_such_host"],
  ["fd00::1", "HostUnreachable policy.no_such_host"],
  ["fd00::100", "HostUnreachable policy.no_such_host"],
  ["fd00::ffff:ffff:ffff:ffff", "HostUnreachable policy.no_such_host"],
  ["64:ff9b:1::127.0.0.1", "NoRoute policy.loopback"],
  ["64:ff9b:1:ffff::0.0.0.0", "NoRoute policy.this_network"],
  ["2002::1", "NoRoute policy.this_network"],
] as const) {
  test(`${destination} is never dialled`, (t) => {
    for (const of of [policy(), policy({ hostLoopback: "open", outbound: "192.0.2.9" })]) {
      for (const protocol of PROTOCOLS) {
        t.is(ask(of, protocol, destination, protocol === "icmp" ? 0 : 80), expected, protocol);
      }
    }
  });
}

const OUR_LINK_LOCAL = "fe80::5055:aff:fe00:202";

test("the host's loopback is closed at the gateway unless opened", (t) => {
  for (const gateway of ["10.0.2.2", "::ffff:10.0.2.2", "fd00::2", OUR_LINK_LOCAL]) {
    t.is(ask(policy(), "tcp", gateway, 80), "PortUnreachable policy.host_loopback");
    t.is(ask(policy(), "udp", gateway, 80), "PortUnreachable policy.host_loopback");
  }
});

test("the host's loopback, opened, is dialled from wherever the host likes, whatever the outbound address", (t) => {
  const open = policy({ hostLoopback: "open", outbound: "192.0.2.9", outbound6: "2001:db8::9" });
  t.is(ask(open, "tcp", "10.0.2.2", 80), "127.0.0.1:80");
  t.is(ask(open, "udp", "10.0.2.2", 65535), "127.0.0.1:65535");
  t.is(ask(open, "tcp", "fd00::2", 80), "[::1]:80");
  t.is(ask(open, "udp", OUR_LINK_LOCAL, 65535), "[::1]:65535");
});

test("a sandbox without a family dials nothing of it, not even our own services", (t) => {
  const destinations = {
    "4": ["198.51.100.7", "10.0.2.2", "10.0.2.3"],
    "6": ["2001:db8::7", "fd00::2", "fd00::3"],
  };
  for (const family of ["4", "6"] as const) {
    const other = policy({ families: family === "4" ? "6" : "4", hostLoopback: "open" });
    for (const destination of destinations[family]) {
      for (const protocol of PROTOCOLS) {
        t.is(ask(other, protocol, destination, protocol === "icmp" ? 0 : 53), "NoRoute policy.no_such_family");
      }
    }
    // No errors about groups (RFC 1122, 3.2.2; RFC 4443, 2.4).
    const group = family === "4" ? "255.255.255.255" : "ff02::1:2";
    t.is(ask(other, "udp", group, family === "4" ? 67 : 547), "silent policy.no_such_family");
  }
});

test("single ports of the host's loopback open no other", (t) => {
  const some = policy({
    hostLoopback: [
      { from: 80, to: 80 },
      { from: 8000, to: 8010 },
    ],
  });
  const open = "127.0.0.1:";
  const closed = "PortUnreachable policy.host_loopback";
  t.is(ask(some, "tcp", "10.0.2.2", 80), `${open}80`);
  t.is(ask(some, "tcp", "10.0.2.2", 8000), `${open}8000`);
  t.is(ask(some, "udp", "10.0.2.2", 8010), `${open}8010`);
  for (const port of [79, 81, 7999, 8011, 1, 65535]) t.is(ask(some, "tcp", "10.0.2.2", port), closed);
});

test("port 0 is refused everywhere", (t) => {
  for (const destination of ["10.0.2.2", "10.0.2.3", "198.51.100.7"]) {
    t.is(ask(policy({ hostLoopback: "open" }), "tcp", destination, 0), "PortUnreachable policy.port_zero");
    t.is(ask(policy({ hostLoopback: "open" }), "udp", destination, 0), "PortUnreachable policy.port_zero");
  }
});

test("gateway and DNS address answer pings", (t) => {
  for (const own of ["10.0.2.2", "10.0.2.3", "fd00::2", "fd00::3", OUR_LINK_LOCAL]) {
    t.is(ask(policy(), "icmp", own, 0), "service echo");
  }
});

test("the DNS address has port 53 and no other", (t) => {
  t.is(ask(policy(), "udp", "10.0.2.3", 53), "service dns");
  t.is(ask(policy(), "udp", "fd00::3", 53), "service dns");
  t.is(ask(policy(), "tcp", "10.0.2.3", 53), "service dns");
  t.is(ask(policy(), "tcp", "fd00::3", 53), "service dns");
  for (const hostLoopback of ["closed", "open"] as const) {
    t.is(ask(policy({ hostLoopback }), "tcp", "10.0.2.3", 80), "PortUnreachable policy.no_such_port");
    t.is(ask(policy({ hostLoopback }), "udp", "10.0.2.3", 54), "PortUnreachable policy.no_such_port");
  }
});

test("without DNS nobody is at its address", (t) => {
  const none = policy({ serveDns: false });
  for (const protocol of PROTOCOLS) {
    for (const dns of ["10.0.2.3", "fd00::3"]) {
      t.is(ask(none, protocol, dns, protocol === "icmp" ? 0 : 53), "HostUnreachable policy.no_such_host");
    }
  }
});

test("DHCP is answered at the gateway and by broadcast, and only there", (t) => {
  for (const destination of ["10.0.2.2", "255.255.255.255", "10.0.2.255"]) {
    t.is(ask(policy(), "udp", destination, 67), "service dhcp");
  }
  t.is(ask(policy(), "tcp", "10.0.2.2", 67), "PortUnreachable policy.host_loopback");
  t.is(ask(policy(), "udp", "10.0.2.3", 67), "PortUnreachable policy.no_such_port");
  t.is(ask(policy(), "udp", "198.51.100.7", 67), "198.51.100.7:67");
  t.is(ask(policy(), "udp", "ff02::1:2", 547), "service dhcp");
  t.is(ask(policy(), "tcp", "ff02::1:2", 547), "silent policy.multicast");
  t.is(ask(policy(), "udp", "ff02::1:2", 67), "silent policy.multicast");
  t.is(ask(policy(), "udp", "fd00::2", 547), "PortUnreachable policy.host_loopback", "no unicast (RFC 8415, 18.4)");
});

test("the outbound address is used for destinations of its own family", (t) => {
  const from = policy({ outbound: "192.0.2.9" });
  t.is(ask(from, "tcp", "198.51.100.7", 80), "198.51.100.7:80 from 192.0.2.9:0");
  t.is(ask(from, "icmp", "198.51.100.7", 0), "198.51.100.7:0 from 192.0.2.9:0");
  t.is(ask(from, "tcp", "2001:db8::7", 80), "[2001:db8::7]:80");
  const from6 = policy({ outbound6: "2001:db8::9" });
  t.is(ask(from6, "udp", "2001:db8::7", 80), "[2001:db8::7]:80 from [2001:db8::9]:0");
  t.is(ask(from6, "tcp", "198.51.100.7", 80), "198.51.100.7:80");
});

test("a subnet whose prefix ends within a byte", (t) => {
  const odd = policy({ network: "10.0.2.0", prefix: 25 });
  t.is(ask(odd, "tcp", "10.0.2.126", 80), "HostUnreachable policy.no_such_host");
  t.is(ask(odd, "tcp", "10.0.2.127", 80), "silent policy.broadcast");
  t.is(ask(odd, "tcp", "10.0.2.128", 80), "10.0.2.128:80");
  const wide = policy({ network: "10.0.0.0", prefix: 9 });
  t.is(ask(wide, "tcp", "10.127.255.254", 80), "HostUnreachable policy.no_such_host");
  t.is(ask(wide, "tcp", "10.127.255.255", 80), "silent policy.broadcast");
  t.is(ask(wide, "tcp", "10.128.0.0", 80), "10.128.0.0:80");
});

test("whatever the destination: with a closed loopback nothing that is dialled is the host's loopback", (t) => {
  const of = policy();
  const forms = fc.oneof(
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    // Likelier to hit: few bytes set, behind the prefixes that matter.
    fc
      .tuple(
        fc.constantFrom(
          ...[
            "::",
            "::ffff:0:0",
            "::ffff:0:0:0",
            "64:ff9b::",
            "64:ff9b:1::",
            "10.0.2.0",
            "127.0.0.0",
            "2002::",
            "fd00::",
            "fe80::",
          ],
        ),
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
      )
      .map(([prefix, tail]) => {
        const address = parseAddress(prefix);
        address.set(tail, 12);
        return address;
      }),
  );
  fc.assert(
    fc.property(forms, fc.constantFrom(...PROTOCOLS), fc.integer({ min: 0, max: 65535 }), (address, protocol, port) => {
      const verdict = of.outbound(protocol, parseAddress("10.0.2.100"), address, port);
      if (verdict.kind !== "dial") return;
      const text = formatEndpoint(verdict.remote);
      t.notRegex(text, /^(127\.|0\.|\[::\]|\[::1\])/);
      t.deepEqual(verdict.remote.slice(8), address);
    }),
    { numRuns: 2000 },
  );
});
