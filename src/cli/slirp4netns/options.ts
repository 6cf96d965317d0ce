/**
 * slirp4netns's command line, `[OPTION]... PID|PATH|FD [TAPNAME]`: what its callers may say, and what it refuses, in its own
 * words and with its exit code, since programs read both. Checked here before anything is opened; what the options mean for a
 * network is settings.ts.
 */
import { existsSync } from "node:fs";
import { type Address, isIPv4, parseAddress } from "../../wire/address.js";
import { type Interfaces, parseMac } from "../options.js";
import { type Flag, Getopt, GetoptError } from "./getopt.js";

/** Whose network it becomes. */
export type SlirpTarget =
  | { readonly kind: "pid"; readonly pid: number }
  | { readonly kind: "path"; readonly path: string }
  /** A TAP that somebody has opened and handed down. */
  | { readonly kind: "tapfd"; readonly fd: number };

export interface SlirpOptions {
  readonly target: SlirpTarget;
  /** Of the interface that is made; null: it is there (tapfd). */
  readonly tapName: string | null;
  /** Bring the interface up with addresses and routes. */
  readonly configure: boolean;
  /** The end comes when this one hangs up; null: there is none. */
  readonly exitFd: number | null;
  /** Gets a "1" when all is set up. */
  readonly readyFd: number | null;
  /** 1 to 65521. */
  readonly mtu: number;
  readonly ipv6: boolean;
  readonly apiSocket: string | null;
  /** First address and prefix length, 1 to 25. */
  readonly cidr: { readonly network: Address; readonly prefix: number };
  readonly disableHostLoopback: boolean;
  readonly userns: string | null;
  readonly sandbox: boolean;
  readonly seccomp: boolean;
  readonly outboundAddress: Address | null;
  readonly outboundAddress6: Address | null;
  readonly disableDns: boolean;
  readonly mac: string | null;
  /** Lines for stdout before anything else. */
  readonly warnings: readonly string[];
}

/** What is asked for: to run, or only to print something. */
export type SlirpRequest =
  | { readonly kind: "run"; readonly options: SlirpOptions }
  | { readonly kind: "help" | "version" };

/** A command line that is not carried out: exit code 1. */
export class Refusal extends Error {
  /** Whether the usage is printed with it. */
  readonly usage: boolean;

  constructor(message: string, usage = true) {
    super(message);
    this.usage = usage;
  }
}

/** The host, as far as it has a say. */
export interface SlirpHost {
  exists(path: string): boolean;
  interfaces(): Interfaces;
}

const MAX_MTU = 65521;
const DEFAULT_MTU = 1500;
/** The kernel takes no less (RFC 791). */
const MIN_CONFIGURED_MTU = 68;
export const DEFAULT_SLIRP_CIDR = "10.0.2.0/24";
const MIN_PREFIX = 1;
const MAX_PREFIX = 25;
/** IFNAMSIZ without its terminating zero. */
const MAX_IFNAME = 15;
/** sun_path of unix(7). */
const MAX_SOCKET_PATH = 108;

const flag = (long: string, short?: string): Flag => ({ long, argument: false, ...(short && { short }) });
const valued = (long: string, short?: string): Flag => ({ long, argument: true, ...(short && { short }) });

const FLAGS: readonly Flag[] = [
  flag("configure", "c"),
  valued("exit-fd", "e"),
  valued("ready-fd", "r"),
  valued("mtu", "m"),
  valued("cidr"),
  flag("disable-host-loopback"),
  flag("no-host-loopback"),
  valued("netns-type"),
  valued("userns-path"),
  valued("api-socket", "a"),
  flag("enable-ipv6", "6"),
  flag("enable-sandbox"),
  flag("create-sandbox"),
  flag("enable-seccomp"),
  flag("help", "h"),
  flag("version", "v"),
  valued("outbound-addr"),
  valued("outbound-addr6"),
  flag("disable-dns"),
  valued("macaddress"),
  valued("target-type"),
];

