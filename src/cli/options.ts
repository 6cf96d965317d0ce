/**
 * What a person may wish for, as text, and what it means. Every check is here, before anything is opened, and each answers
 * with one line: what was wrong, and what is expected. It throws a NetnsError USAGE.
 */
import { networkInterfaces } from "node:os";
import { NetnsError } from "../errors.js";
import type { HostLoopback, PortRange, PublishSpec } from "../policy/config.js";
import { hostHasIPv6 } from "../sandbox/host-ipv6.js";
import {
  type Address,
  type Endpoint,
  endpoint,
  equalAddress,
  formatAddress,
  isIPv4,
  parseAddress,
} from "../wire/address.js";

/** The wishes about a network, as the command line and the API have them. All may be left out. */
export interface NetworkWishes {
  /**
   * `[ADDR:]HOST:INSIDE[/tcp|udp]`, single ports or ranges of the same length; `[ADDR:]auto`: every TCP port that is listened on
   * inside, at the same number, for as long as that is so.
   */
  readonly publish?: readonly string[] | undefined;
  /** An address of the host for this sandbox alone, such as 127.0.2.10: every TCP port that is listened on inside is there. */
  readonly hostIp?: string | undefined;
  /** No IPv6 inside. */
  readonly ipv4Only?: boolean | undefined;
  /** No IPv4 inside. Both of these: both families, also where the host has no IPv6 now. None: IPv6 if the host has it. */
  readonly ipv6Only?: boolean | undefined;
  /** `10.0.2.0/24`. */
  readonly cidr?: string | undefined;
  /** `fd00::/64`. */
  readonly cidr6?: string | undefined;
  readonly mtu?: string | number | undefined;
  readonly ifname?: string | undefined;
  readonly mac?: string | undefined;
  /** False: no DNS of ours, and the host's resolv.conf stays. A list: resolvers to ask instead of the host's, `ADDR` or `ADDR:PORT`. */
  readonly dns?: boolean | readonly string[] | undefined;
  /** Domains that short names are tried with, instead of the host's; `.` alone: none. */
  readonly dnsSearch?: readonly string[] | undefined;
  readonly hostname?: string | undefined;
  /** True: all ports. Text: `80,8000-8010`. */
  readonly allowHostLoopback?: boolean | string | undefined;
  /** One of the host's addresses, or the name of one of its interfaces: then its first address of each family. */
  readonly outboundAddr?: string | undefined;
  /** The same for IPv6 alone. */
  readonly outboundAddr6?: string | undefined;
  /** Congestion control of the routes inside; `host`: the host's. */
  readonly congestion?: string | undefined;
  /** How many threads carry the network, 1 to 16. */
  readonly shards?: string | number | undefined;
}

/** The same, checked. */
export interface NetworkSettings {
  readonly publish: readonly PublishSpec[];
  /** Where on the host every TCP port is published that is listened on inside; null: at all of its addresses. */
  readonly automatic: readonly (Address | null)[];
  /** Null: the sandbox does not have this family. One of both is there. */
  readonly v4: Cidr | null;
  readonly v6: Cidr | null;
  /** 576 to 65521 bytes. */
  readonly mtu: number;
  readonly ifname: string;
  readonly mac: string | null;
  readonly serveDns: boolean;
  readonly upstreams: readonly Endpoint[] | null;
  /** Domains that short names are tried with; null: the host's. */
  readonly search: readonly string[] | null;
  readonly hostname: string | null;
  readonly hostLoopback: HostLoopback;
  readonly outboundAddress: Address | null;
  readonly outboundAddress6: Address | null;
  /** The first of these that the kernel has; empty: the host's. */
  readonly congestion: readonly string[];
  /** 1 to 16. */
  readonly shards: number;
  /** What the person should know before anything starts, a line each. */
  readonly warnings: readonly string[];
}

/** A subnet and who is where in it: gateway .2, DNS .3, sandbox .100 (::2, ::3, ::100), as slirp4netns has it. */
export interface Cidr {
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  readonly sandbox: Address;
}

