import { readSync } from "node:fs";
import { connect } from "node:net";
import test from "ava";
import { native } from "../../src/native/binding.js";
import type { SoloConfig } from "../../src/network/config.js";
import { SoloNetwork } from "../../src/network/solo.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import type { Sandbox } from "../../src/sandbox/sandbox.js";
import { parseAddress } from "../../src/wire/address.js";
import { BROADCAST_MAC, icmp6ChecksumValid, ip4, ip6, OUR_MAC, parse } from "../simulation/frames.js";

const OFFLOADS = { tso4: true, tso6: true, uso: true };

function config(): SoloConfig {
  const loopback = parseAddress("127.0.0.1");
  return {
    cidr: { network: parseAddress("10.0.2.0"), prefix: 24 },
    mtu: 1500,
    gateway: parseAddress("10.0.2.2"),
    dns: parseAddress("10.0.2.3"),
    sandbox: parseAddress("10.0.2.100"),
    ipv4: true,
    v6: null,
    upstreams: [],
    serveDns: true,
    search: [],
    hostLoopback: "closed",
    outboundAddress: null,
    outboundAddress6: null,
    publish: [{ protocol: "tcp", host: loopback, hostPort: 0, insidePort: 80 }],
    hostname: "box",
    congestion: [],
    shards: 1,
    log: SILENT_LOG,
  };
}

/** A network with one published port, and a sandbox that is nothing but a descriptor: a test answers for its sockets. */
async function joined() {
  const network = await SoloNetwork.open(config());
  const channel = native().openChannel(
    () => {},
    () => {},
  );
  const asked: { resolve: (fd: number) => void; reject: (error: Error) => void }[] = [];
  const discarded: number[] = [];
  let told = () => {};
  const sandbox: Sandbox = {
    taps: [channel.peer],
    broker: -1,
    mac: Uint8Array.of(2, 1, 2, 3, 4, 5),
    offloads: OFFLOADS,
    notes: [],
    init: null,
    output: null,
    exited: new Promise(() => {}),
    start: () => {},
    socket: () =>
      new Promise<number>((resolve, reject) => {
        asked.push({ resolve, reject });
        told();
      }),
    diagnosticSocket: () => Promise.reject(new Error("none")),
    discard: (fd) => discarded.push(fd),
    signal: () => {},
    release: async () => {},
  };
  network.join(sandbox);
  const knock = () =>
    new Promise<void>((resolve) => {
      told = resolve;
      connect(network.published[0].port, "127.0.0.1").on("error", () => {});
    });
  return { network, channel, asked, discarded, knock };
}

test("sockets inside that were asked for and come, or do not come, after the end disturb nobody", async (t) => {
  const { network, channel, asked, discarded, knock } = await joined();
  await knock();
  await knock();
  network.close();
  channel.close();
  asked[0].reject(new Error("the sandbox has ended"));
  asked[1].resolve(12345);
  await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(discarded, [12345]);
});

test("draining a network that was closed is over at once", async (t) => {
  const { network, channel } = await joined();
  network.close();
  channel.close();
  await t.notThrowsAsync(network.drain(10_000));
});

/** What a sandbox hears until it may start. */
async function announced(changed: Partial<SoloConfig>) {
  const network = await SoloNetwork.open({ ...config(), publish: [], ...changed });
  const [tap, inside] = native().openPair();
  await network.join({
    taps: [tap],
    mac: Uint8Array.of(2, 1, 2, 3, 4, 5),
    offloads: OFFLOADS,
    socket: () => Promise.reject(new Error("none")),
    discard: () => {},
  });
  const frames: Uint8Array[] = [];
  for (const buffer = new Uint8Array(2048); ; ) {
    try {
      frames.push(buffer.slice(0, readSync(inside, buffer)));
    } catch {
      break; // no more now
    }
  }
  await network.close();
  native().closeFd(inside);
  return frames;
}

const V6 = {
  network: parseAddress("fd00::"),
  prefix: 64,
  sandbox: parseAddress("fd00::100"),
  gateway: parseAddress("fd00::2"),
  dns: parseAddress("fd00::3"),
};
const ETHERNET = 12;
const ARP = ETHERNET + 14;

test.serial(
  "before a sandbox starts, it is asked for its address by gateway and DNS, and so knows theirs (RFC 826)",
  async (t) => {
    const frames = await announced({});
    t.deepEqual(
      frames.map((frame) => [...frame.subarray(ETHERNET)]),
      ["10.0.2.2", "10.0.2.3"].map((sender) => [
        ...[...BROADCAST_MAC, ...OUR_MAC, 0x08, 0x06],
        ...[0, 1, 8, 0, 6, 4, 0, 1, ...OUR_MAC, ...ip4(sender), 0, 0, 0, 0, 0, 0, ...ip4("10.0.2.100")],
      ]),
    );
  },
);

test.serial("by IPv6 it is solicited, with the source's link-layer address (RFC 4861, 4.3)", async (t) => {
  const frames = (await announced({ ipv4: false, v6: V6 })).map(parse);
  t.deepEqual(
    frames.map(({ to, source, destination, ttl }) => [to, source, destination, ttl]),
    ["fd00::2", "fd00::3"].map((source) => ["33:33:ff:00:01:00", source, "ff02::1:ff00:100", 255]),
  );
  for (const { source, destination, payload } of frames) {
    t.deepEqual([...payload.subarray(0, 2)], [135, 0]);
    t.deepEqual([...payload.subarray(4)], [0, 0, 0, 0, ...ip6("fd00::100"), 1, 1, ...OUR_MAC]);
    t.true(icmp6ChecksumValid(source, destination, payload));
  }
});

test.serial("an address that nobody answers at, and a family that is off, are not announced", async (t) => {
  const asked = await announced({ serveDns: false, v6: V6 });
  t.deepEqual(
    asked.map((frame) => (frame[ARP - 2] === 0x08 ? [...frame.subarray(ARP + 14, ARP + 18)] : parse(frame).source)),
    [ip4("10.0.2.2"), "fd00::2"],
  );
});
