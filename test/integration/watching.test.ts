/** `capture`, and `run --pcap` of sandboxes with names: what tshark reads of it. */
import test from "ava";
import { Bed, MAIN } from "../bed/bed.js";
import { nothingLeft, state } from "../bed/leftovers.js";
import type { Program } from "../bed/program.js";

const CHECKING = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
const WRONG = [
  ...["ip", "tcp", "udp", "icmp", "icmpv6"].map((protocol) => `${protocol}.checksum.status == "Bad"`),
  "_ws.malformed",
];

/** Each frame between two members is there twice, which looks like a retransmission to who puts streams together. */
const APART = ["-o", "tcp.desegment_tcp_streams:FALSE", "-o", "tcp.analyze_sequence_numbers:FALSE"];

/** A shell of the bed in which `netns` is our program. */
const shell = (bed: Bed, script: string): Program =>
  bed.host(["bash", "-c", `netns() { ${MAIN.map((word) => `'${word}'`).join(" ")} "$@"; }\n${script}`]);

const tshark = async (bed: Bed, file: string, ...args: string[]): Promise<string[][]> =>
  (await bed.host(["tshark", "-n", "-r", file, ...CHECKING, ...args]).succeed(60_000))
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.split("\t"));

const fields = (...names: string[]) => ["-T", "fields", ...names.flatMap((name) => ["-e", name])];

async function twoMembers(bed: Bed): Promise<void> {
  await bed.netns(["network", "create", "demo"]).succeed();
  await bed.netns(["create", "red", "--network", "demo"]).succeed();
  await bed.netns(["create", "blue", "--network", "demo"]).succeed();
}

test.serial("live into tshark, which is told at once of what happens, and ends it by going", async (t) => {
  const bed = await Bed.create(t);
  await twoMembers(bed);
  const watching = shell(
    bed,
    "netns capture red --filter 'proto icmp' | tshark -l -n -i - -c 4 -T fields -e frame.interface_name -e icmp.type -e ip.src",
  );
  await watching.until(/capturing red; ended by Ctrl-C/, 10_000, "stderr");
  await bed.netns(["exec", "red", "--", "ping", "-4", "-c", "2", "-i", "0.2", "blue"]).succeed();
  t.deepEqual(
    (await watching.succeed())
      .trim()
      .split("\n")
      .map((line) => line.split("\t")),
    ["red", "red"].flatMap((name) => [
      [name, "8", "10.0.2.100"],
      [name, "0", "10.0.2.101"],
    ]),
  );
});

test.serial(
  "a whole network in a file: each member an interface of its name, and nothing that a dissector would complain of",
  async (t) => {
    const bed = await Bed.create(t);
    await twoMembers(bed);
    const capture = bed.netns(["capture", "--network", "demo", "-w", "/tmp/demo.pcapng"]);
    await capture.until(/capturing the network demo/, 10_000, "stderr");
    const serve =
      "python3 -c 'import http.server as h; h.ThreadingHTTPServer((\"\",80),h.SimpleHTTPRequestHandler).serve_forever()'";
    await bed
      .netns([
        "exec",
        "blue",
        "--",
        "bash",
        "-c",
        `cd /tmp; head -c 3000000 /dev/zero >zeros; (${serve}) >/dev/null 2>&1 &`,
      ])
      .succeed();
    await bed
      .netns([
        "exec",
        "red",
        "--",
        "curl",
        "-sS",
        "--retry",
        "9",
        "--retry-connrefused",
        "-o",
        "/dev/null",
        "http://blue/zeros",
      ])
      .succeed();
    await bed.kill(await capture.pid, "INT");
    const { code, stderr } = await capture.exit();
    t.is(code, 0);
    t.regex(stderr, /\d+ packets captured\n$/);
    t.notRegex(stderr, /missing/);
    t.is(await bed.host(["stat", "-c", "%a", "/tmp/demo.pcapng"]).succeed(), "600\n");
    t.deepEqual(await tshark(bed, "/tmp/demo.pcapng", ...APART, "-Y", WRONG.join(" || ")), []);
    const rows = await tshark(
      bed,
      "/tmp/demo.pcapng",
      "-Y",
      "tcp.srcport == 80 && tcp.len > 0",
      ...fields("frame.interface_name", "frame.packet_flags_direction", "tcp.len"),
    );
    const bytes = (name: string, direction: number) =>
      rows
        .filter(([a, b]) => a === name && Number(b) === direction)
        .reduce((sum, [, , length]) => sum + Number(length), 0);
    // Out of blue, and into red: the same frames, super-frames too.
    t.true(bytes("blue", 2) >= 3_000_000, `${bytes("blue", 2)}`);
    t.is(bytes("red", 1), bytes("blue", 2));
    t.true(rows.some(([, , length]) => Number(length) > 1460));
  },
);

