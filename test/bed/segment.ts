/**
 * A program for the bed: several sandboxes on one network, in one process, without the command line's part in it.
 *
 *     node segment.js NAME=SCRIPT... [+isolated NAME]
 *
 * All have joined before the first SCRIPT (bash) is started. On standard input it takes a line each: `publish NAME HOST INSIDE`
 * (TCP), `unpublish NAME HOST`, `leave NAME`; the answer is `done LINE`. It says `NAME ended CODE` for each, and when all have
 * ended, what the network counted.
 */
import { createInterface } from "node:readline";
import { type NetworkSettings, networkSettings } from "../../src/cli/options.js";
import { launchCommand } from "../../src/cli/run.js";
import { insideNetwork } from "../../src/cli/session.js";
import type { Member } from "../../src/network/member.js";
import { Network } from "../../src/network/network.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import type { InsideNetwork, InsideSubnet, Sandbox } from "../../src/sandbox/sandbox.js";
import { type Address, formatAddress } from "../../src/wire/address.js";

const DRAIN_MS = 5000;

function openNetwork(settings: NetworkSettings): Promise<Network> {
  const { v4, v6 } = settings;
  if (v4 === null) throw new Error("a network without IPv4");
  return Network.open({
    ...{ cidr: v4, gateway: v4.gateway, dns: v4.dns, sandbox: v4.sandbox, ipv4: true, v6 },
    ...{ mtu: settings.mtu, name: "lab", solo: false, upstreams: settings.upstreams, serveDns: true, search: [] },
    ...{ hostLoopback: settings.hostLoopback, outboundAddress: null, outboundAddress6: null },
    ...{ congestion: settings.congestion, log: SILENT_LOG },
  });
}

/** The inside of a member: as of a sandbox alone, with the address that it leased. */
function inside(settings: NetworkSettings, v4: Address | null, v6: Address | null): InsideNetwork {
  const own = (subnet: InsideSubnet | null, address: Address | null) =>
    subnet && address && { ...subnet, address: formatAddress(address) };
  const alone = insideNetwork(settings);
  return { ...alone, v4: own(alone.v4, v4), v6: own(alone.v6, v6) };
}

const scripts = new Map<string, string>();
const isolated = new Set<string>();
for (let words = process.argv.slice(2); words.length > 0; words = words.slice(1)) {
  const [name = "", ...script] = (words[0] ?? "").split("=");
  if (name === "+isolated") {
    isolated.add(words[1] ?? "");
    words = words.slice(1);
  } else scripts.set(name, script.join("="));
}

const network = await openNetwork(networkSettings({}));
const sandboxes = new Map<string, { sandbox: Sandbox; member: Member }>();
await Promise.all(
  [...scripts].map(async ([name, script]) => {
    const lease = network.lease();
    const settings = networkSettings({ hostname: name });
    const sandbox = await launchCommand(
      ["bash", "-c", script],
      settings,
      { root: true },
      inside(settings, lease.v4, lease.v6),
    );
    const member = await network.join(sandbox, { name, lease, isolate: isolated.has(name) });
    sandboxes.set(name, { sandbox, member });
  }),
);
console.log("all are there");
for (const { sandbox } of sandboxes.values()) sandbox.start();

createInterface({ input: process.stdin }).on("line", async (line) => {
  const [verb, name = "", host, insidePort] = line.split(" ");
  const { member } = sandboxes.get(name) ?? {};
  if (member === undefined) throw new Error(`no member ${name}`);
  const published = member.published.find(({ port }) => port === Number(host));
  if (verb === "publish") {
    member.addPort({ protocol: "tcp", host: null, hostPort: Number(host), insidePort: Number(insidePort) });
  } else if (verb === "unpublish" && published !== undefined) await member.removePort(published);
  else if (verb === "leave") await member.leave();
  else throw new Error(`what is ${line}?`);
  console.log(`done ${line}`);
});

await Promise.all(
  [...sandboxes].map(async ([name, { sandbox, member }]) => {
    const { code, signal } = await sandbox.exited;
    console.log(`${name} ended ${code ?? `by signal ${signal}`}`);
    await member.drain(DRAIN_MS);
    await member.leave();
    await sandbox.release();
  }),
);
console.log(JSON.stringify(network.counters()));
await network.close();
process.exit(0);
