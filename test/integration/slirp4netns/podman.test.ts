/** Debian's podman, with our slirp4netns as its network: what somebody sees who gives it one line of configuration and no more. */
import test, { type ExecutionContext } from "ava";
import { Bed, eventually, HOST, IPV6, NEIGHBOUR, WEB } from "../../bed/bed.js";
import { captured } from "../../bed/capture.js";
import { added, nothingLeft, state } from "../../bed/leftovers.js";
import type { Outcome, Program } from "../../bed/program.js";
import { echoServer, nameServer, webServer } from "../../bed/services.js";
import { datagram, Engine, helpers, PATIENCE, ROOTFS, SLIRP4NETNS, stream, VOLUMES } from "./containers.js";

/** podman's own files: in the bed's /tmp, without a storage driver that asks for a kernel feature. */
const PODMAN = [
  "podman",
  `--network-cmd-path=${SLIRP4NETNS}`,
  "--runtime=runc",
  "--cgroup-manager=cgroupfs",
  "--storage-driver=vfs",
  "--root=/tmp/podman/root",
  "--runroot=/tmp/podman/run",
  "--events-backend=none",
];

class Podman {
  readonly bed: Bed;
  readonly #engine: Engine;

  private constructor(bed: Bed, engine: Engine) {
    this.bed = bed;
    this.#engine = engine;
  }

  static async create(t: ExecutionContext): Promise<Podman> {
    const bed = await Bed.create(t);
    return new Podman(bed, await Engine.create(bed));
  }

  command(...args: string[]): Program {
    return this.#engine.start([...PODMAN, ...args]);
  }

  /** Starts a container with these options of `--network slirp4netns`. */
  start(network: string, flags: readonly string[], command: readonly string[]): Program {
    const net = network === "" ? "slirp4netns" : `slirp4netns:${network}`;
    return this.command(
      "run",
      "--rm",
      `--network=${net}`,
      ...VOLUMES,
      ...flags,
      "--rootfs",
      ROOTFS,
      ...captured(command),
    );
  }

  /** Runs a script in a container to its end, and gives its output. */
  script(network: string, script: string, flags: readonly string[] = []): Promise<string> {
    return this.start(network, flags, ["sh", "-ec", script]).succeed(PATIENCE);
  }

  attempt(network: string, script: string, flags: readonly string[] = []): Promise<Outcome> {
    return this.start(network, flags, ["sh", "-ec", script]).exit(PATIENCE);
  }

  /** Starts the bed's echo on port 80 of a container. */
  async echo(network: string, flags: readonly string[], address = "0.0.0.0"): Promise<Program> {
    const echo = ["python3", "-u", "/programs/echo.py", "80", address];
    const program = this.start(network, flags, echo);
    await program.until(/^ready$/m, PATIENCE);
    return program;
  }
}

test.serial("podman: addresses, routes, names, and the outside by TCP and UDP", async (t) => {
  const podman = await Podman.create(t);
  await Promise.all([webServer(podman.bed), nameServer(podman.bed), webServer(podman.bed, "internet", IPV6.web)]);
  const shown = await podman.script(
    "",
    `busybox ip address show tap0; busybox ip route; busybox ip -6 route; cat /etc/resolv.conf
busybox wget -qO- http://www.bed.test/
busybox wget -qO- 'http://[${IPV6.web}]/'
busybox nslookup dual.bed.test 203.0.113.53`,
  );
  t.regex(shown, /^\d+: tap0(@\w+)?: <.*UP.*> mtu 65520 /m);
  t.regex(shown, /^ +inet 10\.0\.2\.100\/24 /m);
  t.regex(shown, /^ +inet6 fd00::100\/64 /m);
  t.regex(shown, /^default via 10\.0\.2\.2 dev tap0/m);
  t.regex(shown, /^default via fd00::2 dev tap0/m);
  t.regex(shown, /^nameserver 10\.0\.2\.3$/m);
  t.regex(shown, new RegExp(`^hello ${HOST}$`, "m"), "by name");
  t.regex(shown, new RegExp(`^hello ${IPV6.host}$`, "m"));
  t.regex(shown, /^Server:\s+203\.0\.113\.53\n.*^Address: 203\.0\.113\.10$.*^Address: 2001:db8:113::10$/ms);
});