test.serial("--split shows what a cable would carry; -c ends it; --snaplen keeps the beginning", async (t) => {
  const bed = await Bed.create(t);
  await twoMembers(bed);
  const capture = bed.netns([
    "capture",
    "red",
    "--split",
    "-c",
    "300",
    "--snaplen",
    "100",
    "--filter",
    "tcp and port 80",
    "-w",
    "/tmp/red.pcapng",
  ]);
  await capture.until(/capturing red/, 10_000, "stderr");
  const serve =
    "python3 -c 'import http.server as h; h.ThreadingHTTPServer((\"\",80),h.SimpleHTTPRequestHandler).serve_forever()'";
  await bed
    .netns([
      "exec",
      "blue",
      "--",
      "bash",
      "-c",
      `cd /tmp; head -c 3000000 /dev/zero >zeros; (${serve}) >/dev/null 2>&1 &`,
    ])
    .succeed();
  await bed
    .netns([
      "exec",
      "red",
      "--",
      "curl",
      "-sS",
      "--retry",
      "9",
      "--retry-connrefused",
      "-o",
      "/dev/null",
      "http://blue/zeros",
    ])
    .succeed();
  const { code, stderr } = await capture.exit();
  t.deepEqual([code, stderr.match(/\d+ packets captured/)?.[0]], [0, "300 packets captured"]);
  const rows = await tshark(bed, "/tmp/red.pcapng", ...fields("frame.len", "frame.cap_len"));
  t.is(rows.length, 300);
  t.true(rows.every(([length, kept]) => Number(length) <= 1514 && Number(kept) === Math.min(100, Number(length))));
  t.true(rows.some(([length]) => length === "1514"));
});

test.serial("a reader that stands still loses frames, and the network loses nothing", async (t) => {
  const bed = await Bed.create(t);
  await twoMembers(bed);
  const capture = shell(bed, "netns capture red -w - | (sleep 4; cat >/tmp/late.pcapng)");
  await capture.until(/capturing red/, 10_000, "stderr");
  const serve =
    "python3 -c 'import http.server as h; h.ThreadingHTTPServer((\"\",80),h.SimpleHTTPRequestHandler).serve_forever()'";
  await bed
    .netns([
      "exec",
      "blue",
      "--",
      "bash",
      "-c",
      `cd /tmp; head -c 60000000 /dev/zero >zeros; (${serve}) >/dev/null 2>&1 &`,
    ])
    .succeed();
  const got = await bed
    .netns([
      "exec",
      "red",
      "--",
      "bash",
      "-c",
      "curl -sS --retry 9 --retry-connrefused -m 20 http://blue/zeros | wc -c",
    ])
    .succeed();
  t.is(got, "60000000\n");
  await bed.netns(["rm", "red"]).succeed(); // which ends the capture
  const { code, stderr } = await capture.exit();
  t.is(code, 0);
  t.regex(stderr, /\d+ frames are missing: they came faster than they were read/);
  const rows = await tshark(bed, "/tmp/late.pcapng", ...fields("frame.number"));
  t.is(`${rows.length} packets captured`, stderr.match(/\d+ packets captured/)?.[0] ?? "");
});

test.serial("run --pcap with a name, in a network, and detached: from the first packet to the last", async (t) => {
  const bed = await Bed.create(t);
  await bed.netns(["network", "create", "demo"]).succeed();
  await bed.host(["bash", "-c", "touch /tmp/{one,two,three,four}.pcapng"]).succeed();
  const before = await state(bed);
  const ping = ["ping", "-q", "-c", "3", "-i", "0.1", "10.0.2.2"];
  await bed.run(ping, ["--name", "one", "--pcap", "/tmp/one.pcapng"]).succeed();
  await bed.run(ping, ["--network", "demo", "--name", "two", "--pcap", "/tmp/two.pcapng"]).succeed();
  await bed.run(ping, ["--network", "demo", "--name", "three", "--detach", "--pcap", "/tmp/three.pcapng"]).succeed();
  await bed.run(ping, ["--name", "four", "--detach", "--pcap", "/tmp/four.pcapng"]).succeed();
  for (const name of ["three", "four"]) {
    while ((await bed.netns(["ls", "--quiet"]).succeed()).split("\n").includes(name));
  }
  await bed.host(["bash", "-c", "rm /tmp/netns-rootless/logs/*.log"]).succeed(); // which are meant to stay
  await nothingLeft(bed, before, 5000);
  for (const name of ["one", "two", "three", "four"]) {
    const rows = await tshark(bed, `/tmp/${name}.pcapng`, "-Y", "icmp", ...fields("frame.interface_name", "icmp.type"));
    t.deepEqual(
      rows,
      [1, 2, 3].flatMap(() => [
        [name, "8"],
        [name, "0"],
      ]),
      name,
    );
  }
});