export const DEFAULT_CIDR = "10.0.2.0/24";
export const DEFAULT_CIDR6 = "fd00::/64";
export const DEFAULT_MTU = 1500;
export const DEFAULT_IFNAME = "tap0";
const MIN_MTU = 576;
/** RFC 8200, 5: below this an interface has no IPv6. */
const MIN_MTU_IPV6 = 1280;
const MAX_MTU = 65521;
/** IFNAMSIZ, with its terminating zero. */
const MAX_IFNAME = 15;
const MAX_PUBLISHED = 4096;
const MAX_UPSTREAMS = 8;
const MAX_SHARDS = 16;
const MAX_SEARCH = 6;
const MAX_SEARCH_LENGTH = 256;

/** Without pacing, since the path to the TAP is lossless memory; see docs/decisions. */
export const DEFAULT_CONGESTION: readonly string[] = ["cubic", "reno"];

/** The host's interfaces, as os.networkInterfaces() gives them. */
export type Interfaces = ReturnType<typeof networkInterfaces>;

/** The host, as far as it has a say in the settings. */
export interface HostView {
  interfaces(): Interfaces;
  hasIPv6(): boolean;
}

const HOST: HostView = { interfaces: networkInterfaces, hasIPv6: () => hostHasIPv6() };

export function networkSettings(wishes: NetworkWishes, host: HostView = HOST): NetworkSettings {
  const mtu = parseMtu(wishes.mtu ?? DEFAULT_MTU);
  return {
    ...choosePublished(wishes, host),
    ...chooseFamilies(wishes, mtu, host),
    mtu,
    ifname: parseIfname(wishes.ifname ?? DEFAULT_IFNAME),
    mac: wishes.mac === undefined ? null : parseMac(wishes.mac),
    serveDns: wishes.dns !== false,
    upstreams: typeof wishes.dns === "object" ? parseUpstreams(wishes.dns) : null,
    search: wishes.dnsSearch === undefined ? null : parseSearch(wishes.dnsSearch),
    hostname: wishes.hostname === undefined ? null : parseHostname(wishes.hostname),
    hostLoopback: parseHostLoopback(wishes.allowHostLoopback ?? false),
    ...chooseOutbound(wishes, host),
    congestion: wishes.congestion === undefined ? DEFAULT_CONGESTION : parseCongestion(wishes.congestion),
    shards: parseShards(wishes.shards ?? 1),
  };
}

/** The DNS address of the sandbox's resolv.conf. One is enough: behind both is the same forwarder. */
export function nameserver({ v4, v6 }: NetworkSettings): Address {
  const subnet = v4 ?? v6;
  if (subnet === null) throw new NetnsError("INTERNAL", "a sandbox without any address");
  return subnet.dns;
}

function chooseFamilies(
  wishes: NetworkWishes,
  mtu: number,
  host: HostView,
): Pick<NetworkSettings, "v4" | "v6" | "warnings"> {
  const cidr = parseCidr(wishes.cidr ?? DEFAULT_CIDR);
  const cidr6 = parseCidr6(wishes.cidr6 ?? DEFAULT_CIDR6);
  const { ipv4Only = false, ipv6Only = false } = wishes;
  if (ipv6Only && mtu < MIN_MTU_IPV6) throw usage(`--mtu ${mtu}: IPv6 needs ${MIN_MTU_IPV6} bytes at least`);
  const warnings: string[] = [];
  if (ipv6Only && !ipv4Only && !host.hasIPv6()) {
    warnings.push(
      "this host has no IPv6 address now: a sandbox with IPv6 only reaches nothing outside until it has one",
    );
  }
  const ipv6 = ipv6Only || (!ipv4Only && mtu >= MIN_MTU_IPV6 && host.hasIPv6());
  return { v4: ipv6Only && !ipv4Only ? null : cidr, v6: ipv6 ? cidr6 : null, warnings };
}

