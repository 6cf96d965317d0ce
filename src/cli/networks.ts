/** `network create`, `ls`, `rm` and `inspect`: networks that several sandboxes share. */
import { connectServer, findNetwork, inventory, unlinkIfThere } from "../control/directory.js";
import type { NetworkInfo } from "../control/messages.js";
import { checkName } from "../control/names.js";
import { requestSandboxes } from "../control/parts.js";
import { runtimeDirectory } from "../control/runtime.js";
import { NetnsError } from "../errors.js";
import { tellSilent } from "./list.js";
import { age, table } from "./listing.js";
import { tell } from "./log.js";
import { networkWishes, startServer } from "./named.js";
import { type NetworkWishes, networkSettings, parseProxyPlace } from "./options.js";
import { print } from "./output.js";
import { type VxlanWishes, vxlanMtu, vxlanSettings } from "./vxlan.js";

/** Options of commands that make a network, by their names in commander, which mean nothing to a network without a sandbox. */
const OF_A_SANDBOX = { publish: "--publish", hostIp: "--host-ip", ifname: "--ifname", mac: "--mac" };
const OF_NEITHER = { shards: "--shards", verbose: "--verbose", logFile: "--log-file" };
/** What an IPv4 packet that carries a frame leaves for the packet in it. */
const MOST_MTU = 65_485;

/** @param given the options that were written on the command line */
export async function createNetwork(
  name: string,
  wishes: NetworkWishes & VxlanWishes,
  given: ReadonlySet<string>,
): Promise<number> {
  checkName("network create", name);
  for (const [key, option] of Object.entries(OF_A_SANDBOX)) {
    if (given.has(key)) {
      throw new NetnsError(
        "USAGE",
        `${option}: belongs to a sandbox, not to a network; leave it out, and give it to create`,
      );
    }
  }
  for (const [key, option] of Object.entries(OF_NEITHER)) {
    if (given.has(key)) {
      throw new NetnsError(
        "USAGE",
        `${option}: a network that stays has no such thing; leave it out, and see network inspect`,
      );
    }
  }
  const { vxlan, remote, vxlanPort } = wishes;
  const tunnel = vxlanSettings(wishes);
  if (tunnel && Number(wishes.mtu ?? 0) > MOST_MTU) {
    throw new NetnsError("USAGE", `--mtu ${wishes.mtu}: with --vxlan at most ${MOST_MTU} fit a datagram`);
  }
  const own = {
    ...networkWishes(wishes),
    ...(tunnel && { vxlan, remote, vxlanPort }),
    ...(tunnel && !given.has("mtu") && { mtu: vxlanMtu(tunnel) }),
  };
  for (const warning of networkSettings(own).warnings) tell(warning);
  const runtime = runtimeDirectory();
  await runtime.locked(async () => {
    const there = await connectServer(runtime, "network", name, { isLocked: true });
    if (there !== null) {
      there.close();
      throw new NetnsError(
        "NAME_BUSY",
        `a network called ${name} is there already: choose another name, or netns-rootless network rm ${name}`,
      );
    }
    const client = await startServer(runtime, "network", name, true, own);
    client.close();
  });
  print(`${name}\n`);
  return 0;
}

export async function listNetworks(options: { json?: boolean | undefined }): Promise<number> {
  const { found, silent } = await inventory(runtimeDirectory());
  const networks = found.filter(({ kind }) => kind === "network").map(({ network }) => network);
  if (options.json) {
    print(`${JSON.stringify(networks.map(withoutCounters), null, 2)}\n`);
  } else {
    const rows = networks.map(({ name, subnets, members, stays, since }) => [
      name,
      subnets.map(({ subnet }) => subnet).join(" "),
      String(members),
      stays ? "yes" : "no",
      age(since),
    ]);
    print(table(["NAME", "SUBNETS", "MEMBERS", "STAYS", "UP"], rows));
  }
  tellSilent(silent.filter(({ kind }) => kind === "network"));
  return 0;
}

export async function inspectNetwork(name: string): Promise<number> {
  const client = await findNetwork(runtimeDirectory(), name);
  const { answer, sandboxes } = await requestSandboxes(client, "info");
  client.close();
  print(`${JSON.stringify({ ...(answer as NetworkInfo), members: sandboxes }, null, 2)}\n`); // by server.ts
  return 0;
}

export async function removeNetworks(
  names: readonly string[],
  options: { force?: boolean | undefined },
): Promise<number> {
  const runtime = runtimeDirectory();
  let code = 0;
  for (const name of names) {
    try {
      const client = await findNetwork(runtime, name);
      const { sandboxes: members } = await requestSandboxes(client, "info");
      await client.request("end", { force: options.force === true }).catch((error: unknown) => {
        // It may end sooner than it answers.
        if (!(error instanceof NetnsError && error.code === "INTERNAL")) throw error;
      });
      await client.ended;
      for (const member of members) unlinkIfThere(runtime.log(member.name));
      print(`${name}\n`);
    } catch (error) {
      if (!(error instanceof NetnsError)) throw error;
      tell(error.message);
      code = Math.max(code, error.exitCode);
    }
  }
  return code;
}

/** Opens a SOCKS 5 proxy that leads to the members, for as long as the network is there, and prints where it listens. */
export async function openProxy(name: string, place: string | undefined): Promise<number> {
  parseProxyPlace(place);
  const client = await findNetwork(runtimeDirectory(), name);
  try {
    const { at } = (await client.request("proxy", { place: place ?? null })) as { at: string }; // by server.ts
    print(`${at}\n`);
  } finally {
    client.close();
  }
  return 0;
}

function withoutCounters({ counters: _, claims: __, ...network }: NetworkInfo): object {
  return network;
}