test.serial(
  "podman: mtu, cidr and enable_ipv6 show inside, and ports lead to the address of that network",
  async (t) => {
    const podman = await Podman.create(t);
    await Promise.all([webServer(podman.bed), nameServer(podman.bed)]);
    const options = "mtu=1400,cidr=10.9.8.0/24,enable_ipv6=false,port_handler=slirp4netns";
    const shown = await podman.script(
      options,
      "busybox ip address show tap0; busybox ip route; cat /etc/resolv.conf; busybox wget -qO- http://www.bed.test/",
    );
    t.regex(shown, / mtu 1400 /);
    t.regex(shown, /^ +inet 10\.9\.8\.100\/24 /m);
    t.notRegex(shown, /fd00:/);
    t.regex(shown, /^default via 10\.9\.8\.2 dev tap0/m);
    t.regex(shown, /^nameserver 10\.9\.8\.3$/m);
    t.regex(shown, new RegExp(`^hello ${HOST}$`, "m"));
    const echo = await podman.echo(options, ["-p", "8080:80"]);
    t.is(await stream(podman.bed, "internet", HOST, 8080, "from afar"), "from afar");
    await echo.until(new RegExp(`^tcp ${NEIGHBOUR} \\d+$`, "m"));
  },
);

test.serial("podman: port_handler=slirp4netns publishes TCP and UDP, and keeps the client's address", async (t) => {
  const podman = await Podman.create(t);
  const { bed } = podman;
  const echo = await podman.echo("port_handler=slirp4netns", ["-p", "8080:80", "-p", "8053:80/udp"]);
  const running = await helpers(bed);
  t.is(running.length, 1, "it was ours that ran");
  t.regex(running[0] ?? "", /^--disable-host-loopback --mtu=65520 --enable-sandbox --enable-seccomp --enable-ipv6 -c /);
  t.is(await stream(bed, "host", "127.0.0.1", 8080, "stream one"), "stream one");
  t.is(await stream(bed, "host", HOST, 8080, "stream two"), "stream two");
  await echo.until(/^tcp 10\.0\.2\.2 \d+$/m);
  t.is(await stream(bed, "internet", HOST, 8080, "stream three"), "stream three");
  await echo.until(new RegExp(`^tcp ${NEIGHBOUR} \\d+$`, "m"));
  t.is(await datagram(bed, "host", "127.0.0.1", 8053, "datagram one"), "datagram one");
  t.is(await datagram(bed, "internet", HOST, 8053, "datagram two"), "datagram two");
  await echo.until(new RegExp(`^udp ${NEIGHBOUR} \\d+ 12$`, "m"));
  // Neither port is open for the other protocol.
  t.not((await bed.internet(["nc", "-z", "-w5", HOST, "8053"]).exit()).code, 0);
  const every = await bed.admin("ss -Hltnu '( sport = :8080 or sport = :8053 )' | awk '{print $1, $5}' | sort");
  t.deepEqual(every.trim().split("\n"), ["tcp 0.0.0.0:8080", "udp 0.0.0.0:8053"]);
});

test.serial("podman: a port published at one address is open there only, and a busy one is refused", async (t) => {
  const podman = await Podman.create(t);
  const { bed } = podman;
  await podman.echo("port_handler=slirp4netns", ["-p", "127.0.0.1:8080:80"]);
  t.is(await stream(bed, "host", "127.0.0.1", 8080, "near"), "near");
  t.not((await bed.internet(["nc", "-z", "-w5", HOST, "8080"]).exit()).code, 0);
  const second = await podman.attempt("port_handler=slirp4netns", "echo started", ["-p", "127.0.0.1:8080:80"]);
  t.not(second.code, 0);
  t.notRegex(second.stdout, /started/);
  t.regex(second.stderr, /add_hostfwd/);
});

test.serial("podman: its own port handler works beside ours", async (t) => {
  const podman = await Podman.create(t);
  await podman.echo("", ["-p", "8080:80", "-p", "8053:80/udp"]);
  t.is(await stream(podman.bed, "host", "127.0.0.1", 8080, "near"), "near");
  t.is(await stream(podman.bed, "internet", HOST, 8080, "from afar"), "from afar");
  t.is(await datagram(podman.bed, "internet", HOST, 8053, "datagram"), "datagram");
});