/** Throws a Refusal. */
export function parseSlirp(words: readonly string[], host: SlirpHost): SlirpRequest {
  const given = new Map<string, string>();
  const warnings: string[] = [];
  const getopt = new Getopt(FLAGS, words);
  for (let found = nextOption(getopt); found !== null; found = nextOption(getopt)) {
    const { long } = found.flag;
    if (long === "help" || long === "version") return { kind: long };
    const replacement = REPLACED[long];
    if (replacement !== undefined) {
      warnings.push(`WARNING: --${long} is deprecated, please use --${replacement} instead.`);
      given.set(replacement, "");
    } else {
      given.set(long, found.argument);
    }
  }
  return { kind: "run", options: check(given, getopt.operands, warnings, host) };
}

/** Old names of options. */
const REPLACED: Readonly<Record<string, string | undefined>> = {
  "no-host-loopback": "disable-host-loopback",
  "create-sandbox": "enable-sandbox",
};

function nextOption(getopt: Getopt<Flag>): ReturnType<Getopt<Flag>["next"]> {
  try {
    return getopt.next();
  } catch (error) {
    if (error instanceof GetoptError) throw new Refusal(`slirp4netns: ${error.message}`);
    throw error;
  }
}

function check(
  given: ReadonlyMap<string, string>,
  operands: readonly string[],
  warnings: string[],
  host: SlirpHost,
): SlirpOptions {
  const has = (name: string) => given.has(name);
  const value = (name: string) => given.get(name) ?? null;
  const exitFd = descriptor("exit-fd", value("exit-fd"));
  const readyFd = descriptor("ready-fd", value("ready-fd"));
  const mtu = parseMtu(value("mtu"));
  const configure = has("configure");
  if (configure && mtu < MIN_CONFIGURED_MTU) throw new Refusal("cannot set MTU: Invalid argument", false);
  if (has("macaddress") && !configure) {
    throw new Refusal("--macaddr cannot be specified when --configure or -c is not specified");
  }
  refuseBess(value("target-type"), has);
  const { target, tapName } = parseTarget(value("netns-type"), operands, host);
  if (target.kind === "tapfd" && configure) {
    throw new Refusal("--configure conflicts with --netns-type=tapfd: nobody knows the namespace of that TAP");
  }
  if (operands.length > 2) warnings.push("WARNING: too many arguments");
  const userns = value("userns-path");
  if (userns !== null && !host.exists(userns)) throw new Refusal(`userns path doesn't exist: ${userns}`);
  return {
    target,
    tapName,
    configure,
    exitFd,
    readyFd,
    mtu,
    ipv6: has("enable-ipv6"),
    apiSocket: parseSocketPath(value("api-socket")),
    cidr: parseSlirpCidr(value("cidr") ?? DEFAULT_SLIRP_CIDR),
    disableHostLoopback: has("disable-host-loopback"),
    userns,
    sandbox: has("enable-sandbox"),
    seccomp: has("enable-seccomp"),
    outboundAddress: parseOutbound("outbound-addr", value("outbound-addr"), 4, host),
    outboundAddress6: parseOutbound("outbound-addr6", value("outbound-addr6"), 6, host),
    disableDns: has("disable-dns"),
    mac: parseSlirpMac(value("macaddress")),
    warnings,
  };
}

/** As strtol(3) reads a whole decimal number; null where something else is there too. */
function decimal(text: string): number | null {
  return /^\s*[+-]?\d{1,15}$/.test(text) ? Number(text) : null;
}

function descriptor(name: string, text: string | null): number | null {
  if (text === null) return null;
  const fd = decimal(text);
  if (fd === null || fd < 0 || fd > 0x7fffffff) throw new Refusal(`${name} must be a non-negative integer`);
  return fd;
}

function parseMtu(text: string | null): number {
  if (text === null) return DEFAULT_MTU;
  const mtu = decimal(text);
  if (mtu === null || mtu < 1 || mtu > MAX_MTU) throw new Refusal(`MTU must be a positive integer (< ${MAX_MTU + 1})`);
  return mtu;
}

/** User Mode Linux's transport, of which there is no Debian package to test it with. */
function refuseBess(type: string | null, has: (name: string) => boolean): void {
  if (type === null || type === "netns") return;
  if (type !== "bess") throw new Refusal('--target-type must be either "netns" or "bess"');
  for (const name of ["configure", "netns-type", "userns-path"]) {
    if (has(name)) throw new Refusal(`--${name} conflicts with --target-type=bess`);
  }
  throw new Refusal(
    "--target-type=bess is not supported by netns-rootless: use slirp4netns itself for User Mode Linux",
    false,
  );
}

