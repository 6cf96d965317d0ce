/**
 * What a person may wish for, as text, and what it means. Every check is here, before anything is opened, and each answers
 * with one line: what was wrong, and what is expected. It throws a NetnsError USAGE.
 */
import { networkInterfaces } from "node:os";
import { NetnsError } from "../errors.js";
import type { HostLoopback, PortRange, PublishSpec } from "../policy/config.js";
import { type Address, type Endpoint, endpoint, formatAddress, isIPv4, parseAddress } from "../wire/address.js";

/** The wishes about a network, as the command line and the API have them. All may be left out. */
export interface NetworkWishes {
  /** `[ADDR:]HOST:INSIDE[/tcp|udp]`, single ports or ranges of the same length. */
  readonly publish?: readonly string[] | undefined;
  /** `10.0.2.0/24`. */
  readonly cidr?: string | undefined;
  readonly mtu?: string | number | undefined;
  readonly ifname?: string | undefined;
  readonly mac?: string | undefined;
  /** False: no DNS of ours, and the host's resolv.conf stays. A list: resolvers to ask instead of the host's, `ADDR` or `ADDR:PORT`. */
  readonly dns?: boolean | readonly string[] | undefined;
  readonly hostname?: string | undefined;
  /** True: all ports. Text: `80,8000-8010`. */
  readonly allowHostLoopback?: boolean | string | undefined;
  /** One of the host's addresses, or the name of one of its interfaces. */
  readonly outboundAddr?: string | undefined;
  /** Congestion control of the routes inside; `host`: the host's. */
  readonly congestion?: string | undefined;
}

/** The same, checked. */
export interface NetworkSettings {
  readonly publish: readonly PublishSpec[];
  readonly cidr: Cidr;
  /** 576 to 65521 bytes. */
  readonly mtu: number;
  readonly ifname: string;
  readonly mac: string | null;
  readonly serveDns: boolean;
  readonly upstreams: readonly Endpoint[] | null;
  readonly hostname: string | null;
  readonly hostLoopback: HostLoopback;
  readonly outboundAddress: Address | null;
  /** The first of these that the kernel has; empty: the host's. */
  readonly congestion: readonly string[];
}

/** A subnet and who is where in it: gateway .2, DNS .3, sandbox .100, as slirp4netns has it. */
export interface Cidr {
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  readonly sandbox: Address;
}

export const DEFAULT_CIDR = "10.0.2.0/24";
export const DEFAULT_MTU = 1500;
export const DEFAULT_IFNAME = "tap0";
const MIN_MTU = 576;
const MAX_MTU = 65521;
/** IFNAMSIZ, with its terminating zero. */
const MAX_IFNAME = 15;
const MAX_PUBLISHED = 4096;
const MAX_UPSTREAMS = 8;

/** Without pacing, since the path to the TAP is lossless memory; see docs/decisions. */
const DEFAULT_CONGESTION: readonly string[] = ["cubic", "reno"];

/** The host's interfaces, as os.networkInterfaces() gives them. */
export type Interfaces = ReturnType<typeof networkInterfaces>;

export function networkSettings(wishes: NetworkWishes, interfaces = networkInterfaces): NetworkSettings {
  return {
    publish: parsePublishAll(wishes.publish ?? []),
    cidr: parseCidr(wishes.cidr ?? DEFAULT_CIDR),
    mtu: parseMtu(wishes.mtu ?? DEFAULT_MTU),
    ifname: parseIfname(wishes.ifname ?? DEFAULT_IFNAME),
    mac: wishes.mac === undefined ? null : parseMac(wishes.mac),
    serveDns: wishes.dns !== false,
    upstreams: typeof wishes.dns === "object" ? parseUpstreams(wishes.dns) : null,
    hostname: wishes.hostname === undefined ? null : parseHostname(wishes.hostname),
    hostLoopback: parseHostLoopback(wishes.allowHostLoopback ?? false),
    outboundAddress: wishes.outboundAddr === undefined ? null : parseOutbound(wishes.outboundAddr, interfaces()),
    congestion: wishes.congestion === undefined ? DEFAULT_CONGESTION : parseCongestion(wishes.congestion),
  };
}

function usage(message: string): NetnsError {
  return new NetnsError("USAGE", message);
}

/** A whole decimal number without sign, or null. */
function wholeNumber(text: string): number | null {
  return /^\d{1,9}$/.test(text) ? Number(text) : null;
}

/** `80` or `8000-8010`; null: neither. `lowest`: 0 where port 0 has a meaning, else 1. */
function portRange(text: string, lowest: 0 | 1): PortRange | null {
  const parts = text.split("-");
  if (parts.length > 2) return null;
  const from = wholeNumber(parts[0]);
  const to = wholeNumber(parts[parts.length - 1]);
  if (from === null || to === null || from < lowest || to > 65535 || to < from) return null;
  return { from, to };
}