test.serial(
  "run --detach --pcap: one that fails leaves no capture behind, and one that cannot be captured fails",
  async (t) => {
    const bed = await Bed.create(t);
    await bed.netns(["network", "create", "demo"]).succeed();
    await bed.netns(["create", "red", "--network", "demo", "-p", "6000:80"]).succeed();
    await bed.host(["touch", "/tmp/web.pcapng"]).succeed();
    const before = await state(bed);
    const ping = ["ping", "-q", "-c", "3", "-i", "0.1", "10.0.2.2"];
    const create = (port: number) =>
      bed.run(ping, [
        "--detach",
        "--name",
        "web",
        "--network",
        "demo",
        "--pcap",
        "/tmp/web.pcapng",
        "-p",
        `${port}:80`,
      ]);
    // More than may run at once: were one of them left, the last could not be.
    for (let i = 0; i < 33; i++) {
      const failed = await create(6000).exit();
      t.regex(failed.stderr, /6000\/tcp: the port is in use/);
    }
    await create(6001).succeed();
    while ((await bed.netns(["ls", "--quiet"]).succeed()).split("\n").includes("web"));
    await bed.netns(["rm", "web"]).exit();
    await bed.host(["rm", "/tmp/netns-rootless/logs/web.log"]).exit();
    await nothingLeft(bed, before, 5000);
    const rows = await tshark(bed, "/tmp/web.pcapng", "-Y", "icmp", ...fields("frame.interface_name", "icmp.type"));
    t.is(rows.length, 6);
    const many = `
import array, json, os, socket, time
server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); server.connect("/tmp/netns-rootless/network-demo.sock")
null = array.array("i", [os.open("/dev/null", os.O_WRONLY)])
for id in range(32):
    server.sendmsg([json.dumps({"id": id, "op": "capture", "name": None}).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, null)])
    assert json.loads(server.recv(65536)) == {"id": id, "part": {"capturing": True}}
print("up", flush=True); time.sleep(60)`;
    await bed.host(["python3", "-c", many]).until(/up/);
    const refused = await create(6001).exit();
    t.is(refused.code, 125);
    t.regex(refused.stderr, /^netns-rootless: there are 32 captures of this network already; end one of them\n$/);
    t.is(await bed.netns(["ls", "--quiet"]).succeed(), "red\n");
  },
);

test.serial("what cannot be captured is told", async (t) => {
  const bed = await Bed.create(t);
  await bed.host(["sh", "-c", "echo older >/tmp/older.pcapng"]).succeed();
  t.is((await bed.netns(["capture", "nobody", "-w", "/tmp/older.pcapng"]).exit()).code, 2);
  t.is(await bed.host(["cat", "/tmp/older.pcapng"]).succeed(), "older\n", "a file is not emptied for nothing");
  await twoMembers(bed);
  const wrong = async (args: string[], code: number, message: RegExp) => {
    const outcome = await shell(bed, `netns capture ${args.join(" ")} </dev/null | cat; exit \${PIPESTATUS[0]}`).exit();
    t.is(outcome.code, code, outcome.stderr);
    t.regex(outcome.stderr, message);
    t.is(outcome.stderr.match(/\n/g)?.length, 1, outcome.stderr);
  };
  await wrong(["rad"], 2, /^netns-rootless: no sandbox is called rad: did you mean red\?/);
  await wrong(["--network", "demi"], 2, /^netns-rootless: no network is called demi/);
  await wrong([], 2, /^netns-rootless: capture: expected the name of a sandbox, or --network NET/);
  await wrong(
    ["red", "--network", "demo"],
    2,
    /^netns-rootless: capture: expected the name of a sandbox, or --network NET/,
  );
  await wrong(["red", "--filter", "'port x'"], 2, /^netns-rootless: the filter "port x" has "x" where a port/);
  await wrong(["red", "-c", "0"], 2, /^netns-rootless: --count 0: expected a whole number/);
  await wrong(["red", "-w", "/proc/none"], 2, /^netns-rootless: --write \/proc\/none: cannot be written/);
  const terminal = await bed.host(["script", "-qec", `${MAIN.join(" ")} capture red`, "/dev/null"]).exit();
  t.regex(terminal.stdout, /capture: a terminal cannot show packets; .*tshark -i -/);
});
