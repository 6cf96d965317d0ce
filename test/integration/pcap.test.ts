/** `run --pcap`: a capture of all that enters and leaves a sandbox, as a dissector sees it: complete, and without a mistake. */
import test from "ava";
import { Bed, bracketed, PROGRAMS, WORLDS } from "../bed/bed.js";
import { echoServer, nameServer, webServer } from "../bed/services.js";

const CAPTURE = "/tmp/capture.pcapng";
/** tshark leaves checksums alone unless it is told. */
const CHECKING = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
const WRONG = [
  ...["ip", "tcp", "udp", "icmp", "icmpv6"].map((protocol) => `${protocol}.checksum.status == "Bad"`),
  "_ws.malformed",
  '(_ws.expert && !(_ws.expert.group == "Sequence"))',
];

test("a session of TCP, UDP, ping and DNS is complete in its capture, and shows no mistake", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  await echoServer(bed, "internet", 7000, ...WORLDS.map(({ web }) => web));
  for (const { web } of WORLDS) await webServer(bed, "internet", web);
  const scenario = WORLDS.map(
    ({ family, web, gateway, sandboxDns }) => `
    for address in ${gateway} ${web}; do ping -q -c1 -W2 $address; done
    curl -sS -o /tmp/bytes http://${bracketed(web)}/bytes/3000000
    curl -sS -T /tmp/bytes http://${bracketed(web)}/ | wc -c
    for size in 1 1400 3001; do python3 ${PROGRAMS}/datagrams.py 7000 $size ${web}; done
    dig +tries=1 @${sandboxDns} dual.bed.test ${family === 6 ? "AAAA" : "A"} +short`,
  );
  const before = (await bed.host(["date", "+%s.%N"]).succeed()).trim();
  await bed.script(scenario.join("\n"), ["--pcap", CAPTURE, "--shards", "1"]).succeed();
  const after = (await bed.host(["date", "+%s.%N"]).succeed()).trim();
  t.is(await bed.host(["stat", "-c", "%a", CAPTURE]).succeed(), "600\n");
  const tshark = (...args: string[]) => bed.host(["tshark", "-n", "-r", CAPTURE, ...CHECKING, ...args]).succeed(60_000);
  t.is(await tshark("-Y", WRONG.join(" || ")), "");
  // Nothing of a connection is missing: every byte of the file was seen twice in each family, once in each direction.
  const lost = "tcp.analysis.ack_lost_segment || tcp.analysis.lost_segment";
  t.is(await tshark("-Y", lost), "");
  const lengths = await tshark(
    "-Y",
    "tcp.len > 0 && !tcp.analysis.retransmission",
    "-T",
    "fields",
    "-e",
    "tcp.len",
    "-e",
    "ipv6.src",
    "-e",
    "ip.src",
  );
  const sum = (pattern: RegExp) =>
    lengths.split("\n").reduce((total, line) => total + (pattern.test(line) ? Number.parseInt(line, 10) : 0), 0);
  for (const { web, sandbox } of WORLDS) {
    for (const source of [web, sandbox]) {
      const bytes = sum(new RegExp(`\\t${source.replaceAll(".", "\\.")}(\\t|$)`));
      t.true(bytes > 3_000_000 && bytes < 3_010_000, `${source}: ${bytes}`);
    }
  }
  const facts = await tshark(
    "-T",
    "fields",
    "-e",
    "frame.interface_name",
    "-e",
    "frame.packet_flags_direction",
    "-e",
    "frame.time_epoch",
  );
  const rows = facts
    .trim()
    .split("\n")
    .map((line) => line.split("\t"));
  t.deepEqual([...new Set(rows.map(([name]) => name))], ["tap0"]);
  t.deepEqual([...new Set(rows.map(([, direction]) => Number(direction)))].sort(), [1, 2]);
  const times = rows.map(([, , time]) => Number(time));
  t.true(
    times.every((time, i) => i === 0 || time >= times[i - 1]),
    "in their order",
  );
  t.true(times[0] >= Number(before) && (times.at(-1) ?? 0) <= Number(after), "by the host's clock");
  // Outgoing frames have the sandbox's source.
  t.is(await tshark("-Y", "frame.packet_flags_direction == 2 && ip && !(ip.src == 10.0.2.100)"), "");
  t.is(await tshark("-Y", "frame.packet_flags_direction == 1 && ip && !(ip.dst == 10.0.2.100)"), "");
});

test("a file that cannot be written is told before anything starts; several shards cannot be captured", async (t) => {
  const bed = await Bed.create(t);
  const outcome = await bed.run(["touch", "/tmp/started"], ["--pcap", "/proc/none/x", "--shards", "1"]).exit();
  t.is(outcome.code, 2);
  t.regex(
    outcome.stderr,
    /^netns-rootless: --pcap \/proc\/none\/x: cannot be written \(ENOENT\); name a file in a folder of yours\n$/,
  );
  t.not((await bed.host(["test", "-e", "/tmp/started"]).exit()).code, 0);
  const shards = await bed.run(["true"], ["--pcap", CAPTURE, "--shards", "2"]).exit();
  t.is(shards.code, 2);
  t.regex(shards.stderr, /--pcap: a network of several shards cannot be captured/);
});

test("a full disk ends the capture, and not the command", async (t) => {
  const bed = await Bed.create(t);
  const { code, stderr } = await bed
    .run(["bash", "-c", "ping -q -c1 10.0.2.2; exit 7"], ["--pcap", "/dev/full", "--shards", "1"])
    .exit();
  t.is(code, 7);
  t.regex(stderr, /the capture \/dev\/full ends early: .*ENOSPC/);
});