/** `[ADDR:]HOST:INSIDE[/tcp|udp]`, where a range gives one entry for each of its ports. */
export function parsePublish(text: string): PublishSpec[] {
  const wrong = (reason: string) =>
    usage(
      `--publish ${text}: ${reason}; expected [ADDR:]HOST:INSIDE[/tcp|udp], for example 6000:8080 or [::1]:53:53/udp`,
    );
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?([^:/]*):([^:/]*)(?:\/([^/]*))?$/.exec(text);
  if (match === null) throw wrong("not of this form");
  const [, hostText, outside, inside, protocol = "tcp"] = match;
  if (protocol !== "tcp" && protocol !== "udp") throw wrong(`the protocol is tcp or udp, not ${protocol || "nothing"}`);
  let host: Address | null = null;
  if (hostText !== undefined) {
    const bare = hostText.startsWith("[") ? hostText.slice(1, -1) : hostText;
    try {
      host = parseAddress(bare);
    } catch {
      throw wrong(`${bare || "nothing"} is not an IP address`);
    }
    if (isIPv4(host) && formatAddress(host) === "0.0.0.0") host = null;
  }
  const hostPorts = portRange(outside, 0);
  if (hostPorts === null) throw wrong(`the host port ${outside || "is missing,"} is not 0 to 65535`);
  const insidePorts = portRange(inside, 1);
  if (insidePorts === null) throw wrong(`the port inside ${inside || "is missing,"} is not 1 to 65535`);
  const count = insidePorts.to - insidePorts.from + 1;
  if (hostPorts.to - hostPorts.from + 1 !== count) throw wrong("the two ranges are not of the same length");
  if (hostPorts.from === 0 && count > 1) throw wrong("a range cannot begin at port 0");
  return Array.from({ length: count }, (_, i) => ({
    protocol,
    host,
    hostPort: hostPorts.from + i,
    insidePort: insidePorts.from + i,
  }));
}

function parsePublishAll(texts: readonly string[]): PublishSpec[] {
  const specs: PublishSpec[] = [];
  const taken = new Set<string>();
  for (const text of texts) {
    for (const spec of parsePublish(text)) {
      const key = `${spec.host === null ? "0.0.0.0" : formatAddress(spec.host)} ${spec.hostPort}/${spec.protocol}`;
      if (spec.hostPort !== 0 && taken.has(key)) {
        throw usage(
          `--publish ${text}: host port ${spec.hostPort}/${spec.protocol} is published twice; give each its own`,
        );
      }
      taken.add(key);
      specs.push(spec);
    }
    if (specs.length > MAX_PUBLISHED) {
      throw usage(`--publish: ${specs.length} ports are too many; at most ${MAX_PUBLISHED} can be published`);
    }
  }
  return specs;
}

/** `10.0.2.0/24`: an IPv4 subnet with room for .100. */
export function parseCidr(text: string): Cidr {
  const wrong = (reason: string) =>
    usage(`--cidr ${text}: ${reason}; expected an IPv4 subnet with a prefix of 8 to 25, for example ${DEFAULT_CIDR}`);
  const [addressText, prefixText, ...rest] = text.split("/");
  const prefix = wholeNumber(prefixText ?? "");
  if (rest.length > 0 || prefix === null) throw wrong("not ADDRESS/PREFIX");
  if (prefix < 8 || prefix > 25) throw wrong(`the prefix ${prefix} is out of range`);
  let address: Address;
  try {
    address = parseAddress(addressText);
  } catch {
    throw wrong(`${addressText || "nothing"} is not an IP address`);
  }
  if (!isIPv4(address)) throw wrong("IPv6 subnets cannot be chosen yet");
  const network = address.slice();
  for (let bit = 96 + prefix; bit < 128; bit++) network[bit >> 3] &= ~(0x80 >> (bit & 7));
  if (formatAddress(network) !== formatAddress(address)) {
    throw wrong(`${addressText} is not the subnet's first address, which is ${formatAddress(network)}`);
  }
  if (network[12] === 0 || network[12] === 127 || network[12] >= 224) throw wrong("no host can have these addresses");
  const host = (last: number): Address => {
    const at = network.slice();
    at[15] += last;
    return at;
  };
  return { network, prefix, gateway: host(2), dns: host(3), sandbox: host(100) };
}

export function parseMtu(wish: string | number): number {
  const mtu = wholeNumber(String(wish));
  if (mtu === null || mtu < MIN_MTU || mtu > MAX_MTU) {
    throw usage(`--mtu ${wish}: expected ${MIN_MTU} to ${MAX_MTU} bytes`);
  }
  return mtu;
}

