/**
 * Debian's RootlessKit, which rootless Docker and k3s start their daemons with, and our slirp4netns as its network, with either of
 * the port drivers that go with it: slirp4netns's API, and its own.
 *
 * RootlessKit insists on a range of subordinate ids and on newuidmap, a setuid program that could do nothing in the bed. So the
 * bed's host gets a range, and in newuidmap's place a script that maps what an ordinary user may: itself.
 */
import test, { type ExecutionContext } from "ava";
import { Bed, HOST, IPV6, NEIGHBOUR, PROGRAMS } from "../../bed/bed.js";
import { captured } from "../../bed/capture.js";
import { nothingLeft, state } from "../../bed/leftovers.js";
import type { Program } from "../../bed/program.js";
import { nameServer, webServer } from "../../bed/services.js";
import { datagram, EXECUTABLES, helpers, PATIENCE, SLIRP4NETNS, stream } from "./containers.js";

const MAPPERS = `
mkdir ${EXECUTABLES} && cd ${EXECUTABLES}
printf '#!/bin/sh\\necho "$2 $3 $4" >/proc/$1/uid_map\\n' >newuidmap
printf '#!/bin/sh\\necho deny >/proc/$1/setgroups\\necho "$2 $3 $4" >/proc/$1/gid_map\\n' >newgidmap
chmod +x newuidmap newgidmap`;

const ECHO = `python3 -u ${PROGRAMS}/echo.py 80 0.0.0.0`;

class RootlessKit {
  readonly bed: Bed;

  private constructor(bed: Bed) {
    this.bed = bed;
  }

  static async create(t: ExecutionContext): Promise<RootlessKit> {
    const bed = await Bed.create(t);
    const range = `echo "${process.getuid?.()}:100000:65536" >`;
    await bed.admin(`rm -f /etc/subuid /etc/subgid; ${range}/etc/subuid; ${range}/etc/subgid`);
    await bed.host(["bash", "-ec", MAPPERS], { input: "" }).succeed();
    return new RootlessKit(bed);
  }

  /** Starts a script in RootlessKit's namespaces. */
  start(flags: readonly string[], script: string): Program {
    const always = [
      "--net=slirp4netns",
      `--slirp4netns-binary=${SLIRP4NETNS}`,
      "--subid-source=static",
      "--copy-up=/etc",
    ];
    const env = { PATH: `${EXECUTABLES}:${process.env.PATH}:/usr/sbin:/sbin` };
    return this.bed.host(["rootlesskit", ...always, ...flags, ...captured(["sh", "-ec", script])], { input: "", env });
  }

  script(flags: readonly string[], script: string): Promise<string> {
    return this.start(flags, script).succeed(PATIENCE);
  }
}

for (const driver of ["slirp4netns", "builtin"] as const) {
  const withDriver = ["--disable-host-loopback", `--port-driver=${driver}`];
  const published = ["-p", "0.0.0.0:8080:80/tcp", "-p", "127.0.0.1:8081:80/tcp", "-p", "0.0.0.0:8053:80/udp"];

  test.serial(
    `rootlesskit, port driver ${driver}: ports lead inside by TCP and UDP, and sandbox and seccomp keep nothing away`,
    async (t) => {
      const kit = await RootlessKit.create(t);
      const { bed } = kit;
      await Promise.all([webServer(bed), nameServer(bed)]);
      const flags = [...withDriver, ...published, "--slirp4netns-sandbox=true", "--slirp4netns-seccomp=true"];
      const inside = kit.start(
        flags,
        `ip address show tap0; ip route; cat /etc/resolv.conf
busybox wget -qO- http://www.bed.test/
busybox nslookup dual.bed.test 203.0.113.53
exec ${ECHO}`,
      );
      await inside.until(/^ready$/m, PATIENCE);
      t.regex(inside.stdout, /^\d+: tap0(@\w+)?: <.*UP.*> mtu 65520 /m);
      t.regex(inside.stdout, /^ +inet 10\.0\.2\.100\/24 /m);
      t.regex(inside.stdout, /^default via 10\.0\.2\.2 dev tap0/m);
      t.regex(inside.stdout, /^nameserver 10\.0\.2\.3$/m);
      t.regex(inside.stdout, new RegExp(`^hello ${HOST}$`, "m"), "by name");
      t.regex(inside.stdout, new RegExp(`^Server:\\s+203\\.0\\.113\\.53\n.*^Address: ${IPV6.web}$`, "ms"));
      const running = await helpers(bed);
      t.is(running.length, 1, "it was ours that ran");
      t.regex(running[0] ?? "", /^--mtu 65520 .*--disable-host-loopback .*--enable-sandbox --enable-seccomp \d+ tap0$/);
      t.is(/--api-socket/.test(running[0] ?? ""), driver === "slirp4netns");

      t.is(await stream(bed, "host", "127.0.0.1", 8080, "stream one"), "stream one");
      t.is(await stream(bed, "host", HOST, 8080, "stream two"), "stream two");
      t.is(await stream(bed, "internet", HOST, 8080, "stream three"), "stream three");
      t.is(await stream(bed, "host", "127.0.0.1", 8081, "stream four"), "stream four");
      t.not((await bed.internet(["nc", "-z", "-w5", HOST, "8081"]).exit()).code, 0);
      t.is(await datagram(bed, "host", "127.0.0.1", 8053, "datagram one"), "datagram one");
      t.is(await datagram(bed, "internet", HOST, 8053, "datagram two"), "datagram two");
      // RootlessKit's own driver connects anew inside; slirp4netns's keeps who the client is.
      if (driver === "slirp4netns") {
        await inside.until(new RegExp(`^tcp ${NEIGHBOUR} \\d+$`, "m"));
        await inside.until(new RegExp(`^udp ${NEIGHBOUR} \\d+ 12$`, "m"));
      }
    },
  );

  test.serial(`rootlesskit, port driver ${driver}: nothing is left at the end, nor when it is killed`, async (t) => {
    const kit = await RootlessKit.create(t);
    const { bed } = kit;
    const before = await state(bed);
    const first = kit.start([...withDriver, ...published], "exit 7");
    t.is((await first.exit(PATIENCE)).code, 7);
    await nothingLeft(bed, before, 20_000);

    const second = kit.start([...withDriver, ...published], `exec ${ECHO}`);
    await second.until(/^ready$/m, PATIENCE);
    t.is((await helpers(bed)).length, 1);
    await bed.kill(await second.pid, "KILL");
    await second.exit(PATIENCE);
    // Its directory stays then: it is RootlessKit's own.
    await bed.host(["bash", "-c", "rm -r /tmp/rootlesskit*"]).succeed();
    await nothingLeft(bed, before, 20_000);
  });
}

