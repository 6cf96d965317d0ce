/** A network with a control server: what a person wished for, opened. */
import { networkInterfaces } from "node:os";
import type { Operations } from "../control/listener.js";
import type { ServerKind } from "../control/runtime.js";
import { Server } from "../control/server.js";
import { Network } from "../network/network.js";
import type { Log } from "../policy/config.js";
import { resolverSettings } from "../sandbox/files.js";
import { Vxlan } from "../vxlan/vxlan.js";
import { parseAddress } from "../wire/address.js";
import { type NetworkWishes, networkSettings, parseProxyPlace } from "./options.js";
import { networkConfig, type OwnProcess } from "./session.js";
import { type VxlanWishes, vxlanSettings } from "./vxlan.js";

export interface Served {
  readonly server: Server;
  readonly network: Network;
}

export interface ServedWishes {
  readonly kind: ServerKind;
  readonly name: string;
  readonly stays: boolean;
  readonly wishes: NetworkWishes & VxlanWishes;
  readonly log: Log;
  readonly own?: OwnProcess;
  readonly operations?: Operations;
}

/** Rejects with a NetnsError of the options or the network. The server does not listen yet. */
export async function openServer({ kind, name, stays, wishes, log, own, operations }: ServedWishes): Promise<Served> {
  const settings = networkSettings(wishes);
  const solo = kind === "sandbox";
  // Looked at now: a confined process cannot any more, and whoever asks us has looked again.
  const interfaces = networkInterfaces();
  const host = { interfaces: () => interfaces, hasIPv6: () => settings.v6 !== null };
  const network = await Network.open({
    ...networkConfig(settings, log),
    name: solo ? null : name,
    solo,
    ...own,
  });
  network.failed.catch(() => {});
  const tunnel = vxlanSettings(wishes);
  if (tunnel !== null) {
    try {
      new Vxlan(network, { ...tunnel, mtu: settings.mtu });
    } catch (error) {
      await network.close();
      throw error;
    }
  }
  const { v4, v6, mtu, congestion, serveDns, search } = settings;
  const resolver = resolverSettings(search);
  const server = new Server(
    {
      kind,
      name,
      stays,
      network,
      vxlan: tunnel,
      v4,
      v6,
      mtu,
      congestion,
      // First where the members are: so a short name of theirs is asked of nobody else.
      resolver: serveDns
        ? { ...resolver, search: solo ? resolver.search : [`${name}.internal`, ...resolver.search] }
        : null,
      log,
      parsePorts: (publish, hostIp) => networkSettings({ publish, hostIp: hostIp ?? undefined }, host),
      parseAddress,
      parseProxyPlace,
    },
    operations,
  );
  return { server, network };
}
