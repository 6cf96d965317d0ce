import { connect } from "node:net";
import test from "ava";
import { native } from "../../src/native/binding.js";
import { Network } from "../../src/network/network.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import type { Sandbox } from "../../src/sandbox/sandbox.js";
import { parseAddress } from "../../src/wire/address.js";

/** A network with one published port, and a sandbox that is nothing but a descriptor: a test answers for its sockets. */
async function joined() {
  const loopback = parseAddress("127.0.0.1");
  const network = await Network.open({
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
  });
  const channel = native().openChannel(
    () => {},
    () => {},
  );
  const asked: { resolve: (fd: number) => void; reject: (error: Error) => void }[] = [];
  const discarded: number[] = [];
  let told = () => {};
  const sandbox: Sandbox = {
    taps: [channel.peer],
    mac: Uint8Array.of(2, 1, 2, 3, 4, 5),
    offloads: { tso4: true, tso6: true, uso: true },
    notes: [],
    exited: new Promise(() => {}),
    start: () => {},
    socket: () =>
      new Promise<number>((resolve, reject) => {
        asked.push({ resolve, reject });
        told();
      }),
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