function choosePublished(
  { publish = [], hostIp }: NetworkWishes,
  host: HostView,
): Pick<NetworkSettings, "publish" | "automatic"> {
  const specs: string[] = [];
  const automatic: (Address | null)[] = [];
  for (const text of publish) {
    const place = parseAutomatic(text);
    if (place === undefined) specs.push(text);
    else automatic.push(place);
  }
  if (hostIp !== undefined) automatic.push(parseHostIp(hostIp, host.interfaces()));
  const once = automatic.filter((place, i) => automatic.findIndex((other) => samePlace(place, other)) === i);
  once.sort((a, b) => Number(a !== null) - Number(b !== null)); // what is open everywhere is open at each
  return { publish: parsePublishAll(specs), automatic: once };
}

function samePlace(a: Address | null, b: Address | null): boolean {
  return a === null || b === null ? a === b : equalAddress(a, b);
}

function chooseOutbound(
  { outboundAddr, outboundAddr6 }: NetworkWishes,
  host: HostView,
): Pick<NetworkSettings, "outboundAddress" | "outboundAddress6"> {
  if (outboundAddr === undefined && outboundAddr6 === undefined)
    return { outboundAddress: null, outboundAddress6: null };
  const interfaces = host.interfaces();
  const any = outboundAddr === undefined ? NOWHERE : parseOutbound("--outbound-addr", outboundAddr, interfaces);
  const six = outboundAddr6 === undefined ? NOWHERE : parseOutbound("--outbound-addr6", outboundAddr6, interfaces);
  if (outboundAddr6 !== undefined && six.v6 === null) {
    throw usage(`--outbound-addr6 ${outboundAddr6}: not an IPv6 address, and no interface of this host that has one`);
  }
  return { outboundAddress: any.v4, outboundAddress6: six.v6 ?? any.v6 };
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
  const host = hostText === undefined ? null : parsePublishHost(hostText, wrong);
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

/** `auto`, `ADDR:auto`: the address, or null for all; undefined where it is none of these. */
export function parseAutomatic(text: string): Address | null | undefined {
  const match = /^(?:(.*):)?auto(?:\/([^/]*))?$/.exec(text);
  if (match === null) return undefined;
  const [, host, protocol = "tcp"] = match;
  const wrong = (reason: string) =>
    usage(`--publish ${text}: ${reason}; expected auto or ADDR:auto, for example 127.0.0.1:auto`);
  if (protocol !== "tcp") {
    throw wrong("auto is for TCP only, since nothing tells a UDP server from a client: publish its port by number");
  }
  return host === undefined ? null : parsePublishHost(host, wrong);
}

/** `[ADDR:]PORT` for a network's proxy; without an address on this host's loopback, and without anything at a free port there. */
export function parseProxyPlace(text = "0"): Endpoint {
  const wrong = (reason: string) =>
    usage(`network proxy ${text}: ${reason}; expected [ADDR:]PORT, for example 1080 or 127.0.0.1:1080`);
  const [, host = "127.0.0.1", portText] = /^(?:(\[[^\]]*\]|[^:[\]]*):)?([^:]*)$/.exec(text) ?? [];
  const port = portText === undefined ? null : wholeNumber(portText);
  if (port === null || port > 65535) throw wrong("no port of 0 to 65535");
  return endpoint(parsePublishHost(host, wrong), port);
}

function parsePublishHost(text: string, wrong: (reason: string) => NetnsError): Address {
  const bare = text.startsWith("[") ? text.slice(1, -1) : text;
  let host: Address;
  try {
    host = parseAddress(bare);
  } catch {
    throw wrong(`${bare || "nothing"} is not an IP address`);
  }
  if (isLinkLocal(host)) throw wrong("a link-local address means nothing without an interface, use [::]");
  return host;
}

