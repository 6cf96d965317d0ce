/**
 * What enters and leaves a sandbox, as a dissector sees it: no bad checksum, nothing malformed, nothing against a protocol.
 * tshark has a word of its own for what is remarkable in a TCP connection (a reset, a full window): that is no mistake.
 */
import test from "ava";
import { Bed, bracketed, PROGRAMS, WORLDS } from "../bed/bed.js";
import { echoServer, nameServer, webServer } from "../bed/services.js";

const CAPTURE = "/tmp/capture.pcap";
const WITH_CHECKSUMS = ["ip", "tcp", "udp", "icmp", "icmpv6"];
/** tshark leaves these alone unless it is told. */
const CHECKING = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
const WRONG = [
  ...WITH_CHECKSUMS.map((protocol) => `${protocol}.checksum.status == "Bad"`),
  "_ws.malformed",
  '(_ws.expert && !(_ws.expert.group == "Sequence"))',
];
/** What has to be in the capture for it to say something. */
const KINDS = [
  ...WITH_CHECKSUMS.map((protocol) => `${protocol}.checksum.status == "Good"`),
  ...["arp", "dhcp", "dns && udp", "dns && tcp", "tcp.flags.reset == 1"],
  ...["ip && ip.flags.mf == 1 && ip.src != 10.0.2.100", "ip && ip.flags.mf == 1 && ip.src == 10.0.2.100"],
  ...["ipv6.fraghdr && ipv6.src != fd00::100", "ipv6.fraghdr && ipv6.src == fd00::100"],
  ...["icmp.type == 0", "icmp.type == 3", "icmpv6.type == 129", "icmpv6.type == 1", "icmpv6.type == 136"],
];

test.serial("a capture of TCP, UDP, ping, DNS, DHCP, errors and fragments shows no mistake", async (t) => {
  const bed = await Bed.create(t);
  await nameServer(bed);
  await echoServer(bed, "internet", 7000, ...WORLDS.map(({ web }) => web));
  for (const { web } of WORLDS) await webServer(bed, "internet", web);
  const scenario = WORLDS.map(
    ({ family, web, gateway, unreachable, sandboxDns }) => `
    for address in ${gateway} ${web}; do for size in 10 1472 4001; do ping -q -c1 -W2 -s $size $address; done; done
    curl -sS -o /tmp/bytes http://${bracketed(web)}/bytes/500000
    sha256sum </tmp/bytes; curl -sS -T /tmp/bytes http://${bracketed(web)}/
    for size in 1 1400 3001 60000; do python3 ${PROGRAMS}/datagrams.py 7000 $size ${web}; done
    echo nobody >/dev/udp/${web}/9
    python3 ${PROGRAMS}/connect.py ${web} 9
    python3 ${PROGRAMS}/connect.py ${unreachable} 80
    dig +tries=1 @${sandboxDns} dual.bed.test ${family === 6 ? "AAAA" : "A"} +short
    dig +tries=1 @${sandboxDns} big.bed.test TXT +tcp +short | wc -c
    dig +tries=1 @${sandboxDns} big.bed.test TXT +bufsize=8192 +ignore +short | wc -c`,
  );
  const dhcp = "udhcpc -f -n -q -t2 -T1 -i wire -s /bin/true";
  const command = ["bash", `${PROGRAMS}/captured.sh`, CAPTURE, [...scenario, dhcp].join("\n")];
  const output = await bed.run(command, ["--root"]).succeed();
  t.is(output.match(/1 received/g)?.length, 12, output);
  t.is(output.match(/^ok /gm)?.length, 8, output);
  t.is(new Set(output.match(/^[0-9a-f]{64}/gm)).size, 1, output);
  const tshark = (...args: string[]) => bed.host(["tshark", "-n", "-r", CAPTURE, ...CHECKING, ...args]).succeed();
  // Linux itself writes 0xffff where the sum is zero (RFC 1624 has it so), which is no other sum.
  const wrong = tshark("-Y", `(${WRONG.join(" || ")}) && !tcp.checksum.ffff`);
  const statistics = tshark("-q", "-z", `io,stat,0,${KINDS.join(",")}`);
  t.is(await wrong, "");
  // One row: the interval, then the frames and bytes of each kind.
  const row = (await statistics).split("\n").find((line) => line.includes("<>")) ?? "";
  const frames = row
    .split("|")
    .slice(2, -1)
    .filter((_, index) => index % 2 === 0)
    .map(Number);
  t.is(frames.length, KINDS.length, row);
  t.deepEqual(
    KINDS.filter((_, index) => !(frames[index] > 0)),
    [],
  );
});