test.serial("podman: the host's loopback is closed, and open with allow_host_loopback", async (t) => {
  const podman = await Podman.create(t);
  await webServer(podman.bed, "host", "127.0.0.1", 8080);
  const get = "busybox wget -qO- http://10.0.2.2:8080/";
  const closed = await podman.attempt("", `echo up; ${get}`);
  t.not(closed.code, 0);
  t.is(closed.stdout, "up\n");
  t.regex(closed.stderr, /can't connect to remote host/);
  t.is(await podman.script("allow_host_loopback=true", get), "hello 127.0.0.1\n");
});

test.serial("podman: outbound_addr is who a server sees", async (t) => {
  const podman = await Podman.create(t);
  await webServer(podman.bed);
  await podman.bed.admin("ip address add 198.51.100.77/24 dev eth0");
  const get = `busybox wget -qO- http://${WEB}/`;
  t.is(await podman.script("outbound_addr=198.51.100.77", get), "hello 198.51.100.77\n");
});

test.serial("podman: datagrams of any size go out and come back", async (t) => {
  const podman = await Podman.create(t);
  const echo = await echoServer(podman.bed, "internet", 5300, "203.0.113.11");
  const send = "for size in 0 1400 60000; do python3 /programs/datagrams.py 5300 $size 203.0.113.11; done";
  t.is(await podman.script("", send), "ok 203.0.113.11\n".repeat(3));
  for (const size of [0, 1400, 60000]) await echo.until(new RegExp(`^udp ${HOST} \\d+ ${size}$`, "m"));
});

for (const [end, how] of [
  ["its command ends", ["kill", "--signal=TERM", "ended"]],
  ["it is stopped", ["stop", "--time=0", "ended"]],
  ["it is removed by force", ["rm", "--force", "--time=0", "ended"]],
] as const) {
  test.serial(`podman: nothing of a container's network is left when ${end}`, async (t) => {
    const podman = await Podman.create(t);
    const { bed } = podman;
    // What podman keeps for all containers of a user is made by the first one.
    await podman.script("port_handler=slirp4netns", "true", ["-p", "8080:80"]);
    const before = await state(bed);
    const flags = ["--name=ended", "--detach", "-p", "8080:80", "-p", "8053:80/udp"];
    // Process 1 is deaf to what it does not listen for.
    const command = ["sh", "-c", "trap 'exit 0' TERM; while :; do busybox sleep 0.1; done"];
    await podman.start("port_handler=slirp4netns", flags, command).succeed(PATIENCE);
    t.is((await helpers(bed)).length, 1);
    const there = await added(bed, before);
    t.is(there.filter((line) => /^listener (tcp|udp) 0\.0\.0\.0:80(80|53)$/.test(line)).length, 2);
    t.is(there.filter((line) => /^file \/tmp\/libpod\/tmp\/\w+\.net$/.test(line)).length, 1, "the API's socket");
    await podman.command(...how).succeed(PATIENCE);
    await nothingLeft(bed, before, 20_000);
  });
}

test.serial("podman: 20 containers at once, each with its port", async (t) => {
  const podman = await Podman.create(t);
  const { bed } = podman;
  const indices = Array.from({ length: 20 }, (_, index) => index);
  const starting = indices.map((index) => {
    const flags = ["--detach", `--name=c${index}`, `--hostname=c${index}`, "-p", `${8000 + index}:80`];
    // podman writes this container's name to /etc/hostname: that is the page.
    const serve = ["busybox", "httpd", "-f", "-p", "80", "-h", "/etc"];
    return podman.start("port_handler=slirp4netns", flags, serve);
  });
  for (const each of starting) await each.succeed(3 * PATIENCE);
  t.is((await helpers(bed)).length, 20);
  // A container that is started may not yet listen.
  const retries = ["--retry", "20", "--retry-delay", "1", "--retry-all-errors", "--retry-max-time", "20"];
  const ask = (index: number) => ["curl", "-sS", ...retries, "-m", "20", `http://${HOST}:${8000 + index}/hostname`];
  for (const side of ["host", "internet"] as const) {
    const said = await Promise.all(indices.map((index) => bed.on(side, ask(index)).succeed()));
    t.deepEqual(
      said.map((name) => name.trim()),
      indices.map((index) => `c${index}`),
    );
  }
  await podman.command("rm", "--force", "--all", "--time=0").succeed(3 * PATIENCE);
  await eventually(20_000, "some are left", async () => (await helpers(bed)).length === 0);
});
