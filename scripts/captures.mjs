/**
 * Judges captures (NETNS_ROOTLESS_TEST_CAPTURE, test/bed/capture.ts): no bad checksum, nothing malformed, nothing that tshark's experts
 * object to. Their remarks about the course of a connection (a reset, a full window, a small TTL) are no objections. What the programs of the tests
 * say to each other is left alone: tshark would take it for one protocol or another by its port, and find it malformed.
 */
import { execFile } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";

/** What is ours to get right, and what it stands in. */
const PROTOCOLS =
  /^(frame|eth|ethertype|arp|ip|ip\.option.*|ipv6|ipv6\..*|icmp|icmpv6|icmpv6\..*|igmp|tcp|tcp\..*|udp|dns|dhcp|dhcpv6|data|_ws\..*)$/;
const WITH_CHECKSUMS = ["ip", "tcp", "udp", "icmp", "icmpv6"];
/** tshark leaves these alone unless it is told. */
const CHECKING = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
const BAD = WITH_CHECKSUMS.map((protocol) => `${protocol}.checksum.status == "Bad"`).join(" || ");
/** traceroute sends its probes to the port of DNS as well: only what is said to or by our own resolver is ours. */
const NOT_DNS = "(udp.dstport == 53 && !(ip.addr == 10.0.2.3 || ipv6.addr == fd00::3))";
const OBJECTED = '(_ws.malformed || (_ws.expert && !(_ws.expert.group == "Sequence")))';
/** Linux itself writes 0xffff where the sum is zero (RFC 1624 has it so), which is no other sum. */
const WRONG = `(${BAD} || (${OBJECTED} && !${NOT_DNS})) && !tcp.checksum.ffff`;
/** What has to be in the captures for them to say something; both ways, where it goes both ways. */
const KINDS = [
  ...WITH_CHECKSUMS.map((protocol) => `${protocol}.checksum.status == "Good"`),
  ...["arp", "dns && udp", "dns && tcp", "tcp.flags.reset == 1", "tcp.len > 1000 && ip.dst == 10.0.2.100"],
  ...["tcp.len > 1000 && ipv6.dst == fd00::100", "tcp.len > 1000 && ip.src == 10.0.2.100"],
  ...["tcp.len > 1000 && ipv6.src == fd00::100", "ip && ip.flags.mf == 1 && ip.src != 10.0.2.100"],
  ...["ip && ip.flags.mf == 1 && ip.src == 10.0.2.100", "ipv6.fraghdr && ipv6.src != fd00::100"],
  ...["ipv6.fraghdr && ipv6.src == fd00::100", "icmp.type == 0", "icmp.type == 3", "icmp.type == 11"],
  ...["icmpv6.type == 129", "icmpv6.type == 1", "icmpv6.type == 2", "icmpv6.type == 3"],
];
/** How many are looked at at once, since tshark takes a second to begin. */
const AT_ONCE = 2;

/** Runs a program, and gives what it prints. A capture whose end is cut off is read as far as it goes. */
function run(program, args, env = {}) {
  return new Promise((resolve, reject) => {
    const options = { maxBuffer: 1 << 26, env: { ...process.env, ...env } };
    execFile(program, args, options, (error, stdout, stderr) => {
      if (error === null || /cut short/.test(stderr)) resolve(stdout);
      else reject(new Error(`${error.message}${stderr}`));
    });
  });
}

/** Judges the captures of a directory, prints what is wrong, and returns whether nothing is. */
export async function judge(directory) {
  const protocols = (await run("tshark", ["-G", "protocols"])).split("\n").map((line) => line.split("\t")[2] ?? "");
  const others = protocols.filter((name) => name !== "" && !PROTOCOLS.test(name));
  writeFileSync(path.join(directory, "disabled_protos"), `${others.join("\n")}\n`);
  const tshark = (file, ...args) =>
    run("tshark", ["-n", "-r", file, ...CHECKING, ...args], { WIRESHARK_CONFIG_DIR: directory });
  /** Frames in all, and that each filter finds. */
  const count = async (file, filters) => {
    const output = await tshark(file, "-q", "-z", ["io,stat,0", "", ...filters].join(","));
    // One row: the interval, then frames and bytes for each filter.
    const row = output.split("\n").find((line) => line.includes("<>"));
    const cells = (row ?? "").split("|").slice(2, -1);
    return row === undefined ? [0, ...filters.map(() => 0)] : cells.filter((_, i) => i % 2 === 0).map(Number);
  };

  // The captures of one test file (their names begin with its process) follow each other in one, since tshark takes most of a second to begin.
  const captures = readdirSync(directory).filter((name) => name.endsWith(".pcap"));
  const groups = [...new Set(captures.map((name) => name.split("-")[0]))];
  const found = KINDS.map(() => 0);
  const queue = groups.slice();
  let frames = 0;
  let isRight = captures.length > 0;
  const work = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const parts = captures.filter((each) => each.startsWith(`${name}-`)).map((each) => path.join(directory, each));
      const whole = path.join(directory, `${name}.whole`);
      await run("mergecap", ["-a", "-F", "pcap", "-w", whole, ...parts]);
      const [all, wrong, ...kinds] = await count(whole, [WRONG, ...KINDS]);
      frames += all;
      for (const [index, number] of kinds.entries()) found[index] += number;
      if (wrong === 0) continue;
      isRight = false;
      const what = await tshark(
        whole,
        "-Y",
        WRONG,
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "_ws.col.Info",
        "-e",
        "_ws.expert.message",
      );
      console.log(`# ${whole}: ${wrong} of ${all} frames are wrong\n${what.slice(0, 4000).replace(/^/gm, "#   ")}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  const missing = KINDS.filter((_, index) => !(found[index] > 0));
  if (missing.length > 0) console.log(`# the captures have none of these: ${missing.join("; ")}`);
  console.log(`# ${frames} frames of ${captures.length} sandboxes`);
  return isRight && missing.length === 0;
}
