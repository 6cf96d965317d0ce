/** slirp4netns's options, each seen from inside: the same assertions for Debian's program and for ours in its place. */
import { WEB } from "../../bed/bed.js";
import { nameServer, webServer } from "../../bed/services.js";
import { forBoth, Namespace, OURS, refused, Serving } from "./rig.js";

const ADDRESSES = "ip -br address show tap0; ip route";

forBoth("-c configures lo, the interface, its address and the default route", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", namespace.pid, "tap0"]);
  const shown = await namespace.run(`${ADDRESSES}; ip -br link show lo; ip link show tap0`);
  t.regex(shown, /^tap0 +\S+ +10\.0\.2\.100\/24/m);
  t.regex(shown, /^default via 10\.0\.2\.2 dev tap0/m);
  t.regex(shown, /^lo .*LOOPBACK,UP/m);
  t.regex(shown, /mtu 1500/);
});

forBoth("without -c there is an interface, down and without address", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, [namespace.pid, "tap7"]);
  const shown = await namespace.run("ip -o link show tap7; ip -o address show tap7; ip route");
  t.regex(shown, /^\d+: tap7: <BROADCAST,MULTICAST> /);
  t.is(shown.trim().split("\n").length, 1);
});

forBoth("the outside is reached, names are resolved, and who is outside sees the host", async (t, slirp, bed) => {
  await webServer(bed);
  await nameServer(bed);
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", namespace.pid, "tap0"]);
  t.is(await namespace.run(`curl -sS -m 10 http://${WEB}/`), "hello 198.51.100.2\n");
  t.is(await namespace.run("dig +short +time=5 @10.0.2.3 www.bed.test"), `${WEB}\n`);
  t.is(await namespace.run("dig +short +time=5 +tcp @10.0.2.3 www.bed.test"), `${WEB}\n`);
});

forBoth("--disable-dns: nobody answers at the DNS address", async (t, slirp, bed) => {
  await nameServer(bed);
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "--disable-dns", namespace.pid, "tap0"]);
  const { code } = await namespace.start(["dig", "+time=1", "+tries=1", "@10.0.2.3", "www.bed.test"]).exit();
  t.not(code, 0);
});

forBoth("the host's loopback is open at the gateway, and closed by --disable-host-loopback", async (t, slirp, bed) => {
  await webServer(bed, "host", "127.0.0.1", 8080);
  const get = "curl -sS -m 3 http://10.0.2.2:8080/";
  for (const [option, isOpen] of [
    [[], true],
    [["--disable-host-loopback"], false],
    [["--no-host-loopback"], false],
  ] as const) {
    const namespace = await Namespace.create(bed);
    const serving = await Serving.start(bed, slirp, ["-c", ...option, namespace.pid, "tap0"]);
    const { code } = await namespace.start(["bash", "-c", get]).exit();
    t.is(code === 0, isOpen, option.join(" "));
    t.is(await serving.hangUp(), 0);
  }
});

forBoth("--mtu shows inside", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "-m", 65520, namespace.pid, "tap0"]);
  t.regex(await namespace.run("ip link show tap0"), / mtu 65520 /);
});

forBoth("--cidr shows inside", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "--cidr=10.9.8.0/24", namespace.pid, "tap0"]);
  const shown = await namespace.run(ADDRESSES);
  t.regex(shown, /10\.9\.8\.100\/24/);
  t.regex(shown, /default via 10\.9\.8\.2/);
});

forBoth("--macaddress shows inside", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "--macaddress=02:11:22:33:44:55", namespace.pid, "tap0"]);
  t.regex(await namespace.run("ip link show tap0"), /link\/ether 02:11:22:33:44:55 /);
});

forBoth("--target-type=netns is what it is without", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "--target-type=netns", namespace.pid, "tap0"]);
  t.regex(await namespace.run(ADDRESSES), /10\.0\.2\.100\/24/);
});

