import test from "ava";
import fc from "fast-check";
import {
  type Cidr,
  type HostView,
  type NetworkWishes,
  nameserver,
  networkSettings,
  parseProxyPlace,
  parsePublish,
  parseTarget,
} from "../../src/cli/options.js";
import { NetnsError } from "../../src/errors.js";
import { formatAddress, formatEndpoint } from "../../src/wire/address.js";

/** Each spec as `host:port->port/protocol`. */
function published(text: string): string[] {
  return parsePublish(text).map(
    ({ host, hostPort, insidePort, protocol }) =>
      `${host === null ? "*" : formatAddress(host)}:${hostPort}->${insidePort}/${protocol}`,
  );
}

for (const [text, expected] of [
  ["6000:8080", ["*:6000->8080/tcp"]],
  ["6000:8080/tcp", ["*:6000->8080/tcp"]],
  ["53:5353/udp", ["*:53->5353/udp"]],
  ["0:8080", ["*:0->8080/tcp"]],
  ["127.0.0.1:6000:8080", ["127.0.0.1:6000->8080/tcp"]],
  ["0.0.0.0:6000:8080", ["0.0.0.0:6000->8080/tcp"]],
  ["[::1]:6000:8080/udp", ["::1:6000->8080/udp"]],
  ["[::]:6000:8080", [":::6000->8080/tcp"]],
  ["65535:65535", ["*:65535->65535/tcp"]],
  ["8000-8002:9000-9002/udp", ["*:8000->9000/udp", "*:8001->9001/udp", "*:8002->9002/udp"]],
] as const) {
  test(`--publish ${text}`, (t) => {
    t.deepEqual(published(text), [...expected]);
  });
}

const WISHES = {
  publish: (text: string) => ({ publish: [text] }),
  "host-ip": (hostIp: string) => ({ hostIp }),
  cidr: (cidr: string) => ({ cidr }),
  cidr6: (cidr6: string) => ({ cidr6 }),
  mtu: (mtu: string) => ({ mtu }),
  ifname: (ifname: string) => ({ ifname }),
  mac: (mac: string) => ({ mac }),
  dns: (dns: string) => ({ dns: [dns] }),
  "dns-search": (domains: string) => ({ dnsSearch: domains.split(" ") }),
  hostname: (hostname: string) => ({ hostname }),
  "allow-host-loopback": (allowHostLoopback: string) => ({ allowHostLoopback }),
  "outbound-addr": (outboundAddr: string) => ({ outboundAddr }),
  "outbound-addr6": (outboundAddr6: string) => ({ outboundAddr6 }),
  congestion: (congestion: string) => ({ congestion }),
  shards: (shards: string) => ({ shards }),
};

const HOST: HostView = {
  interfaces: () => ({
    lo: [interfaceAddress("127.0.0.1", "IPv4")],
    eth0: [
      interfaceAddress("fe80::9", "IPv6"),
      interfaceAddress("2001:db8::9", "IPv6"),
      interfaceAddress("192.0.2.9", "IPv4"),
    ],
    eth1: [interfaceAddress("fe80::b", "IPv6"), interfaceAddress("192.0.2.11", "IPv4")],
    wg0: [interfaceAddress("2001:db8::a", "IPv6")],
  }),
  hasIPv6: () => true,
};
const IPV4_HOST: HostView = { ...HOST, hasIPv6: () => false };

function interfaceAddress(address: string, family: "IPv4" | "IPv6") {
  const common = { address, netmask: "", mac: "00:00:00:00:00:00", internal: false, cidr: null };
  return family === "IPv4" ? { ...common, family } : { ...common, family, scopeid: 0 };
}

