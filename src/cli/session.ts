/**
 * A network and a sandbox in it, opened together and ended together: what `run`, `attach` and the API have in common.
 *
 * Theory of operation. The published ports are bound and the namespace is made at the same time, since each takes a while;
 * if either fails the other is undone, and nothing has started. At the end what the sandbox sent is given time to leave
 * (`drain`), then the network ends, then the namespace with everything in it. The launcher is started first of all, and the
 * network's code is loaded while it makes the namespace.
 */
import { hostname as hostName } from "node:os";
import type { NetworkConfig, OpenNetwork } from "../network/network.js";
import type { Log } from "../policy/config.js";
import { SILENT_LOG } from "../policy/config.js";
import { resolverSettings } from "../sandbox/files.js";
import type { InsideNetwork, InsideSubnet, Sandbox } from "../sandbox/sandbox.js";
import { formatAddress } from "../wire/address.js";
import { type Cidr, DEFAULT_CIDR, type NetworkSettings, parseCidr } from "./options.js";

export interface Session {
  readonly network: OpenNetwork;
  readonly sandbox: Sandbox;
  /**
   * Ends both.
   * @param drainMs how long what the sandbox sent may take to leave, 0: not at all
   * @param hurry when this settles first, the rest of it is dropped
   */
  end(drainMs: number, hurry?: Promise<unknown>): Promise<void>;
}

/** What the inside of the namespace has to be like. */
export function insideNetwork(settings: NetworkSettings): InsideNetwork {
  return {
    ifname: settings.ifname,
    mac: settings.mac,
    mtu: settings.mtu,
    v4: insideSubnet(settings.v4),
    v6: insideSubnet(settings.v6),
    congestion: settings.congestion,
    queues: settings.shards,
  };
}

function insideSubnet(cidr: Cidr | null): InsideSubnet | null {
  if (cidr === null) return null;
  return { address: formatAddress(cidr.sandbox), prefix: cidr.prefix, gateway: formatAddress(cidr.gateway) };
}

/** Rejects with a NetnsError of the network's or of the sandbox's; then neither is left. */
export async function openSession(
  settings: NetworkSettings,
  openSandbox: (inside: InsideNetwork) => Promise<Sandbox>,
  log: Log = SILENT_LOG,
  rested?: () => void,
): Promise<Session> {
  for (const warning of settings.warnings) log.warn(warning);
  const cidr = settings.v4 ?? parseCidr(DEFAULT_CIDR);
  const [sandbox, network] = await Promise.allSettled([
    openSandbox(insideNetwork(settings)),
    openNetwork({
      cidr,
      mtu: settings.mtu,
      gateway: cidr.gateway,
      dns: cidr.dns,
      sandbox: cidr.sandbox,
      ipv4: settings.v4 !== null,
      v6: settings.v6,
      upstreams: settings.upstreams,
      serveDns: settings.serveDns,
      search: resolverSettings(settings.search).search,
      hostLoopback: settings.hostLoopback,
      outboundAddress: settings.outboundAddress,
      outboundAddress6: settings.outboundAddress6,
      publish: settings.publish,
      hostname: settings.hostname ?? hostName(),
      congestion: settings.congestion,
      shards: settings.shards,
      log,
      ...(rested && { rested }),
    }),
  ]);
  if (network.status === "rejected") {
    if (sandbox.status === "fulfilled") await sandbox.value.release();
    throw network.reason;
  }
  if (sandbox.status === "rejected") {
    await network.value.close();
    throw sandbox.reason;
  }
  return joined(network.value, sandbox.value, log);
}

async function openNetwork(config: NetworkConfig): Promise<OpenNetwork> {
  if (config.shards > 1) {
    const { ShardedNetwork } = await import("../network/shards.js");
    return ShardedNetwork.open(config);
  }
  const { Network } = await import("../network/network.js");
  return Network.open(config);
}

async function joined(network: OpenNetwork, sandbox: Sandbox, log: Log): Promise<Session> {
  // Whoever waits for these hears of them; a rejection after that is of no interest.
  network.failed.catch(() => {});
  sandbox.exited.catch(() => {});
  for (const note of sandbox.notes) log.info(note);
  await network.join(sandbox);
  return {
    network,
    sandbox,
    async end(drainMs, hurry) {
      try {
        if (drainMs > 0) await Promise.race([network.drain(drainMs), network.failed, ...(hurry ? [hurry] : [])]);
      } finally {
        await network.close();
        await sandbox.release();
      }
    },
  };
}
