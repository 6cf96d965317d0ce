/** VXLAN with the kernel's own vxlan device at the other end, and with another network of ours. */
import test from "ava";
import { Bed, HOST, IPV6, NEIGHBOUR, PROGRAMS, ROOT, type Side } from "../bed/bed.js";
import { webServer } from "../bed/services.js";

const MEMBER = "10.0.2.100";
const FAR = "10.0.2.200";
const MB_100 = 100_000_000;

/** Starts a network with one member on the host. */
const member = (
  bed: Bed,
  side: Side,
  vni: number,
  port: number,
  remotes: string,
  name: string,
  address: string,
  script: string,
) =>
  bed.on(side, [
    process.execPath,
    `${ROOT}/dist/test/bed/vxlan-network.js`,
    String(vni),
    String(port),
    remotes,
    name,
    address,
    "bash",
    "-c",
    script,
  ]);

/** A vxlan device of the kernel on the other machine. */
const device = (bed: Bed, vni: number, mtu: number, remote: string) =>
  bed.admin(`nsenter -t $internet -n bash -ec '
    ip link add far type vxlan id ${vni} remote ${remote} dstport 4789
    ip link set far mtu ${mtu} up
    ip address add ${FAR}/24 dev far
    ip address add fd00::200/64 dev far nodad'`);

const counters = (stderr: string): Record<string, number> => JSON.parse(stderr.trim().split("\n").at(-1) ?? "");

for (const [family, ours, theirs, mtu] of [
  [4, HOST, NEIGHBOUR, 1450],
  [6, IPV6.host, `[${IPV6.neighbour}]`, 1430],
] as const) {
  test.serial(`a kernel's vxlan device over IPv${family}: ping, ARP, names, and 100 MB each way`, async (t) => {
    const bed = await Bed.create(t);
    await device(bed, 42, mtu, ours);
    await webServer(bed, "internet", FAR);
    await webServer(bed, "internet", "fd00::200", 81);
    const red = member(
      bed,
      "host",
      42,
      4789,
      `${theirs}:4789`,
      "red",
      MEMBER,
      `
      set -e
      ping -q -c 2 -W 5 ${FAR}; ping -q -c 1 -W 5 -M do -s ${mtu - 28} ${FAR}; ping -q -c 1 -W 5 -s 5000 ${FAR}; ping -q -c 1 -W 5 fd00::200
      curl -sS -o /tmp/bytes http://${FAR}/bytes/${MB_100}
      sha256sum </tmp/bytes; curl -sS -T /tmp/bytes http://${FAR}/
      curl -sS -g -o /tmp/few "http://[fd00::200]:81/bytes/3000000"
      sha256sum </tmp/few; curl -sS -g -T /tmp/few "http://[fd00::200]:81/"
      echo up; read`,
    );
    await red.until(/^up$/m, 120_000);
    t.is(red.stdout.match(/ 0% packet loss/g)?.length, 4, red.stdout);
    const sums = red.stdout.match(/^[0-9a-f]{64}/gm) ?? [];
    t.is(sums.length, 4, red.stdout);
    t.is(sums[0], sums[1]);
    t.is(sums[2], sums[3]);
    // From there: neighbours, ping, and the names that the network answers.
    const there = (...command: string[]) => bed.internet(command).succeed();
    t.regex(await there("ping", "-c", "2", "-W", "5", "-M", "do", "-s", String(mtu - 28), MEMBER), / 0% packet loss/);
    t.regex(await there("ping", "-c", "1", "-W", "5", "fd00::100"), / 0% packet loss/);
    t.regex(await bed.admin("nsenter -t $internet -n ip neighbour show dev far"), new RegExp(`${MEMBER} lladdr`));
    t.is(await there("dig", "+tries=1", "+short", "@10.0.2.3", "red.lab.internal"), `${MEMBER}\n`);
    t.regex(await there("ping", "-c", "1", "-W", "5", "10.0.2.2"), / 0% packet loss/);
    red.end("\n");
    const { code, stderr } = await red.exit();
    t.is(code, 0);
    const all = counters(stderr);
    t.deepEqual(
      Object.keys(all).filter((name) => name.startsWith("vxlan.")),
      [],
      "nothing was dropped",
    );
    t.is(all["switch.spoofed_mac"] ?? 0, 0);
  });
}