/** One address of the host for one sandbox alone: of 127.0.0.0/8, all of which are the host's, or one that it was given. */
export function parseHostIp(text: string, interfaces: Interfaces): Address {
  const wrong = (reason: string) =>
    usage(
      `--host-ip ${text}: ${reason}; expected an address of this host for the sandbox alone, for example 127.0.2.10`,
    );
  let address: Address;
  try {
    address = parseAddress(text);
  } catch {
    throw wrong("not an IP address");
  }
  if (address.subarray(0, 12).every((byte) => byte === 0) || formatAddress(address) === "0.0.0.0") {
    throw wrong("every program of this host listens there (for its ports: --publish auto)");
  }
  if (isIPv4(address) && address[12] === 127) {
    if (formatAddress(address) === "127.0.0.1") {
      throw wrong("every program of this host listens there (for its ports: --publish 127.0.0.1:auto)");
    }
    const last = address.subarray(13);
    if (last.every((byte) => byte === 0) || last.every((byte) => byte === 255))
      throw wrong("no host can have this one");
    return address;
  }
  if (isLinkLocal(address)) throw wrong("a link-local address means nothing without an interface");
  const known = Object.values(interfaces).flatMap((addresses) => addresses ?? []);
  if (!known.some((own) => equalAddress(parseAddress(own.address), address))) {
    throw wrong("this host does not have that address");
  }
  return address;
}

