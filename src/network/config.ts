/** What a network is opened with, checked and complete; cli/options.ts makes it of what a person wished for. */
import type { HostLoopback, Log, PublishSpec } from "../policy/config.js";
import type { SharedListener } from "../publish/publisher.js";
import type { ResolvConfFile } from "../services/resolvers.js";
import type { Address, Endpoint } from "../wire/address.js";

/** The IPv6 side of a network: what cidr, gateway, dns and sandbox are for IPv4. */
export interface NetworkConfigV6 {
  /** First address and prefix length (0 to 128) of the network's subnet. */
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** The address that the first member gets; the kernel inside may form more of the same prefix. */
  readonly sandbox: Address;
}

export interface NetworkConfig {
  /** First address and prefix length of the network's subnet. */
  readonly cidr: { readonly network: Address; readonly prefix: number };
  /** The largest IP packet on a link, bytes. */
  readonly mtu: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** The address that the first member gets, unless another is wished for. */
  readonly sandbox: Address;
  /** False: the members have no IPv4, and nothing of it is dialled. */
  readonly ipv4: boolean;
  /** null: the members have no IPv6. */
  readonly v6: NetworkConfigV6 | null;
  /** The network's name, under which its members are `NAME.NETWORK.internal`; default: it has none. */
  readonly name?: string | null;
  /**
   * True (the default): one sandbox alone, which may have a bridge with any hardware addresses and any addresses of the subnet
   * behind its interface. False: a segment of members, each of which speaks by its own addresses only (stack/switch.ts).
   */
  readonly solo?: boolean;
  /** Resolvers to ask; null: the host's, from /etc/resolv.conf. */
  readonly upstreams: readonly Endpoint[] | null;
  /** Where the host's stand; default: that file, opened by this process. */
  readonly resolvConf?: ResolvConfFile | undefined;
  /** False: nothing answers at the DNS address. */
  readonly serveDns: boolean;
  /** Domains that DHCP clients inside are told to search. */
  readonly search: readonly string[];
  readonly hostLoopback: HostLoopback;
  /** Addresses to send from, one for each family; null: the host's choice. */
  readonly outboundAddress: Address | null;
  readonly outboundAddress6: Address | null;
  /** TCP congestion control towards peers on the host itself, the first of these that we may use; empty: the host's default. */
  readonly congestion: readonly string[];
  readonly log: Log;
  /** Called once, within a turn, when the first load begins. */
  readonly began?: () => void;
  /** Called when a load has ended and nothing much has come for a while: the moment for what would disturb at other times. */
  readonly rested?: () => void;
}

/** A network for one sandbox alone: what `run` and `attach` want. */
export interface SoloConfig extends NetworkConfig {
  readonly publish: readonly PublishSpec[];
  /** See Membership.automatic. Default: none. */
  readonly automatic?: readonly (Address | null)[];
  /** The sandbox's own name. */
  readonly hostname: string;
  /** How many threads carry it, 1 to 16; more than one: see ShardedNetwork. */
  readonly shards: number;
}

/** A network's place among several on one TAP (shards.ts). The descriptors are the network's. */
export interface ShardPlace {
  /** 0 to count - 1; 0 has the published ports, and all that is not TCP. */
  readonly index: number;
  readonly count: number;
  /** One end of a pair to each other shard, by its index; -1 in our own place. */
  readonly peers: readonly number[];
  /** Our listeners of the published TCP ports; shard 0 makes its own. */
  readonly listeners: readonly SharedListener[];
}
