/** TAP devices that somebody else made, with and without a virtio header, in a namespace of their own. */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import test, { type ExecutionContext } from "ava";
import { NetnsError } from "../../src/errors.js";
import { prepareTap } from "../../src/link/tap.js";
import { native } from "../../src/native/binding.js";
import { SoloNetwork } from "../../src/network/solo.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import { parseAddress } from "../../src/wire/address.js";
import { PROGRAMS } from "../bed/bed.js";

type Kind = "plain" | "header" | "tun";

/** A namespace with a TAP (tap.py): its descriptor, and a way to run one script there. */
async function device(t: ExecutionContext, kind: Kind) {
  const received: { mac: Uint8Array; fd: number }[] = [];
  let told = () => {};
  const channel = native().openChannel(
    (bytes, [fd]) => {
      received.push({ mac: Uint8Array.from(bytes), fd });
      told();
    },
    () => {},
  );
  const child = spawn(
    "unshare",
    ["--user", "--map-root-user", "--net", "--kill-child", "--fork", "python3", `${PROGRAMS}/tap.py`, kind],
    { stdio: ["pipe", "pipe", "inherit", channel.peer] },
  );
  native().closeFd(channel.peer);
  t.teardown(() => {
    child.kill("SIGKILL");
    channel.close();
  });
  if (received.length === 0) await new Promise<void>((resolve) => (told = resolve));
  const run = async (script: string): Promise<string> => {
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stdin?.end(`\n${script}\n`);
    await once(child, "close");
    return output;
  };
  return { ...received[0], run };
}

for (const kind of ["plain", "header"] as const) {
  test(`a TAP that came as a descriptor, ${kind}: TCP, UDP and fragments there and back, byte for byte`, async (t) => {
    const tcp = createServer((socket) => socket.pipe(socket)).listen(0, "127.0.0.1");
    const udp = createSocket("udp4", (bytes, { port, address }) => udp.send(bytes, port, address)).bind(0, "127.0.0.1");
    await Promise.all([once(tcp, "listening"), once(udp, "listening")]);
    t.teardown(() => {
      tcp.close();
      udp.close();
    });
    const { fd, mac, run } = await device(t, kind);
    const offloads = prepareTap(fd);
    t.is(offloads.plain, kind === "plain");
    const network = await SoloNetwork.open({
      cidr: { network: parseAddress("10.0.2.0"), prefix: 24 },
      mtu: 1500,
      gateway: parseAddress("10.0.2.2"),
      dns: parseAddress("10.0.2.3"),
      sandbox: parseAddress("10.0.2.100"),
      ipv4: true,
      v6: null,
      upstreams: [],
      serveDns: false,
      search: [],
      hostLoopback: "open",
      outboundAddress: null,
      outboundAddress6: null,
      publish: [],
      hostname: "box",
      congestion: [],
      shards: 1,
      log: SILENT_LOG,
    });
    t.teardown(() => network.close());
    await network.join({
      taps: [fd],
      mac,
      offloads,
      socket: () => Promise.reject(new Error("none")),
      discard: () => {},
    });
    const ports = [(tcp.address() as AddressInfo).port, 10_000_000, udp.address().port];
    const output = await run(`ping -c 2 -i 0.2 -q 10.0.2.2
      ping -c 1 -s 5000 -q 10.0.2.2
      python3 ${PROGRAMS}/there_and_back.py 10.0.2.2 ${ports.join(" ")} 1 1400 1472 1473 9000 65507
      awk '/tap0/ { print $3; print $4 }' /proc/net/dev`);
    t.is(output.match(/^same$/gm)?.length, 7, output);
    t.is(output.match(/ 0% packet loss/g)?.length, 2, output);
    const [packets, errors] = output.trim().split("\n").slice(-2).map(Number);
    t.is(errors, 0);
    // Without offloads no frame is longer than the MTU; with them, one write carries many segments.
    t.is(packets > 10_000_000 / 1500, kind === "plain", `${packets} packets`);
    t.deepEqual(
      Object.entries(network.counters()).filter(([name, value]) => /^plain\.|write_drops/.test(name) && value > 0),
      [],
    );
  });
}

test("a TUN is refused", async (t) => {
  const { fd } = await device(t, "tun");
  t.throws(() => prepareTap(fd), { instanceOf: NetnsError, message: /is not a TAP device that can be used/ });
  native().closeFd(fd);
});