function parsePublishAll(texts: readonly string[]): PublishSpec[] {
  const specs: PublishSpec[] = [];
  const taken = new Set<string>();
  for (const text of texts) {
    for (const spec of parsePublish(text)) {
      const hosts = spec.host === null ? ["0.0.0.0", "::"] : [formatAddress(spec.host)];
      for (const key of hosts.map((host) => `${host} ${spec.hostPort}/${spec.protocol}`)) {
        if (spec.hostPort !== 0 && taken.has(key)) {
          throw usage(
            `--publish ${text}: host port ${spec.hostPort}/${spec.protocol} is published twice; give each its own`,
          );
        }
        taken.add(key);
      }
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
  if (!isIPv4(address)) throw wrong("an IPv6 subnet is chosen by --cidr6");
  const network = firstAddress(address, 96 + prefix);
  if (!equalAddress(network, address)) {
    throw wrong(`${addressText} is not the subnet's first address, which is ${formatAddress(network)}`);
  }
  if (network[12] === 0 || network[12] === 127 || network[12] >= 224) throw wrong("no host can have these addresses");
  return populated(network, prefix, 100);
}

/** `fd00::/64`: as long as a host that configures itself wants it (RFC 4862, RFC 7421). */
export function parseCidr6(text: string): Cidr {
  const wrong = (reason: string) =>
    usage(`--cidr6 ${text}: ${reason}; expected an IPv6 subnet with a prefix of 64, for example ${DEFAULT_CIDR6}`);
  const [addressText, prefixText, ...rest] = text.split("/");
  const prefix = wholeNumber(prefixText ?? "");
  if (rest.length > 0 || prefix === null) throw wrong("not ADDRESS/PREFIX");
  if (prefix !== 64) throw wrong(`the prefix is ${prefix}`);
  let address: Address;
  try {
    address = parseAddress(addressText);
  } catch {
    throw wrong(`${addressText || "nothing"} is not an IP address`);
  }
  if (isIPv4(address)) throw wrong("an IPv4 subnet is chosen by --cidr");
  const network = firstAddress(address, prefix);
  if (!equalAddress(network, address)) {
    throw wrong(`${addressText} is not the subnet's first address, which is ${formatAddress(network)}`);
  }
  // Unique local (RFC 4193) and global unicast (RFC 4291, 2.4): all others mean something of their own.
  const usable = (network[0] & 0xfe) === 0xfc || (network[0] & 0xe0) === 0x20;
  if (!usable) throw wrong("no host can have these addresses; choose one of fc00::/7 or 2000::/3");
  return populated(network, prefix, 0x100);
}

function firstAddress(address: Address, bits: number): Address {
  const first = address.slice();
  for (let bit = bits; bit < 128; bit++) first[bit >> 3] &= ~(0x80 >> (bit & 7));
  return first;
}

/** @param sandbox the last two bytes of the sandbox's own address, as far as they are not the subnet's */
function populated(network: Address, prefix: number, sandbox: number): Cidr {
  const host = (last: number): Address => {
    const at = network.slice();
    at[14] += last >> 8;
    at[15] += last & 0xff;
    return at;
  };
  return { network, prefix, gateway: host(2), dns: host(3), sandbox: host(sandbox) };
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
    ["/", ":", "%"].some((sign) => text.includes(sign)) ||
    text === "." ||
    text === ".."
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

/** Addresses to send from; null: the host's choice. */
interface Outbound {
  readonly v4: Address | null;
  readonly v6: Address | null;
}

const NOWHERE: Outbound = { v4: null, v6: null };

/** An address of the host, or the first one of each family (link-local ones left out) of an interface. */
function parseOutbound(option: string, text: string, interfaces: Interfaces): Outbound {
  let address: Address;
  try {
    address = parseAddress(text);
  } catch {
    const own = Object.hasOwn(interfaces, text) ? interfaces[text] : undefined;
    if (own === undefined) {
      const names = Object.keys(interfaces).join(", ");
      throw usage(`${option} ${text}: neither an IP address nor an interface of this host that has one (${names})`);
    }
    const usable = own.map((each) => parseAddress(each.address)).filter((each) => !isLinkLocal(each));
    return { v4: usable.find((each) => isIPv4(each)) ?? null, v6: usable.find((each) => !isIPv4(each)) ?? null };
  }
  if (isLinkLocal(address))
    throw usage(`${option} ${text}: a link-local address leads to no other network; expected another`);
  const known = Object.values(interfaces)
    .flatMap((addresses) => addresses ?? [])
    .map((own) => own.address);
  if (!known.some((own) => equalAddress(parseAddress(own), address))) {
    throw usage(`${option} ${text}: this host does not have that address; expected one of ${known.join(", ")}`);
  }
  return isIPv4(address) ? { v4: address, v6: null } : { v4: null, v6: address };
}

/** fe80::/10: means nothing without an interface. */
function isLinkLocal(address: Address): boolean {
  return address[0] === 0xfe && (address[1] & 0xc0) === 0x80;
}

/** Domains as resolv.conf(5) has them behind `search`: with what every libc takes of them. */
function parseSearch(texts: readonly string[]): string[] {
  if (texts.length === 1 && texts[0] === ".") return [];
  if (texts.length > MAX_SEARCH || texts.join(" ").length > MAX_SEARCH_LENGTH) {
    throw usage(
      `--dns-search: at most ${MAX_SEARCH} domains with ${MAX_SEARCH_LENGTH} characters in all can be searched`,
    );
  }
  const label = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?";
  const domain = new RegExp(`^${label}(\\.${label})*\\.?$`, "i");
  for (const text of texts) {
    if (text.length > 253 || !domain.test(text)) {
      throw usage(`--dns-search ${text}: expected a domain, for example corp.example, or . alone for none`);
    }
  }
  return texts.map((text) => text.replace(/\.$/, ""));
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

function parseShards(wish: string | number): number {
  const shards = wholeNumber(String(wish));
  if (shards === null || shards < 1 || shards > MAX_SHARDS) {
    throw usage(
      `--shards ${wish}: expected 1 to ${MAX_SHARDS}; more than the processors of this machine bring nothing`,
    );
  }
  return shards;
}

/** One address of a family, in its usual form. */
export function parseAddressOption(option: string, text: string, family: 4 | 6): string {
  try {
    const address = parseAddress(text);
    if (isIPv4(address) === (family === 4)) return formatAddress(address);
  } catch {
    // Said below.
  }
  throw usage(
    `${option} ${text}: expected an IPv${family} address, for example ${family === 4 ? "10.0.2.17" : "fd00::17"}`,
  );
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