test.serial("rootlesskit: ports come and go while it runs", async (t) => {
  const kit = await RootlessKit.create(t);
  const { bed } = kit;
  const inside = kit.start(["--port-driver=slirp4netns"], `echo "state $ROOTLESSKIT_STATE_DIR"; exec ${ECHO}`);
  await inside.until(/^ready$/m, PATIENCE);
  const [, directory = ""] = await inside.until(/^state (\S+)$/m);
  const control = (...args: string[]) => bed.host(["rootlessctl", `--socket=${directory}/api.sock`, ...args]);
  const added = await control("add-ports", "0.0.0.0:8080:80/tcp", "0.0.0.0:8080:80/udp").succeed();
  t.is(added, "1\n2\n");
  t.is(await stream(bed, "internet", HOST, 8080, "stream"), "stream");
  t.is(await datagram(bed, "internet", HOST, 8080, "datagram"), "datagram");
  const busy = await control("add-ports", "0.0.0.0:8080:81/tcp").exit();
  t.not(busy.code, 0);
  await control("remove-ports", "1").succeed();
  t.is(await bed.admin("ss -Hltn 'sport = :8080'"), "");
  t.is(await datagram(bed, "internet", HOST, 8080, "datagram"), "datagram", "the other one stays");
  await control("remove-ports", "2").succeed();
  t.is(await bed.admin("ss -Hltnu 'sport = :8080'"), "");
});

test.serial(
  "rootlesskit: --mtu, --cidr and --ifname show inside, and ports lead to the address of that network",
  async (t) => {
    const kit = await RootlessKit.create(t);
    await Promise.all([webServer(kit.bed), nameServer(kit.bed)]);
    const flags = ["--mtu=1400", "--cidr=10.9.8.0/24", "--ifname=net7"];
    const automatic = ["--slirp4netns-sandbox=auto", "--slirp4netns-seccomp=auto"];
    const ports = ["--port-driver=slirp4netns", "-p", "0.0.0.0:8080:80/tcp"];
    const inside = kit.start(
      [...flags, ...automatic, ...ports],
      `ip address show net7; ip route; cat /etc/resolv.conf; busybox wget -qO- http://www.bed.test/; exec ${ECHO}`,
    );
    await inside.until(/^ready$/m, PATIENCE);
    t.regex(inside.stdout, /^\d+: net7(@\w+)?: <.*UP.*> mtu 1400 /m);
    t.regex(inside.stdout, /^ +inet 10\.9\.8\.100\/24 /m);
    t.regex(inside.stdout, /^default via 10\.9\.8\.2 dev net7/m);
    t.regex(inside.stdout, /^nameserver 10\.9\.8\.3$/m);
    t.regex(inside.stdout, new RegExp(`^hello ${HOST}$`, "m"));
    t.is(await stream(kit.bed, "internet", HOST, 8080, "from afar"), "from afar");
  },
);

test.serial("rootlesskit: the host's loopback is open, and closed by --disable-host-loopback", async (t) => {
  const kit = await RootlessKit.create(t);
  await webServer(kit.bed, "host", "127.0.0.1", 8080);
  const get = "busybox wget -qO- http://10.0.2.2:8080/";
  t.is(await kit.script([], get), "hello 127.0.0.1\n");
  const closed = await kit.start(["--disable-host-loopback"], get).exit(PATIENCE);
  t.not(closed.code, 0);
  t.regex(closed.stderr, /can't connect to remote host/);
});

test.serial("rootlesskit: --ipv6 leads to the IPv6 outside", async (t) => {
  const kit = await RootlessKit.create(t);
  await webServer(kit.bed, "internet", IPV6.web);
  // RootlessKit leaves the address to what the router says: that takes the kernel a moment.
  const script = `n=0; until ip -6 route | grep -q ^default && ip -6 address show tap0 | grep -v tentative | grep -q fd00:; do
  n=$((n + 1)); [ $n -lt 300 ]; sleep 0.1; done
busybox wget -qO- 'http://[${IPV6.web}]/'`;
  t.is(await kit.script(["--ipv6"], script), `hello ${IPV6.host}\n`);
});