test.serial(
  "unknown networks and remotes are dropped and counted; a remote that is not there does no harm",
  async (t) => {
    const bed = await Bed.create(t);
    await device(bed, 42, 1450, HOST);
    await bed.admin(`nsenter -t $internet -n bash -ec '
    ip link add other type vxlan id 43 remote ${HOST} dstport 4789
    ip address add 10.0.3.1/24 dev other
    ip link set other up'`);
    const red = member(
      bed,
      "host",
      42,
      4789,
      `${NEIGHBOUR}:4789,192.0.2.200:4789`,
      "red",
      MEMBER,
      "ping -q -c 2 -W 5 10.0.2.200; echo up; read",
    );
    await red.until(/^up$/m, 20_000);
    t.regex(red.stdout, / 0% packet loss/);
    await bed.internet(["ping", "-c", "1", "-W", "1", "10.0.3.2"]).exit(); // asks for it, in network 43
    await bed
      .internet([
        "python3",
        "-c",
        `
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.7", 4789 + 1))
for size in (0, 7, 50): s.sendto(bytes(size), ("${HOST}", 4789))
`,
      ])
      .succeed();
    t.regex(await bed.internet(["ping", "-c", "1", "-W", "5", MEMBER]).succeed(), / 0% packet loss/);
    red.end("\n");
    const all = counters((await red.exit()).stderr);
    t.true(all["vxlan.unknown_vni"] >= 1);
    t.is(all["vxlan.unknown_remote"], 3);
    t.true(all["vxlan.send_failed"] >= 1, "nobody answers for 192.0.2.200");
  },
);

test.serial(
  "two networks of ours on two machines: members find each other, exchange bytes, and nothing goes round",
  async (t) => {
    const bed = await Bed.create(t);
    const script = (own: string, other: string, names: string) => `
    python3 -u ${PROGRAMS}/web.py ${own} 80 &
    for i in 1 2 3 4 5 6 7 8 9 10; do ping -q -c 1 -W 1 ${other} && break; done
    curl -sS --retry 5 --retry-connrefused -o /tmp/${names} http://${other}/bytes/20000000
    sha256sum </tmp/${names}; curl -sS -T /tmp/${names} http://${other}/
    echo up; read; kill %1`;
    const red = member(bed, "host", 7, 4789, `${NEIGHBOUR}:4789`, "red", MEMBER, script(MEMBER, "10.0.2.150", "a"));
    const blue = member(
      bed,
      "internet",
      7,
      4789,
      `${HOST}:4789`,
      "blue",
      "10.0.2.150",
      script("10.0.2.150", MEMBER, "b"),
    );
    for (const one of [red, blue]) {
      await one.until(/^up$/m, 60_000);
      t.regex(one.stdout, / 0% packet loss/);
      const sums = one.stdout.match(/^[0-9a-f]{64}/gm) ?? [];
      t.deepEqual([sums.length, sums[0]], [2, sums[1]], one.stdout);
    }
    for (const one of [red, blue]) one.end("\n");
    for (const one of [red, blue]) {
      const { code, stderr } = await one.exit();
      t.is(code, 0);
      const all = counters(stderr);
      t.true(all["datagrams.sent"] < 200_000, "a storm would be millions");
      t.deepEqual(
        Object.keys(all).filter((name) => /^vxlan\.(?!send_failed)/.test(name)),
        [],
      );
    }
  },
);

test.serial(
  "network create --vxlan: members of a named network and hosts elsewhere reach each other; inspect tells of it",
  async (t) => {
    const bed = await Bed.create(t);
    await device(bed, 42, 1450, HOST);
    await bed.netns(["network", "create", "far", "--vxlan", "42", "--remote", NEIGHBOUR]).succeed();
    await bed.netns(["create", "red", "--network", "far"]).succeed();
    const exec = (script: string) => bed.netns(["exec", "red", "--", "bash", "-c", script]).succeed();
    t.regex(await exec(`ping -q -c 1 -W 5 ${FAR}`), / 0% packet loss/);
    t.regex(await exec("ip link show tap0"), / mtu 1450 /);
    t.regex(await bed.internet(["ping", "-c", "1", "-W", "5", MEMBER]).succeed(), / 0% packet loss/);
    t.is(await bed.internet(["dig", "+tries=1", "+short", "@10.0.2.3", "red.far.internal"]).succeed(), `${MEMBER}\n`);
    const told = JSON.parse(await bed.netns(["network", "inspect", "far"]).succeed());
    t.deepEqual(told.vxlan, { vni: 42, port: 4789, remotes: [`${NEIGHBOUR}:4789`] });
    const busy = await bed.netns(["network", "create", "again", "--vxlan", "43", "--remote", NEIGHBOUR]).exit();
    t.is(busy.code, 125);
    t.regex(busy.stderr, /^netns-rootless: VXLAN cannot have UDP port 4789 .*--vxlan-port\n$/);
    t.regex(await bed.netns(["network", "ls"]).succeed(), /^NAME .*\nfar .*\n$/);
    await bed.netns(["network", "rm", "--force", "far"]).succeed();
    await bed.netns(["network", "create", "again", "--vxlan", "43", "--remote", NEIGHBOUR]).succeed();
    await bed.netns(["network", "rm", "again"]).succeed();
  },
);
