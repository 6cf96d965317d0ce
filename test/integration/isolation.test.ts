import test from "ava";
import { Bed, bracketed, GATEWAY, HOST, IPV6, PROGRAMS, SANDBOX, SANDBOX_DNS, WORLDS } from "../bed/bed.js";
import type { Program } from "../bed/program.js";
import { echoServer, nameServer } from "../bed/services.js";

/** Of the host's loopback only. */
const LOCAL = 9000;
/** On all addresses of the host. */
const OPEN = 9001;

/** Addresses by which something inside might come to the host's loopback. */
const ROUTES = [
  GATEWAY,
  SANDBOX_DNS,
  HOST,
  "10.0.2.0",
  "10.0.2.1",
  "10.0.2.4",
  "10.0.2.255",
  "127.0.0.1",
  "127.0.0.2",
  "127.255.255.254",
  "0.0.0.0",
  "0.0.0.1",
  "169.254.1.1",
  "198.51.100.0",
  "198.51.100.255",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
];

const ROUTES6 = [
  IPV6.gateway,
  IPV6.sandboxDns,
  IPV6.host,
  "fd00::",
  "fd00::1",
  "fd00::4",
  "::",
  "::1",
  "::2",
  "::127.0.0.1",
  "::ffff:0:127.0.0.1",
  "64:ff9b::127.0.0.1",
  "64:ff9b::0.0.0.0",
  "64:ff9b:1::127.0.0.1",
  "2002:7f00:1::1",
  "fec0::1",
];
/** What a program's own kernel takes for IPv4, or has no way for without an interface; a frame can have it all the same. */
const FRAMES6 = [...ROUTES6, "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:10.0.2.2", "fe80::1", "ff02::1", "ff0e::1"];

async function hostWithServices(bed: Bed): Promise<{ local: Program; open: Program }> {
  const local = await echoServer(bed, "host", LOCAL, "127.0.0.1", "127.0.0.2", "::1");
  const open = await echoServer(bed, "host", OPEN, "0.0.0.0", "::");
  // It works from the host itself; without this, silence would prove nothing.
  await bed.host(["nc", "-N", "127.0.0.1", String(LOCAL)], { input: "x" }).succeed();
  await local.until(/^end \S+ \d+ 1$/m);
  return { local, open };
}

/** Who came, without the check above. */
const arrivals = (program: Program) => program.stdout.match(/^(tcp|udp) .*$/gm)?.slice(1) ?? [];

test.serial("no address leads to a service of the host's loopback", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  const { local } = await hostWithServices(bed);
  const output = await bed
    .run(["python3", `${PROGRAMS}/probe.py`, String(LOCAL), ...ROUTES, ...ROUTES6, "host.internal"])
    .succeed(60_000);
  t.notRegex(output, /REACHED/);
  t.is(output.trim().split("\n").length, 2 * (ROUTES.length + ROUTES6.length + 1), output);
  t.deepEqual(arrivals(local), []);
});

test.serial(
  "a service on all of the host's addresses is reached as another machine would, and by no other way",
  async (t) => {
    const bed = await Bed.create(t);
    const open = await echoServer(bed, "host", OPEN, "0.0.0.0", "::");
    const probe = ["python3", `${PROGRAMS}/probe.py`, String(OPEN), ...ROUTES, ...ROUTES6];
    const output = await bed.run(probe).succeed(60_000);
    const reached = output.match(/^\S+ \S+ \d+ REACHED$/gm) ?? [];
    t.deepEqual(
      reached,
      [HOST, IPV6.host].flatMap((host) => [`tcp ${host} ${OPEN} REACHED`, `udp ${host} ${OPEN} REACHED`]),
    );
    t.is(open.stdout.match(/^(tcp|udp) /gm)?.length, 4);
  },
);

test.serial("raw frames with any destination and any source do not reach the host's loopback", async (t) => {
  const bed = await Bed.create(t);
  const { local, open } = await hostWithServices(bed);
  const worlds = [
    { gateway: GATEWAY, sandbox: SANDBOX, host: HOST, routes: ROUTES },
    { gateway: IPV6.gateway, sandbox: IPV6.sandbox, host: IPV6.host, routes: FRAMES6 },
  ];
  for (const { gateway, sandbox, host, routes } of worlds) {
    const send = async (port: number, to: readonly string[]) =>
      bed
        .run(["python3", `${PROGRAMS}/frames.py`, "tap0", String(port), gateway, sandbox, ...to], ["--root"])
        .succeed();
    // What such a frame can reach (an address that is open to everybody) answers; without this, silence would prove nothing.
    const answers = await send(OPEN, [host]);
    t.true(answers.includes(`answer tcp ${host}\n`) && answers.includes(`answer udp ${host}\n`), answers);
    const allowed = open.stdout.match(/^(tcp|udp) .*$/gm) ?? [];
    const others = routes.filter((address) => address !== host);
    for (const output of await Promise.all([LOCAL, OPEN].map((port) => send(port, others)))) {
      t.regex(output, /^sent \d+$/m);
      t.regex(output, /^done$/m);
      t.notRegex(output, /^answer/m);
    }
    t.deepEqual(open.stdout.match(/^(tcp|udp) .*$/gm) ?? [], allowed);
  }
  t.deepEqual(arrivals(local), []);
});

