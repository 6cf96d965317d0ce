/**
 * A network and a sandbox in it, opened together and ended together: what `run`, `attach` and the API have in common.
 *
 * Theory of operation. The published ports are bound and the namespace is made at the same time, since each takes a while;
 * if either fails the other is undone, and nothing has started. At the end what the sandbox sent is given time to leave
 * (`drain`), then the network ends, then the namespace with everything in it. The launcher is started first of all, and the
 * network's code is loaded while it makes the namespace.
 */
import { hostname as hostName } from "node:os";
import type { NetworkConfig, SoloConfig } from "../network/config.js";
import type { Member } from "../network/member.js";
import type { OpenNetwork } from "../network/solo.js";
import type { Log } from "../policy/config.js";
import { SILENT_LOG } from "../policy/config.js";
import { resolverSettings } from "../sandbox/files.js";
import type { InsideNetwork, InsideSubnet, Sandbox } from "../sandbox/sandbox.js";
import { formatAddress } from "../wire/address.js";
import { type Cidr, DEFAULT_CIDR, type NetworkSettings, parseCidr } from "./options.js";

export interface Session {
  readonly network: OpenNetwork;
  readonly sandbox: Sandbox;
  /** The sandbox in the network. */
  readonly member: Member;
  /**
   * Ends both.
   * @param drainMs how long what the sandbox sent may take to leave, 0: not at all
   * @param hurry when this settles first, the rest of it is dropped
   */
  end(drainMs: number, hurry?: Promise<unknown>): Promise<void>;
}

/** What a network may want of a process that is ours alone. */
export type OwnProcess = Pick<NetworkConfig, "began" | "rested" | "resolvConf">;

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

/** What a network is opened with, of these settings. */
export function networkConfig(settings: NetworkSettings, log: Log): NetworkConfig {
  const cidr = settings.v4 ?? parseCidr(DEFAULT_CIDR);
  return {
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
    congestion: settings.congestion,
    log,
  };
}

/** Rejects with a NetnsError of the network's or of the sandbox's; then neither is left. */
export async function openSession(
  settings: NetworkSettings,
  openSandbox: (inside: InsideNetwork) => Promise<Sandbox>,
  log: Log = SILENT_LOG,
  own: OwnProcess = {},
): Promise<Session> {
  for (const warning of settings.warnings) log.warn(warning);
  const [sandbox, network] = await Promise.allSettled([
    openSandbox(insideNetwork(settings)),
    openNetwork({
      ...networkConfig(settings, log),
      publish: settings.publish,
      automatic: settings.automatic,
      hostname: settings.hostname ?? hostName(),
      shards: settings.shards,
      ...own,
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

async function openNetwork(config: SoloConfig): Promise<OpenNetwork> {
  if (config.shards > 1) {
    const { ShardedNetwork } = await import("../network/shards.js");
    return ShardedNetwork.open(config);
  }
  const { SoloNetwork } = await import("../network/solo.js");
  return SoloNetwork.open(config);
}

async function joined(network: OpenNetwork, sandbox: Sandbox, log: Log): Promise<Session> {
  // Whoever waits for these hears of them; a rejection after that is of no interest.
  network.failed.catch(() => {});
  sandbox.exited.catch(() => {});
  for (const note of sandbox.notes) log.info(note);
  const member = await network.join(sandbox);
  return {
    network,
    sandbox,
    member,
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