for (const [option, text, reason] of [
  ["shards", "0", /expected 1 to 16/],
  ["shards", "17", /expected 1 to 16/],
  ["shards", "two", /expected 1 to 16/],
  ["publish", "", /not of this form/],
  ["publish", "8080", /not of this form/],
  ["publish", "a:b", /host port a is not/],
  ["publish", ":8080", /host port is missing/],
  ["publish", "6000:", /port inside is missing/],
  ["publish", "6000:0", /port inside 0 is not 1 to 65535/],
  ["publish", "65536:80", /host port 65536 is not 0 to 65535/],
  ["publish", "6000:8080/sctp", /tcp or udp, not sctp/],
  ["publish", "6000:8080/", /tcp or udp, not nothing/],
  ["publish", "localhost:6000:8080", /localhost is not an IP address/],
  ["publish", "300.0.0.1:6000:8080", /300.0.0.1 is not an IP address/],
  ["publish", "::1:6000:8080", /not of this form/],
  ["publish", "[fe80::1]:6000:8080", /link-local/],
  ["publish", "[::1:6000:8080", /not of this form/],
  ["publish", "8000-8010:8000-8009", /not of the same length/],
  ["publish", "8010-8000:8010-8000", /host port 8010-8000 is not/],
  ["publish", "0-3:8000-8003", /cannot begin at port 0/],
  ["publish", "-1:80", /host port -1 is not/],
  ["publish", "80:80:80:80", /not of this form/],
  ["publish", " 80:80", /host port {2}80 is not/],
  ["publish", "auto/udp", /auto is for TCP only/],
  ["publish", "auto/sctp", /auto is for TCP only/],
  ["publish", "localhost:auto", /localhost is not an IP address/],
  ["publish", ":auto", /nothing is not an IP address/],
  ["publish", "[fe80::1]:auto", /link-local/],
  ["publish", "auto:8080", /host port auto is not/],
  ["publish", "autos", /not of this form/],
  ["host-ip", "", /not an IP address/],
  ["host-ip", "127.0.2", /not an IP address/],
  ["host-ip", "red", /not an IP address/],
  ["host-ip", "127.0.0.1", /every program of this host.*--publish 127\.0\.0\.1:auto/],
  ["host-ip", "::1", /every program of this host.*--publish auto/],
  ["host-ip", "0.0.0.0", /every program of this host.*--publish auto/],
  ["host-ip", "::", /every program of this host/],
  ["host-ip", "127.0.0.0", /no host can have/],
  ["host-ip", "127.255.255.255", /no host can have/],
  ["host-ip", "10.9.8.7", /this host does not have that address; expected .*127\.0\.2\.10/],
  ["host-ip", "fe80::1", /link-local/],
  ["cidr", "10.0.2.0", /not ADDRESS\/PREFIX/],
  ["cidr", "10.0.2.0/26", /prefix 26 is out of range/],
  ["cidr", "10.0.0.0/7", /prefix 7 is out of range/],
  ["cidr", "10.0.2.5/24", /first address, which is 10.0.2.0/],
  ["cidr", "127.0.0.0/8", /no host can have/],
  ["cidr", "224.0.0.0/24", /no host can have/],
  ["cidr", "fd00::/24", /IPv6/],
  ["cidr", "ten/24", /ten is not an IP address/],
  ["cidr", "10.0.2.0/24/1", /not ADDRESS\/PREFIX/],
  ["cidr6", "fd00::", /not ADDRESS\/PREFIX/],
  ["cidr6", "fd00::/63", /prefix is 63; expected .* prefix of 64/],
  ["cidr6", "fd00::1/64", /first address, which is fd00::/],
  ["cidr6", "10.0.2.0/64", /IPv4 subnet is chosen by --cidr/],
  ["cidr6", "fe80::/64", /no host can have these addresses; choose one of fc00::\/7 or 2000::\/3/],
  ["cidr6", "ff00::/64", /no host can have/],
  ["cidr6", "::/64", /no host can have/],
  ["cidr6", "64:ff9b::/64", /no host can have/],
  ["cidr6", "six/64", /six is not an IP address/],
  ["mtu", "575", /576 to 65521/],
  ["mtu", "65522", /576 to 65521/],
  ["mtu", "1500.5", /576 to 65521/],
  ["mtu", "0x600", /576 to 65521/],
  ["mtu", "", /576 to 65521/],
  ["ifname", "", /1 to 15/],
  ["ifname", "sixteen-letters-", /1 to 15/],
  ["ifname", "a b", /1 to 15/],
  ["ifname", "a/b", /1 to 15/],
  ["ifname", "tap%d", /1 to 15/],
  ["ifname", "..", /1 to 15/],
  ["ifname", "lo", /loopback/],
  ["mac", "52:54:00:12:34", /not six bytes/],
  ["mac", "53:54:00:12:34:56", /multicast/],
  ["mac", "00:00:00:00:00:00", /zero/],
  ["mac", "52-54-00-12-34-56", /not six bytes/],
  ["dns", "resolver.example", /resolver's IP address/],
  ["dns", "192.0.2.53:0", /resolver's IP address/],
  ["dns", "192.0.2.53:65536", /resolver's IP address/],
  ["dns-search", "-a", /expected a domain/],
  ["dns-search", "a..b", /expected a domain/],
  ["dns-search", "a".repeat(64), /expected a domain/],
  ["dns-search", `${"a".repeat(60)},corp`, /expected a domain/],
  ["dns-search", ". corp.example", /expected a domain/],
  ["dns-search", "a b c d e f g", /at most 6/],
  ["dns-search", `${"a".repeat(63)}.${"b".repeat(63)} `.repeat(3).trim(), /256 characters/],
  ["hostname", "-a", /letters, digits/],
  ["hostname", "a_b", /letters, digits/],
  ["hostname", "a..b", /letters, digits/],
  ["hostname", "a".repeat(65), /at most 64/],
  ["allow-host-loopback", "", /nothing is not a port/],
  ["allow-host-loopback", "80,", /nothing is not a port/],
  ["allow-host-loopback", "0", /0 is not a port/],
  ["allow-host-loopback", "http", /http is not a port/],
  ["outbound-addr", "198.51.100.1", /does not have that address; expected one of 127.0.0.1/],
  ["outbound-addr", "eth9", /neither an IP address nor an interface .*lo, eth0, eth1, wg0/],
  ["outbound-addr", "fe80::9", /link-local/],
  ["outbound-addr6", "192.0.2.9", /not an IPv6 address/],
  ["outbound-addr6", "eth1", /no interface of this host that has one/],
  ["outbound-addr6", "2001:db8::8", /does not have that address/],
  ["congestion", "Cubic!", /name of a congestion control/],
] as const) {
  test(`--${option} "${text}" is refused in one line`, (t) => {
    const error = t.throws(() => networkSettings(WISHES[option](text), HOST), { instanceOf: NetnsError });
    t.is(error.exitCode, 2);
    t.regex(error.message, reason);
    t.notRegex(error.message, /\n/);
    t.true(error.message.startsWith(`--${option}`));
  });
}

test("a host port published twice is refused, the same number for tcp and udp is not", (t) => {
  t.throws(() => networkSettings({ publish: ["80:80", "80:81"] }), { message: /80\/tcp is published twice/ });
  t.throws(() => networkSettings({ publish: ["80-90:80-90", "0.0.0.0:85:1"] }), {
    message: /85\/tcp is published twice/,
  });
  t.throws(() => networkSettings({ publish: ["80:80", "[::]:80:1"] }), { message: /80\/tcp is published twice/ });
  t.is(networkSettings({ publish: ["0.0.0.0:80:80", "[::]:80:81"] }).publish.length, 2);
  t.is(networkSettings({ publish: ["80:80", "80:80/udp", "127.0.0.1:80:80", "0:80", "0:80"] }).publish.length, 5);
});

function subnet(cidr: Cidr | null): string {
  if (cidr === null) return "none";
  const { network, prefix, gateway, dns, sandbox } = cidr;
  return `${formatAddress(network)}/${prefix} ${[gateway, dns, sandbox].map((each) => formatAddress(each)).join(" ")}`;
}

test("without any wish: what slirp4netns has", (t) => {
  const settings = networkSettings({}, HOST);
  t.is(subnet(settings.v4), "10.0.2.0/24 10.0.2.2 10.0.2.3 10.0.2.100");
  t.is(subnet(settings.v6), "fd00::/64 fd00::2 fd00::3 fd00::100");
  t.is(formatAddress(nameserver(settings)), "10.0.2.3");
  t.deepEqual(settings.warnings, []);
  t.is(settings.mtu, 1500);
  t.is(settings.ifname, "tap0");
  t.is(settings.hostLoopback, "closed");
  t.true(settings.serveDns);
  t.is(settings.upstreams, null);
  t.deepEqual(settings.publish, []);
});

test("another subnet moves all addresses", (t) => {
  const { v4, v6 } = networkSettings({ cidr: "192.168.7.128/25", cidr6: "2001:DB8:1:2::/64" }, HOST);
  t.is(subnet(v4), "192.168.7.128/25 192.168.7.130 192.168.7.131 192.168.7.228");
  t.is(subnet(v6), "2001:db8:1:2::/64 2001:db8:1:2::2 2001:db8:1:2::3 2001:db8:1:2::100");
});

test("the families: IPv6 where the host has it, one of them, or both whatever the host has", (t) => {
  const families = (wishes: NetworkWishes, host: HostView) => {
    const { v4, v6, warnings } = networkSettings(wishes, host);
    return `${v4 === null ? "" : "4"}${v6 === null ? "" : "6"}${warnings.length > 0 ? " warned" : ""}`;
  };
  t.is(families({}, HOST), "46");
  t.is(families({}, IPV4_HOST), "4");
  t.is(families({ ipv4Only: true }, HOST), "4");
  t.is(families({ ipv6Only: true }, HOST), "6");
  t.is(families({ ipv6Only: true }, IPV4_HOST), "6 warned");
  t.is(families({ ipv4Only: true, ipv6Only: true }, HOST), "46");
  t.is(families({ ipv4Only: true, ipv6Only: true }, IPV4_HOST), "46");
  t.is(formatAddress(nameserver(networkSettings({ ipv6Only: true }, HOST))), "fd00::3");
});

test("IPv6 needs an MTU of 1280", (t) => {
  t.is(subnet(networkSettings({ mtu: 1279 }, HOST).v6), "none");
  t.not(subnet(networkSettings({ mtu: 1280 }, HOST).v6), "none");
  t.throws(() => networkSettings({ mtu: 1279, ipv6Only: true }, HOST), { message: /--mtu 1279: IPv6 needs 1280/ });
});

test("the host's loopback: all, some, none", (t) => {
  t.is(networkSettings({ allowHostLoopback: true }).hostLoopback, "open");
  t.is(networkSettings({ allowHostLoopback: "all" }).hostLoopback, "open");
  t.is(networkSettings({ allowHostLoopback: false }).hostLoopback, "closed");
  t.deepEqual(networkSettings({ allowHostLoopback: "5432,8000-8010" }).hostLoopback, [
    { from: 5432, to: 5432 },
    { from: 8000, to: 8010 },
  ]);
});

test("resolvers, with and without a port", (t) => {
  const { upstreams } = networkSettings({
    dns: ["192.0.2.53", "192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"],
  });
  t.deepEqual(
    upstreams?.map((each) => formatEndpoint(each)),
    ["192.0.2.53:53", "192.0.2.53:5353", "[2001:db8::53]:53", "[2001:db8::53]:5353"],
  );
  t.false(networkSettings({ dns: false }).serveDns);
});

test("domains to search: the host's, others, or none", (t) => {
  t.is(networkSettings({}).search, null);
  t.deepEqual(networkSettings({ dnsSearch: ["corp.example.", "_dns.Example"] }).search, [
    "corp.example",
    "_dns.Example",
  ]);
  t.deepEqual(networkSettings({ dnsSearch: ["."] }).search, []);
});

test("outbound addresses: one of the host's, or those of an interface, of each family the first", (t) => {
  const outbound = (outboundAddr?: string, outboundAddr6?: string) => {
    const { outboundAddress, outboundAddress6 } = networkSettings({ outboundAddr, outboundAddr6 }, HOST);
    return [outboundAddress, outboundAddress6].map((each) => (each === null ? null : formatAddress(each)));
  };
  t.deepEqual(outbound(), [null, null]);
  t.deepEqual(outbound("192.0.2.9"), ["192.0.2.9", null]);
  t.deepEqual(outbound("eth0"), ["192.0.2.9", "2001:db8::9"], "not the link-local one");
  t.deepEqual(outbound("eth1"), ["192.0.2.11", null]);
  t.deepEqual(outbound("wg0"), [null, "2001:db8::a"]);
  t.deepEqual(outbound("2001:0db8:0::9"), [null, "2001:db8::9"]);
  t.deepEqual(outbound(undefined, "eth0"), [null, "2001:db8::9"]);
  t.deepEqual(outbound("eth0", "2001:db8::a"), ["192.0.2.9", "2001:db8::a"]);
});

test("congestion control: ours, a named one, the host's", (t) => {
  t.deepEqual(networkSettings({}).congestion, ["cubic", "reno"]);
  t.deepEqual(networkSettings({ congestion: "bbr" }).congestion, ["bbr"]);
  t.deepEqual(networkSettings({ congestion: "host" }).congestion, []);
});

test("attach: a process or a path", (t) => {
  t.deepEqual(parseTarget("1234"), { pid: 1234 });
  t.deepEqual(parseTarget("/run/netns/x"), { path: "/run/netns/x" });
  t.throws(() => parseTarget("x"), { instanceOf: NetnsError, message: /process id, or the path/ });
  t.throws(() => parseTarget("0"), { instanceOf: NetnsError, message: /not a process id/ });
  t.throws(() => parseTarget("99999999999"), { instanceOf: NetnsError, message: /not a process id/ });
});

test("any text: an answer or a NetnsError, never anything else", (t) => {
  const characters = fc.string({ unit: fc.constantFrom(..."0123456789abcdef:.-/[]%tcpudl ,\n"), maxLength: 40 });
  fc.assert(
    fc.property(fc.oneof(characters, fc.string()), fc.constantFrom(...Object.values(WISHES)), (text, wish) => {
      try {
        networkSettings(wish(text), HOST);
      } catch (error) {
        if (!(error instanceof NetnsError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
  t.pass();
});

test("where what is listened on inside is published by itself", (t) => {
  const automatic = (wishes: NetworkWishes) =>
    networkSettings(wishes, HOST).automatic.map((place) => (place === null ? "*" : formatAddress(place)));
  t.deepEqual(automatic({}), []);
  t.deepEqual(automatic({ publish: ["auto"] }), ["*"]);
  t.deepEqual(automatic({ publish: ["auto/tcp", "auto"] }), ["*"]);
  t.deepEqual(automatic({ publish: ["127.0.0.1:auto", "[::1]:auto"] }), ["127.0.0.1", "::1"]);
  t.deepEqual(automatic({ hostIp: "127.0.2.10" }), ["127.0.2.10"]);
  t.deepEqual(automatic({ hostIp: "127.0.2.10", publish: ["127.0.2.10:auto", "auto"] }), ["*", "127.0.2.10"]);
  t.deepEqual(automatic({ hostIp: "192.0.2.9" }), ["192.0.2.9"]);
  const both = networkSettings({ publish: ["auto", "6000:8080"] });
  t.is(both.publish.length, 1);
});

test("where a proxy listens", (t) => {
  const place = (text?: string) => formatEndpoint(parseProxyPlace(text));
  t.is(place(), "127.0.0.1:0");
  t.is(place("1080"), "127.0.0.1:1080");
  t.is(place("127.0.2.1:1080"), "127.0.2.1:1080");
  t.is(place("[::1]:0"), "[::1]:0");
  for (const text of ["", ":1080", "x", "65536", "-1", "localhost:1080", "::1:1080", "1080/tcp", "[fe80::1]:1080"]) {
    const error = t.throws(() => parseProxyPlace(text), { instanceOf: NetnsError });
    t.is(error?.code, "USAGE");
    t.regex(error?.message ?? "", /^network proxy .*; expected \[ADDR:\]PORT, for example 1080/);
  }
});