function parseTarget(
  type: string | null,
  operands: readonly string[],
  host: SlirpHost,
): { target: SlirpTarget; tapName: string | null } {
  const [what, name] = operands;
  if (type === "tapfd") {
    if (what === undefined) throw new Refusal("");
    const fd = decimal(what);
    if (fd === null || fd < 0 || fd > 0x7fffffff) throw new Refusal("tapfd must be a non-negative integer");
    return { target: { kind: "tapfd", fd }, tapName: null };
  }
  if (what === undefined || name === undefined) throw new Refusal("");
  const tapName = parseTapName(name);
  if (type === null || type === "pid") {
    const pid = decimal(what);
    if (pid === null || pid < 1 || pid > 0x7fffffff) throw new Refusal("PID must be a positive integer");
    return { target: { kind: "pid", pid }, tapName };
  }
  if (!host.exists(what)) {
    throw new Refusal("existing path expected when --netns-type=path: No such file or directory");
  }
  return { target: { kind: "path", path: what }, tapName };
}

/** As the kernel has it: what is too long is cut off. */
function parseTapName(text: string): string {
  const name = Buffer.from(text).subarray(0, MAX_IFNAME).toString();
  if (!/^[!-~]+$/.test(name) || /[/:%]/.test(name) || /^\.\.?$/.test(name) || name === "lo") {
    throw new Refusal(`ioctl(TUNSETIFF): "${name}" is no name for a new interface`, false);
  }
  return name;
}

function parseSocketPath(path: string | null): string | null {
  if (path !== null && Buffer.byteLength(path) >= MAX_SOCKET_PATH) {
    throw new Refusal(`the specified API socket path is too long (>= ${MAX_SOCKET_PATH})`, false);
  }
  return path;
}

function parseSlirpCidr(text: string): SlirpOptions["cidr"] {
  const match = /^((?:\d{1,3}\.){3}\d{1,3})\/(\d{1,2})$/.exec(text);
  if (match === null) throw new Refusal(`invalid CIDR: ${text}`, false);
  const prefix = Number(match[2]);
  if (prefix < MIN_PREFIX || prefix > MAX_PREFIX) {
    throw new Refusal(`prefix length needs to be ${MIN_PREFIX}-${MAX_PREFIX}`, false);
  }
  const network = addressOf(match[1], 4);
  // No host has an address of these (RFC 6890): nothing that was sent there would come to us.
  const usable = network !== null && network[12] !== 0 && network[12] !== 127 && network[12] < 224;
  if (!usable) throw new Refusal(`invalid network address: ${match[1]}`, false);
  for (let bit = 96 + prefix; bit < 128; bit++) {
    if ((network[bit >> 3] & (0x80 >> (bit & 7))) === 0) continue;
    throw new Refusal("CIDR needs to be a network address like 10.0.2.0/24, not like 10.0.2.100/24", false);
  }
  return { network, prefix };
}

function addressOf(text: string, family: 4 | 6): Address | null {
  try {
    const address = parseAddress(text);
    return isIPv4(address) === (family === 4) ? address : null;
  } catch {
    return null;
  }
}

/** An address, or an interface, of which the first address of that family counts. Whether the host has it shows when it is used. */
function parseOutbound(option: string, text: string | null, family: 4 | 6, host: SlirpHost): Address | null {
  if (text === null) return null;
  const address = addressOf(text, family);
  if (address !== null) return address;
  const interfaces = host.interfaces();
  const own = Object.hasOwn(interfaces, text) ? (interfaces[text] ?? []) : [];
  for (const each of own) {
    const candidate = addressOf(each.address, family);
    if (candidate !== null && (candidate[0] !== 0xfe || family === 4)) return candidate;
  }
  throw new Refusal(`${option} has to be valid ipv${family} address or interface name.`, false);
}

function parseSlirpMac(text: string | null): string | null {
  if (text === null) return null;
  try {
    return parseMac(text);
  } catch {
    const what = `"${text}" is an invalid MAC address.`;
    const wanted = "macaddress has to be a valid MAC address (hex string, 6 bytes, each byte separated by a ':').";
    throw new Refusal(`${what}\n${wanted}`, false);
  }
}

/** This host. */
export function thisHost(interfaces: () => Interfaces): SlirpHost {
  return { exists: existsSync, interfaces };
}
