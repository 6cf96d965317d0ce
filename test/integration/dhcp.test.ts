/** Real DHCP clients in a namespace that people configure themselves. */
import test from "ava";
import { Bed, eventually, PROGRAMS, WEB } from "../bed/bed.js";
import { captured } from "../bed/capture.js";
import type { Program } from "../bed/program.js";
import { nameServer, webServer } from "../bed/services.js";

/** What the clients' script (programs/dhcp-script.sh) prints of a lease. */
const LEASE = "10.0.2.100/255.255.255.0 10.0.2.2 10.0.2.3 1400 bed.test";

const DHCLIENT_CONF = `request subnet-mask, routers, domain-name-servers, domain-name, domain-search, interface-mtu, dhcp-lease-time;
send dhcp-lease-time 4;
`;

/** A namespace with our network, from whose interface everything was taken away that is told by DHCP. */
async function bare(
  bed: Bed,
  flags: readonly string[],
): Promise<{ inside: (...command: string[]) => Program; attached: Program }> {
  await nameServer(bed);
  await webServer(bed);
  const target = bed.host(["unshare", "-Urnm", "sleep", "4711"]);
  const pid = await target.pid;
  const own = (await bed.host(["readlink", "/proc/self/ns/net"]).succeed()).trim();
  await eventually(
    5000,
    "unshare has not made a namespace",
    async () => (await bed.admin(`readlink /proc/${pid}/ns/net`)).trim() !== own,
  );
  const attached = bed.netns(["attach", "-v", ...flags, String(pid)]);
  await attached.until(/tap0 is up/, 10_000, "stderr");
  const inside = (...command: string[]) =>
    bed.host(["nsenter", "--preserve-credentials", "-U", "-n", "-m", "-t", String(pid), "--", ...captured(command)]);
  await inside("sh", "-c", "ip -4 address flush dev tap0; ip link set tap0 mtu 1500").succeed();
  return { inside, attached };
}

/** It works: by its address, and by the name server that was told. */
async function isUp(t: { is(a: unknown, b: unknown): void }, inside: (...command: string[]) => Program): Promise<void> {
  t.is(await inside("ip", "-4", "-o", "route", "show", "default").succeed(), "default via 10.0.2.2 dev tap0 \n");
  t.is(await inside("dig", "+short", "@10.0.2.3", "www.bed.test").succeed(), `${WEB}\n`);
  t.is(
    await inside("curl", "-sS", `http://${WEB}/bytes/3`)
      .succeed()
      .then((bytes) => bytes.length),
    3,
  );
}

test.serial("udhcpc: address, router, DNS, MTU, search domain; it renews, and gives the address back", async (t) => {
  const bed = await Bed.create(t);
  const { inside, attached } = await bare(bed, ["--mtu", "1400", "--dns-search", "bed.test"]);
  const options = ["-O", "mtu", "-O", "search", "-x", "lease:60", "-a", "-R", "-s", `${PROGRAMS}/dhcp-script.sh`];
  const client = inside("udhcpc", "-f", "-n", "-i", "tap0", ...options);
  await client.until(new RegExp(`^bound ${LEASE} bed.test 60$`, "m"), 10_000, "stderr");
  await isUp(t, inside);
  await bed.kill(await client.pid, "USR1");
  await client.until(new RegExp(`^renew ${LEASE} bed.test 60$`, "m"), 10_000, "stderr");
  await isUp(t, inside);
  await bed.kill(await client.pid, "TERM");
  t.is((await client.exit()).code, 0);
  await bed.kill(await attached.pid, "TERM");
  t.regex((await attached.exit(5000)).stderr, /counter dhcp.given_back 1\n/, "RELEASE");
});

test.serial("dhclient: the same, and it renews a short lease by itself", async (t) => {
  const bed = await Bed.create(t);
  const { inside } = await bare(bed, ["--mtu", "1400", "--dns-search", "bed.test", "--dns-search", "example.org"]);
  await bed.host(["sh", "-c", "cat >/tmp/dhclient.conf; : >/tmp/dhclient.leases"], { input: DHCLIENT_CONF }).succeed();
  const files = ["-cf", "/tmp/dhclient.conf", "-lf", "/tmp/dhclient.leases", "-pf", "/tmp/dhclient.pid"];
  const client = inside("dhclient", "-4", "-d", "-1", ...files, "-sf", `${PROGRAMS}/dhcp-script.sh`, "tap0");
  await client.until(new RegExp(`^BOUND ${LEASE} bed.test.,example.org. 4$`, "m"), 15_000, "stderr");
  await isUp(t, inside);
  await client.until(new RegExp(`^RENEW ${LEASE} bed.test.,example.org. 4$`, "m"), 10_000, "stderr");
  await isUp(t, inside);
  await bed.kill(await client.pid, "TERM");
  await client.exit();
});
