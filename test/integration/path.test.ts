/** What a path outside does to packets: routers that give them up, and links that carry less than ours. */
import test, { type ExecutionContext } from "ava";
import { Bed, PROGRAMS, ROOT, WORLDS, type World } from "../bed/bed.js";
import { echoServer } from "../bed/services.js";

/** Each router of test/bed/routers.sh, as it signs its errors. */
const ROUTERS = {
  4: ["198.51.100.1", "198.18.1.2", "198.18.2.2"],
  6: ["2001:db8:51::1", "2001:db8:1801::2", "2001:db8:1802::2"],
};

async function withRouters(t: ExecutionContext, mtu = 1500): Promise<Bed> {
  const bed = await Bed.create(t);
  await bed.admin(`set -- ${mtu}; . ${ROOT}/test/bed/routers.sh`);
  return bed;
}

const hopsTo = ({ family, gateway, web }: World) => [gateway, ...ROUTERS[family], web];

/** Who answered each hop, from a traceroute's or tracepath's output. */
function hops(output: string): string[] {
  const found = new Map<number, string>();
  for (const [, hop, who] of output.matchAll(/^ *(\d+)[:?]? +([0-9a-f:.]+|\*)/gm)) {
    if (!found.has(Number(hop))) found.set(Number(hop), who);
  }
  return [...found].sort(([a], [b]) => a - b).map(([, who]) => who);
}

for (const world of WORLDS) {
  const { family, gateway, web } = world;
  test.serial(`IPv${family}: traceroute by UDP, ICMP and TCP, tracepath and ping show every router`, async (t) => {
    const bed = await withRouters(t);
    const script = ["", "-U", "-I", "-T"]
      .map((how) => `echo; echo "by traceroute ${how}"; traceroute -n -w 1 ${how} ${web}`)
      .join(";");
    const output = await bed
      .script(`${script}; echo; echo by tracepath; tracepath -n ${web}`, ["--root"], {})
      .succeed();
    for (const part of output.split("by ").slice(1)) t.deepEqual(hops(part), hopsTo(world), part);

    const ping = (ttl: number) => bed.script(`ping -n -c1 -W2 -t ${ttl} ${web}`).exit();
    for (const [ttl, who] of [gateway, ...ROUTERS[family]].entries()) {
      const { stdout } = await ping(ttl + 1);
      t.regex(stdout, new RegExp(`From ${who}:? icmp_seq=1 Time.*exceeded`), stdout);
    }
    t.regex((await ping(5)).stdout, /1 received/);
  });
}

for (const world of WORLDS) {
  const { family, web, any } = world;
  const inet = `socket.AF_INET${family === 6 ? "6" : ""}`;
  test.serial(`IPv${family}: a path of MTU 1280 says so, and carries everything all the same`, async (t) => {
    const bed = await withRouters(t, 1280);
    await echoServer(bed, "internet", 7000, web);
    // First the router says it, then the host, which remembers: a second sandbox hears it from the gateway.
    for (const who of ["the router", "the host"]) {
      const { stdout } = await bed.script(`ping -n -c2 -i0.2 -W2 -M do -s 1400 ${web} 2>&1`).exit();
      t.regex(stdout, /mtu[ =:]+1280/i, `${who}: ${stdout}`);
      t.notRegex(stdout, / [12] received/);
    }
    t.regex(await bed.script(`tracepath -n ${web}`).succeed(), /pmtu 1280/);

    // Each side's first long datagram over IPv6 may be lost: only its sender can fragment it, and learns the size from that.
    const datagram = `python3 ${PROGRAMS}/datagrams.py 7000 60000 ${web}`;
    t.regex(await bed.script(`${datagram} || ${datagram} || ${datagram}`).succeed(), /^ok /m);

    const sink = bed.internet(["python3", "-c", transfer(inet, any)]);
    await sink.until(/ready/);
    const client = `
import socket
s = socket.create_connection(("${web}", 7100))
block = bytes(range(256)) * 4096
for _ in range(100): s.sendall(block)
s.shutdown(socket.SHUT_WR)
received = 0
while data := s.recv(1 << 20): received += len(data)
print(received)`;
    t.is(await bed.run(["python3", "-c", client]).succeed(), `${100 << 20}\n`);
    t.is(await sink.succeed(), `ready\n${100 << 20}\n`);
  });
}

for (const { family, web } of WORLDS) {
  test.serial(`IPv${family}: nothing is lost for its length at any MTU inside, on a path of 1280`, async (t) => {
    const bed = await withRouters(t, 1280);
    await echoServer(bed, "internet", 7000, web);
    const datagram = (size: number) => `python3 ${PROGRAMS}/datagrams.py 7000 ${size} ${web}`;
    // A datagram may be lost to tell its sender the path's MTU, on each way once.
    const datagrams = [1200, 1300, 1473, 8973, 60_000].map((size) => `${datagram(size)} || ${datagram(size)}`);
    const connection = `yes '' | head -4 | python3 ${PROGRAMS}/many.py ${web} 7000 1 4000000`;
    const script = [...datagrams, connection].join("\n");
    for (const mtu of ["1280", "1500", "9000", "65520"]) {
      const output = await bed.script(script, ["--mtu", mtu]).succeed(60_000);
      t.is(output.match(/^ok /gm)?.length, datagrams.length, `${mtu}: ${output}`);
      t.regex(output, /^checked$/m, mtu);
    }
  });
}

/** Everything that a router may say, and that sockets report: of the "time exceeded" of IPv4, Linux keeps that of fragments to itself. */
const ERRORS = {
  4: [...Array.from({ length: 16 }, (_, code) => `3/${code}`), "11/0", "12/0", "12/1", "12/2"],
  6: [...Array.from({ length: 7 }, (_, code) => `1/${code}`), "2/0", "3/0", "3/1", "4/0", "4/1", "4/2"],
};

for (const { family, neighbour } of WORLDS) {
  test.serial(
    `IPv${family}: what a router says by ICMP, of each type and code, is the same inside as on the host`,
    async (t) => {
      const bed = await Bed.create(t);
      const nobody = family === 4 ? "203.0.113.200" : "2001:db8:113::200";
      await bed.admin(`nsenter -t $internet -n ip route add blackhole ${nobody}
      nsenter -t $internet -n sh -c 'exec python3 ${PROGRAMS}/errors.py answer eth0' >/tmp/answers 2>&1 &
      until grep -q ready /tmp/answers; do sleep 0.02; done
      nsenter -t $internet -n sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0`);
      const cases = ERRORS[family];
      const ask = ["python3", `${PROGRAMS}/errors.py`, "ask", nobody];
      const [outside, inside] = await Promise.all(
        [bed.host([...ask, ...cases]), bed.run([...ask, ...cases])].map((p) => p.succeed(60_000)),
      );
      t.is(
        outside.match(new RegExp(`^udp (\\S+) E[A-Z]+ \\1 \\d+ from ${neighbour}$`, "gm"))?.length,
        cases.length,
        outside,
      );
      t.deepEqual(inside.split("\n"), outside.split("\n"));
    },
  );
}

/** Takes all that comes, then sends 100 MiB. */
function transfer(inet: string, any: string): string {
  return `
import socket
listener = socket.socket(${inet})
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("${any}", 7100))
listener.listen()
print("ready", flush=True)
s, _ = listener.accept()
received = 0
while data := s.recv(1 << 20): received += len(data)
print(received)
for _ in range(100): s.sendall(bytes(1 << 20))`;
}