export function parseIfname(text: string): string {
  // What the kernel's dev_valid_name() refuses, and what no command line can be trusted with; `%` would make it a template.
  if (
    text.length === 0 ||
    text.length > MAX_IFNAME ||
    !/^[!-~]+$/.test(text) ||
    /[/:%]/.test(text) ||
    /^\.\.?$/.test(text)
  ) {
    throw usage(
      `--ifname ${text}: expected 1 to ${MAX_IFNAME} printable characters without / : % or spaces, for example tap0`,
    );
  }
  if (text === "lo") throw usage("--ifname lo: the loopback has this name already; expected another, for example tap0");
  return text;
}

export function parseMac(text: string): string {
  const wrong = (reason: string) =>
    usage(`--mac ${text}: ${reason}; expected an address of one machine, for example 52:54:00:12:34:56`);
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw wrong("not six bytes in hexadecimal");
  if ((Number.parseInt(text.slice(0, 2), 16) & 1) === 1) throw wrong("this is a multicast address");
  if (/^[0:]+$/.test(text)) throw wrong("all bytes are zero");
  return text.toLowerCase();
}

export function parseHostname(text: string): string {
  // RFC 1123, 2.1, and Linux's limit of 64 bytes.
  const label = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
  if (text.length > 64 || !new RegExp(`^${label}(\\.${label})*$`, "i").test(text)) {
    throw usage(`--hostname ${text}: expected letters, digits, hyphens and dots, at most 64, for example web-1`);
  }
  return text;
}

/** True or `all`: all ports; `80,8000-8010`: these. */
export function parseHostLoopback(wish: boolean | string): HostLoopback {
  if (typeof wish === "boolean") return wish ? "open" : "closed";
  if (wish === "all") return "open";
  return wish.split(",").map((part) => {
    const range = portRange(part, 1);
    if (range !== null) return range;
    throw usage(
      `--allow-host-loopback=${wish}: ${part || "nothing"} is not a port; expected ports and ranges, for example 5432,8000-8010`,
    );
  });
}

/** An address of the host, or the first one (IPv4 before IPv6) of an interface. */
export function parseOutbound(text: string, interfaces: Interfaces): Address {
  let address: Address;
  try {
    address = parseAddress(text);
  } catch {
    const own = Object.hasOwn(interfaces, text) ? interfaces[text] : undefined;
    if (own === undefined) {
      const names = Object.keys(interfaces).join(", ");
      throw usage(
        `--outbound-addr ${text}: neither an IP address nor an interface of this host that has one (${names})`,
      );
    }
    const first = own.find(({ family }) => family === "IPv4") ?? own[0];
    return parseAddress(first.address);
  }
  const wanted = formatAddress(address);
  const known = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .map((own) => own.address);
  if (!known.some((own) => formatAddress(parseAddress(own)) === wanted)) {
    throw usage(`--outbound-addr ${text}: this host does not have that address; expected one of ${known.join(", ")}`);
  }
  return address;
}

function parseUpstreams(texts: readonly string[]): Endpoint[] {
  if (texts.length > MAX_UPSTREAMS)
    throw usage(`--dns: ${texts.length} resolvers are too many; expected at most ${MAX_UPSTREAMS}`);
  return texts.map(parseUpstream);
}

/** `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`. */
export function parseUpstream(text: string): Endpoint {
  const match = /^\[([^\]]*)\](?::(\d+))?$/.exec(text) ?? /^([^:]*)(?::(\d+))?$/.exec(text) ?? [text, text];
  const port = match[2] === undefined ? 53 : wholeNumber(match[2]);
  try {
    if (port === null || port < 1 || port > 65535) throw new RangeError("port");
    return endpoint(parseAddress(match[1]), port);
  } catch {
    throw usage(
      `--dns ${text}: expected a resolver's IP address, with a port if it is not 53, for example 192.0.2.53 or [2001:db8::53]:5353`,
    );
  }
}

function parseCongestion(text: string): readonly string[] {
  if (text === "host") return [];
  // TCP_CA_NAME_MAX is 16 with its terminating zero.
  if (!/^[a-z0-9_-]{1,15}$/.test(text)) {
    throw usage(
      `--congestion ${text}: expected the name of a congestion control, such as cubic, reno or bbr, or host for the host's own`,
    );
  }
  return [text];
}

/** `PID` or the path of a network namespace. */
export function parseTarget(text: string): { pid: number } | { path: string } {
  if (/^\d+$/.test(text)) {
    const pid = wholeNumber(text);
    if (pid === null || pid < 1 || pid > 0x400000)
      throw usage(`attach ${text}: not a process id; expected 1 to 4194304`);
    return { pid };
  }
  if (!text.includes("/")) {
    throw usage(`attach ${text}: expected a process id, or the path of a network namespace such as /run/netns/${text}`);
  }
  return { path: text };
}
