import test from "ava";
import { type VxlanWishes, vxlanMtu, vxlanSettings } from "../../src/cli/vxlan.js";
import { NetnsError } from "../../src/errors.js";
import { formatEndpoint } from "../../src/wire/address.js";

const parsed = (wishes: VxlanWishes) => {
  const settings = vxlanSettings(wishes);
  return (
    settings && {
      ...settings,
      remotes: settings.remotes.map((remote) => formatEndpoint(remote)),
      mtu: vxlanMtu(settings),
    }
  );
};

test("a number, a port, and remotes with and without one of their own", (t) => {
  t.is(parsed({}), null);
  t.deepEqual(parsed({ vxlan: "42", remote: ["192.0.2.7"] }), {
    vni: 42,
    port: 4789,
    remotes: ["192.0.2.7:4789"],
    mtu: 1450,
  });
  t.deepEqual(parsed({ vxlan: "0", remote: ["192.0.2.7:1", "192.0.2.8"], vxlanPort: "8472" }), {
    vni: 0,
    port: 8472,
    remotes: ["192.0.2.7:1", "192.0.2.8:8472"],
    mtu: 1450,
  });
  t.deepEqual(parsed({ vxlan: "16777215", remote: ["2001:db8::7", "[2001:db8::8]", "[2001:db8::9]:5", "127.0.0.1"] }), {
    vni: 16_777_215,
    port: 4789,
    remotes: ["[2001:db8::7]:4789", "[2001:db8::8]:4789", "[2001:db8::9]:5", "127.0.0.1:4789"],
    mtu: 1430,
  });
});

const wrong: [wishes: VxlanWishes, message: RegExp][] = [
  [{ remote: ["192.0.2.7"] }, /^--remote: belongs to --vxlan VNI/],
  [{ vxlanPort: "1" }, /^--vxlan-port: belongs to --vxlan VNI/],
  [{ vxlan: "42" }, /^--vxlan: no --remote;/],
  ...["", "x", "-1", "1.5", "16777216"].map((vxlan): [VxlanWishes, RegExp] => [
    { vxlan, remote: ["192.0.2.7"] },
    /^--vxlan .*: expected the number of the network, 0 to 16777215/,
  ]),
  ...["0", "65536", "x", ""].map((vxlanPort): [VxlanWishes, RegExp] => [
    { vxlan: "1", remote: ["192.0.2.7"], vxlanPort },
    /^--vxlan-port .*: expected a UDP port, 1 to 65535/,
  ]),
  ...[
    "",
    "example.net",
    "192.0.2.7:0",
    "192.0.2.7:65536",
    "192.0.2.7:",
    "239.1.1.1",
    "255.255.255.255",
    "0.0.0.0",
    "ff02::1",
    "[::1",
  ].map((remote): [VxlanWishes, RegExp] => [
    { vxlan: "1", remote: [remote] },
    /^--remote .*: expected the IP address of another machine/,
  ]),
  [{ vxlan: "1", remote: ["192.0.2.7", "192.0.2.8", "192.0.2.7:1"] }, /^--remote 192\.0\.2\.7:1: is there twice/],
  [
    { vxlan: "1", remote: Array.from({ length: 65 }, (_, i) => `192.0.2.${i + 1}`) },
    /^--remote: 65 are too many; expected at most 64/,
  ],
];
for (const [wishes, message] of wrong) {
  test(`wrong use: ${JSON.stringify(wishes).slice(0, 80)}`, (t) => {
    t.is(t.throws(() => vxlanSettings(wishes), { instanceOf: NetnsError, message })?.code, "USAGE");
  });
}
