import test from "ava";
import { Bed, eventually, HOST, PROGRAMS, WEB } from "../bed/bed.js";

/** More than a connection sends before its path is looked at. */
const BYTES = 8 << 20;

/** The congestion control of the one established connection of the host that a filter of ss finds; empty when there is none. */
async function control(bed: Bed, filter: string, sent = 0): Promise<string> {
  const [found = "", more] = (await bed.admin(`ss -HtinO state established '${filter}'`)).trim().split("\n");
  if (more !== undefined) throw new Error(`${filter}: more than one connection`);
  if (sent > 0 && Number(found.match(/bytes_acked:(\d+)/)?.[1] ?? 0) < sent) return "";
  return found.match(/(\S+) wscale:/)?.[1] ?? "";
}

for (const wish of ["reno", "host"]) {
  test.serial(`--congestion ${wish}: on paths that stay on the host, and nowhere else`, async (t) => {
    const bed = await Bed.create(t);
    const hosts = (await bed.host(["cat", "/proc/sys/net/ipv4/tcp_congestion_control"]).succeed()).trim();
    t.not(hosts, "reno", "this test needs a host whose default is another");
    const wished = wish === "host" ? hosts : wish;
    const becomes = async (expected: string, filter: string, sent = 0) => {
      let found = "";
      await eventually(5000, `${filter}: ${expected} expected, ${found} found`, async () => {
        found = await control(bed, filter, sent);
        return found === expected;
      });
    };

    bed.host(["sh", "-c", `exec nc -dl ${HOST} 7000 >/dev/null`]);
    bed.internet(["sh", "-c", `exec nc -dl ${WEB} 7001 >/dev/null`]);
    await Promise.all([bed.listening("host", "tcp", 7000), bed.listening("internet", "tcp", 7001)]);
    const send = (address: string, port: number) => `(head -c ${BYTES} /dev/zero; sleep 60) | nc ${address} ${port} & `;
    const serve = `exec python3 -u ${PROGRAMS}/echo.py 8080 0.0.0.0`;
    const inside = `ip route show table local; ${send(HOST, 7000)} ${send(WEB, 7001)} ${serve}`;
    const sandbox = bed.script(inside, ["-p", "6000:8080", "--congestion", wish]);
    await sandbox.until(/ready/);
    const routes = sandbox.stdout.split("\n").filter((line) => line.startsWith("local"));
    t.is(routes.length, 3, sandbox.stdout);
    for (const route of routes) t.is(route.includes("congctl reno"), wish === "reno", route);

    await becomes(wished, "dport = :7000", BYTES);
    await becomes(hosts, "dport = :7001", BYTES);
    bed.host(["nc", "127.0.0.1", "6000"]);
    bed.internet(["nc", HOST, "6000"]);
    await becomes(wished, "sport = :6000 and dst 127.0.0.1");
    await becomes(hosts, "sport = :6000 and not dst 127.0.0.1");
    t.pass();
  });
}