forBoth("--enable-ipv6 gives fd00::/64, and the IPv6 outside is reached", async (t, slirp, bed) => {
  await webServer(bed, "internet", "2001:db8:113::10");
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "-6", namespace.pid, "tap0"]);
  t.regex(
    await namespace.run("for i in $(seq 50); do ip -6 address show tap0 | grep fd00:: && break; sleep 0.1; done"),
    /fd00::\S+\/64/,
  );
  t.regex(await namespace.run("curl -sS -m 10 'http://[2001:db8:113::10]/'"), /^hello 2001:db8:51::2\n$/);
});

forBoth("--outbound-addr: who is outside sees that address", async (t, slirp, bed) => {
  await webServer(bed);
  await bed.admin("ip address add 198.51.100.77/24 dev eth0");
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "--outbound-addr=198.51.100.77", namespace.pid, "tap0"]);
  t.is(await namespace.run(`curl -sS -m 10 http://${WEB}/`), "hello 198.51.100.77\n");
});

forBoth("--outbound-addr6: the same over IPv6", async (t, slirp, bed) => {
  await webServer(bed, "internet", "2001:db8:113::10");
  await bed.admin("ip address add 2001:db8:51::77/64 dev eth0 nodad");
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", "-6", "--outbound-addr6=2001:db8:51::77", namespace.pid, "tap0"]);
  // Debian's leaves the address to the kernel inside, which takes a while.
  await namespace.run("until ip -6 address show tap0 | grep -v tentative | grep -q fd00::; do sleep 0.1; done");
  t.is(await namespace.run("curl -sS -m 10 'http://[2001:db8:113::10]/'"), "hello 2001:db8:51::77\n");
});

forBoth("--netns-type=path with --userns-path enters by files", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  const of = `/proc/${namespace.pid}/ns`;
  await Serving.start(bed, slirp, ["-c", "--netns-type=path", `--userns-path=${of}/user`, `${of}/net`, "tap0"]);
  t.regex(await namespace.run(ADDRESSES), /10\.0\.2\.100\/24/);
});

for (const [title, options] of [
  ["--enable-sandbox: it works all the same", ["--enable-sandbox"]],
  ["--create-sandbox, a former name of it, likewise", ["--create-sandbox"]],
  ["--enable-seccomp: it works all the same", ["--enable-seccomp"]],
  ["--enable-sandbox and --enable-seccomp together", ["--enable-sandbox", "--enable-seccomp"]],
] as const) {
  forBoth(title, async (t, slirp, bed) => {
    await webServer(bed);
    const namespace = await Namespace.create(bed);
    await Serving.start(bed, slirp, ["-c", ...options, namespace.pid, "tap0"]);
    t.is(await namespace.run(`curl -sS -m 10 http://${WEB}/`), "hello 198.51.100.2\n");
  });
}

forBoth("--exit-fd: it ends with 0 when that hangs up; what is written there is no end", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  const serving = await Serving.start(bed, slirp, ["-c", namespace.pid, "tap0"]);
  serving.program.write("write\n");
  t.true(await serving.goesOn());
  t.is(await serving.hangUp(), 0);
});

forBoth("a signal ends it", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  const serving = await Serving.start(bed, slirp, ["-c", namespace.pid, "tap0"]);
  const status = await serving.kill(15);
  // Debian's catches SIGTERM only with an API socket, and then ends with 0.
  t.true(status === -15 || status === 0, String(status));
});

forBoth("an interface of that name is there already: refused with 1", async (t, slirp, bed) => {
  const namespace = await Namespace.create(bed);
  await Serving.start(bed, slirp, ["-c", namespace.pid, "tap0"]);
  const { code } = await refused(bed, slirp, ["-c", namespace.pid, "tap0"]);
  t.is(code, 1);
});

forBoth(
  "what it prints is what callers wait for",
  async (t, slirp, bed) => {
    const namespace = await Namespace.create(bed);
    const { program } = await Serving.start(bed, slirp, ["-c", namespace.pid, "tap0"]);
    await program.until(/^received tapfd=\d+$/m, 5000, "stderr");
    await program.until(/^\* Recommended IP: {2}10\.0\.2\.100$/m, 5000, "stderr");
    t.pass();
  },
  // Debian's stdout is a pipe here, which it fills before it writes: nothing comes before its end.
  [OURS],
);
