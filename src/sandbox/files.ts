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

export interface Hosts {
  /** The name that the sandbox has for itself. */
  readonly hostname: string;
  /** The sandbox's own address. */
  readonly address: string;
  /** Where `host.internal` leads. */
  readonly gateway: string;
}

export function hosts({ hostname, address, gateway }: Hosts): string {
  const own = hostname === "" || hostname === "localhost" ? [] : [`${address} ${hostname}`];
  return `${["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback", ...own, `${gateway} host.internal`].join("\n")}\n`;
}