test.serial("routes that root of the sandbox makes do not lead to the host's loopback", async (t) => {
  const bed = await Bed.create(t);
  const { local } = await hostWithServices(bed);
  const script = `
    ip route flush table local
    ip route add local ${SANDBOX} dev tap0 table local
    ip route add 127.0.0.0/8 via ${GATEWAY} dev tap0 src ${SANDBOX}
    ip route add 0.0.0.1 via ${GATEWAY} dev tap0
    echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
    echo 1 >/proc/sys/net/ipv4/conf/tap0/route_localnet
    python3 ${PROGRAMS}/probe.py ${LOCAL} ${ROUTES.join(" ")}`;
  const output = await bed.script(script, ["--root"]).succeed(60_000);
  t.notRegex(output, /REACHED/);
  t.deepEqual(arrivals(local), []);
});

test.serial("a published port leads inside, never back to the host's own port of that number", async (t) => {
  const bed = await Bed.create(t);
  const { local } = await hostWithServices(bed);
  const flags = ["-p", `6000:${LOCAL}`, "-p", `6000:${LOCAL}/udp`];
  flags.push("-p", `127.0.0.1:6001:${LOCAL}`, "-p", `[::1]:6001:${LOCAL}`);
  const probe = `python3 ${PROGRAMS}/probe.py`;
  const sandbox = bed.script(
    `${probe} 6000,6001,${LOCAL} ${[...ROUTES, ...ROUTES6].join(" ")}; echo probed; sleep 60`,
    flags,
  );
  await sandbox.until(/probed/, 60_000);
  t.notRegex(sandbox.stdout, /REACHED/);
  const addresses = WORLDS.flatMap(({ loopback, host }) => [loopback, host]);
  t.notRegex(await bed.host(["python3", `${PROGRAMS}/probe.py`, "6000,6001", ...addresses]).succeed(), /REACHED/);
  t.deepEqual(arrivals(local), []);
});

for (const { family, any, loopback, host, sandbox } of WORLDS) {
  test.serial(`IPv${family}: another machine does not come in by what is not published`, async (t) => {
    const bed = await Bed.create(t);
    const server = bed.run(
      ["python3", "-u", `${PROGRAMS}/echo.py`, "8080", any],
      ["-p", `${bracketed(loopback)}:6000:8080`],
    );
    await server.until(/ready/);
    await bed.admin(`nsenter -t $internet -n ip route add ${family === 4 ? "10.0.2.0/24" : "fd00::/64"} via ${host}`);
    const output = await bed.internet(["python3", `${PROGRAMS}/probe.py`, "6000,8080", host, sandbox]).succeed();
    t.notRegex(output, /REACHED/);
    t.notRegex(server.stdout, /^(tcp|udp)/m);
  });
}

test.serial("abstract sockets of the host are not seen inside", async (t) => {
  const bed = await Bed.create(t);
  const listen =
    "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('\\0bed'); s.listen(); print('up', flush=True); time.sleep(60)";
  const server = bed.host(["python3", "-c", listen]);
  await server.until(/up/);
  const connect = ["python3", "-c", "import socket; socket.socket(socket.AF_UNIX).connect('\\0bed'); print('reached')"];
  t.is(await bed.host(connect).succeed(), "reached\n");
  const { stdout, stderr } = await bed.run(connect).exit();
  t.is(stdout, "");
  t.regex(stderr, /ConnectionRefusedError/);
});

test.serial("the loopback of the host is reached exactly as opened", async (t) => {
  const bed = await Bed.create(t);
  const { local, open } = await hostWithServices(bed);
  const command = [
    "python3",
    `${PROGRAMS}/probe.py`,
    `${LOCAL},${OPEN}`,
    GATEWAY,
    SANDBOX_DNS,
    IPV6.gateway,
    IPV6.sandboxDns,
    "127.0.0.1",
    "::1",
    "host.internal",
  ];
  const reached = async (flag: string) =>
    (await bed.run(command, [flag]).succeed(60_000)).match(/^.* REACHED$/gm) ?? [];
  const ways = (port: number) =>
    [GATEWAY, IPV6.gateway, "host.internal"].flatMap((to) => [
      `tcp ${to} ${port} REACHED`,
      `udp ${to} ${port} REACHED`,
    ]);
  t.deepEqual((await reached(`--allow-host-loopback=${LOCAL}`)).sort(), ways(LOCAL).sort());
  t.is(arrivals(local).length, 6);
  t.is(arrivals(open).length, 0);
  t.deepEqual((await reached("--allow-host-loopback=9001-9002")).sort(), ways(OPEN).sort());
  t.deepEqual((await reached("--allow-host-loopback")).sort(), [...ways(LOCAL), ...ways(OPEN)].sort());
});
