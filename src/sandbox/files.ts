/** The text of /etc/resolv.conf and /etc/hosts inside. */
import { readFileSync } from "node:fs";

export interface ResolvConf {
  /** Address of the name server inside. */
  readonly nameserver: string;
  /** Domains that short names are tried with (resolv.conf(5) `search`). */
  readonly search: readonly string[];
  /** Words of the `options` line, such as `ndots:2`. */
  readonly options: readonly string[];
}

export function resolvConf({ nameserver, search, options }: ResolvConf): string {
  const lines = [`nameserver ${nameserver}`];
  if (search.length > 0) lines.push(`search ${search.join(" ")}`);
  if (options.length > 0) lines.push(`options ${options.join(" ")}`);
  return `${lines.join("\n")}\n`;
}

/**
 * The search domains and options that the host's resolv.conf has (the last line of each kind counts, as in glibc;
 * `domain` is a search list of one). Empty when there is no such file.
 */
export function hostResolverSettings(path = "/etc/resolv.conf"): { search: string[]; options: string[] } {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return { search: [], options: [] };
  }
  let search: string[] = [];
  let options: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === "search" || keyword === "domain") search = words.filter((word) => word !== ".");
    // Settings of the host's own stub (EDNS, DNSSEC) are its business; ours relays everything.
    if (keyword === "options") options = words.filter((word) => word !== "trust-ad");
  }
  return { search, options };
}

/** The same, with other domains if `search` is not null. */
export function resolverSettings(search: readonly string[] | null): { search: readonly string[]; options: string[] } {
  const settings = hostResolverSettings();
  return search === null ? settings : { ...settings, search };
}

export interface Hosts {
  /** The name that the sandbox has for itself. */
  readonly hostname: string;
  /** The sandbox's own address of each family, and the gateway's, where `host.internal` leads. */
  readonly subnets: readonly { readonly address: string; readonly gateway: string }[];
}

const LOCAL_HOSTS = [
  "127.0.0.1 localhost",
  "::1 localhost ip6-localhost ip6-loopback",
  "ff02::1 ip6-allnodes",
  "ff02::2 ip6-allrouters",
];

export function hosts({ hostname, subnets }: Hosts): string {
  const named = hostname !== "" && hostname !== "localhost";
  const own = named ? subnets.map(({ address }) => `${address} ${hostname}`) : [];
  const host = subnets.map(({ gateway }) => `${gateway} host.internal`);
  return `${[...LOCAL_HOSTS, ...own, ...host].join("\n")}\n`;
}
