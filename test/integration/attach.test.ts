import test from "ava";
import { Bed, bracketed, eventually, HOST, IPV4, IPV6, PROGRAMS, WEB } from "../bed/bed.js";
import { captured } from "../bed/capture.js";
import { nothingLeft, state } from "../bed/leftovers.js";
import { nameServer, webServer } from "../bed/services.js";

const UP = /tap0 is up/;
/** A command line that runs in the namespaces of a process. */
const inside = (pid: number, ...command: string[]) => [
  ...["nsenter", "--preserve-credentials", "-U", "-n", "-t", String(pid), "--"],
  ...captured(command),
];

for (const by of ["process id", "path"] as const) {
  test.serial(`a namespace that exists already gets a network, by ${by}`, async (t) => {
    const bed = await Bed.create(t);
    await nameServer(bed);
    await webServer(bed);
    await webServer(bed, "internet", IPV6.web);
    const before = await state(bed);
    const target = bed.host(["unshare", "-Urn", "sleep", "4711"]);
    const pid = await target.pid;
    const own = (await bed.host(["readlink", "/proc/self/ns/net"]).succeed()).trim();
    await eventually(
      5000,
      "unshare has not made a namespace",
      async () => (await bed.admin(`readlink /proc/${pid}/ns/net`)).trim() !== own,
    );
    const where = by === "path" ? `/proc/${pid}/ns/net` : String(pid);
    const attached = bed.netns(["attach", "--publish", "6000:8080", where]);
    await attached.until(UP, 10_000, "stderr");
    const routes = await bed.host(inside(pid, "ip", "route", "show", "table", "local")).succeed();
    t.regex(routes, /^local 127\.0\.0\.1 dev lo /m);
    t.notRegex(routes, /congctl/, "what is local there stays as it was");

    t.is(await bed.host(inside(pid, "curl", "-sS", `http://${WEB}/`)).succeed(), `hello ${HOST}\n`);
    const six = `http://${bracketed(IPV6.web)}/`;
    t.is(await bed.host(inside(pid, "curl", "-sS", six)).succeed(), `hello ${IPV6.host}\n`);
    for (const server of [IPV4.sandboxDns, IPV6.sandboxDns]) {
      t.is(await bed.host(inside(pid, "dig", "+short", `@${server}`, "www.bed.test")).succeed(), `${WEB}\n`);
    }
    const server = bed.host(inside(pid, "python3", "-u", `${PROGRAMS}/echo.py`, "8080", "127.0.0.1"));
    await server.until(/ready/);
    t.is(await bed.host(["nc", "-N", "-w5", "127.0.0.1", "6000"], { input: "in" }).succeed(), "in");
    await bed.kill(await server.pid, "KILL");

    if (by === "process id") {
      await bed.kill(pid, "KILL");
      t.is((await attached.exit(2000)).code, 0, "it ends with the process");
    } else {
      await bed.kill(await attached.pid, "TERM");
      t.is((await attached.exit(3000)).code, 0, "it ends with a signal");
      t.not((await bed.host(inside(pid, "curl", "-sS", "--max-time", "2", `http://${WEB}/`)).exit()).code, 0);
      await bed.kill(pid, "KILL");
    }
    await nothingLeft(bed, before);
  });
}

test.serial("a target that is not there, or not ours, is one clear line", async (t) => {
  const bed = await Bed.create(t);
  for (const target of ["4000000", "/tmp/no-such-file", "/etc/passwd", "1"]) {
    const { code, stderr } = await bed.netns(["attach", target]).exit(5000);
    t.is(code, 125, target);
    t.regex(stderr, /^netns-rootless: .*\n$/, target);
    t.true(stderr.includes(target), stderr);
  }
  t.is((await bed.netns(["attach"]).exit()).code, 2);
});
