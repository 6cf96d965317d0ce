/** Real: the bed itself, as an ordinary user, with real programs in it. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import test from "ava";
import { Bed, SERVER, UPLINK } from "../../bench/bed.js";
import { iperfInside, iperfToPublished } from "../../bench/iperf3.js";
import { cpuSeconds, parseCpuSeconds, parseResidentBytes, processTree, residentBytes } from "../../bench/processes.js";
import { parseFigures, program } from "../../bench/programs.js";
import { parseOutput } from "../../bench/shell.js";
import { loopback } from "../../bench/tools/loopback.js";

const SETUP = { mtu: 1500, congestion: null };

/** A zombie is not: only init has to notice yet that its adopted child has ended. */
function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
}

/** A killed process that is not our child takes a moment to go. */
async function eventually(condition: () => boolean): Promise<void> {
  for (let tries = 0; tries < 100 && !condition(); tries++) await delay(10);
}

test("a program in the bed has no capabilities and sees only the bed's network", async (t) => {
  const bed = await Bed.create();
  try {
    const { shell } = await loopback.start(bed, SETUP);
    t.regex(await shell.must("cat /proc/self/status"), /^CapEff:\t0+$/m);
    const links = await shell.must("ip -o -4 address");
    t.deepEqual([...links.matchAll(/inet (\S+)/g)].map(([, address]) => address).sort(), [
      "127.0.0.1/8",
      "198.51.100.1/24",
      "203.0.113.1/32",
    ]);
  } finally {
    await bed.close();
  }
});

test("iperf3 runs in the bed with the congestion control that was set, and nothing is left after it", async (t) => {
  const bed = await Bed.create();
  let pids: number[] = [];
  try {
    await bed.setCongestion("reno");
    const { shell } = await loopback.start(bed, SETUP);
    t.regex(await shell.must("ip route show table local 203.0.113.1"), /congctl reno/);
    await bed.setCongestion(null);
    t.notRegex(await shell.must("ip route show table local 203.0.113.1"), /congctl/);
    const sleeper = bed.start("sleep", ["sleep", "60"]);
    pids = [sleeper.pid, ...(await shell.must("sleep 60 >/dev/null & echo $$ $!")).split(" ").map(Number)];
    t.true(cpuSeconds(pids) >= 0);
    const result = await iperfInside(bed, shell, SERVER, { protocol: "tcp", reverse: true, flows: 2, seconds: 1 });
    t.true(result.bitsPerSecond > 1e8, `${result.bitsPerSecond}`);
    t.true(Math.abs(result.bytes * 8 - result.bitsPerSecond) < 0.2 * result.bitsPerSecond);
  } finally {
    await bed.close();
  }
  t.is(pids.length, 3);
  await eventually(() => !pids.some(isAlive));
  t.deepEqual(pids.filter(isAlive), []);
});

test("the other machine reaches a server on a port of the bed, with the congestion control that was set", async (t) => {
  const bed = await Bed.create();
  try {
    await bed.setCongestion("reno");
    const routes = await bed.capture("ip", ["ip", "route"], 5000, "machine");
    t.is(routes.trim(), "198.51.100.0/24 dev eth0 proto kernel scope link src 198.51.100.2 congctl reno");
    const { shell, port } = await loopback.start(bed, SETUP);
    const published = { client: "machine", address: UPLINK, port } as const;
    const load = { protocol: "udp", size: 1000, reverse: false, flows: 1, seconds: 1 } as const;
    const result = await iperfToPublished(bed, shell, published, load);
    t.true(result.packets > 1000 && result.lost < result.packets, JSON.stringify(result));
  } finally {
    await bed.close();
  }
});

test("a program's figures are numbers, and what it says instead is told", async (t) => {
  t.deepEqual([...parseFigures('{"p50": 20.5, "name": "x"}')], [["p50", 20.5]]);
  t.throws(() => parseFigures('{"error": "no datagram arrived"}'), { message: "no datagram arrived" });
  t.throws(() => parseFigures("no answer came back\n"), { message: "it printed: no answer came back" });
  const bed = await Bed.create();
  try {
    const { shell } = await loopback.start(bed, SETUP);
    const printed = await shell.output(program("client", "connect", SERVER, 1, 1), 5);
    t.throws(() => parseFigures(printed), { message: /Connection refused/ });
  } finally {
    await bed.close();
  }
});

test("a tool's memory is that of its processes, without the command's", async (t) => {
  const bed = await Bed.create();
  try {
    const outer = bed.start("a tool", ["sh", "-c", "sleep 30 & python3 -c 'print(1, flush=True); input()'; :"]);
    await outer.says("1", 5000);
    t.is(processTree(outer.pid, []).length, 3);
    t.is(processTree(outer.pid, ["sleep"]).length, 2);
    t.true(residentBytes(processTree(outer.pid, ["sleep"])) > residentBytes([outer.pid]));
    const start = "__import__('subprocess').Popen(['sleep', '30']); print(1, flush=True); input()";
    const threaded = bed.start("a tool with threads", [
      ...["python3", "-c", `import threading; threading.Thread(target=lambda: exec("${start}")).start()`],
    ]);
    await threaded.says("1", 5000);
    t.is(processTree(threaded.pid, []).length, 2, "started by a thread that is not the first");
  } finally {
    await bed.close();
  }
  t.is(parseResidentBytes("VmHWM:\t  9000 kB\nVmRSS:\t    1234 kB\n"), 1234 * 1024);
  t.throws(() => parseResidentBytes("State: Z\n"), { message: /has ended/ });
});

test("a script that fails, hangs, or ends the shell is told apart", async (t) => {
  const bed = await Bed.create();
  try {
    const { shell } = await loopback.start(bed, SETUP);
    t.deepEqual(await shell.run("printf x; false"), { status: 1, stdout: "x" });
    await t.throwsAsync(shell.must("echo said >&2; false"), { message: /failed with 1.*said/ });
    await t.throwsAsync(shell.run("sleep 20", 100), { message: /did not finish within 100 ms/ });
    const other = await loopback.start(bed, SETUP);
    await t.throwsAsync(other.shell.run("kill -9 $$"), { message: /ended too early/ });
  } finally {
    await bed.close();
  }
});

test("the output of a script ends at its marker", (t) => {
  t.is(parseOutput("half of it"), null);
  t.deepEqual(parseOutput("a\nb\n\n__netns_bench_done__ 124\n"), { status: 124, stdout: "a\nb\n" });
});

test("processor time is read behind the command's name, whatever that is", (t) => {
  const stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 8 20 0 1 0 123 0 0";
  t.is(parseCpuSeconds(stat, 100), 3);
  t.throws(() => parseCpuSeconds("nonsense", 100), { message: /not the text/ });
});
