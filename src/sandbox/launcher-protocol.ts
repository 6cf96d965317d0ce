/**
 * What is said with the launcher: its command line, and the messages on its descriptor 3. The other half is
 * native/launcher/options.h and protocol.h, and both must agree. A message is four 32-bit words in the byte order of the
 * machine, then text.
 */
import type { InsideNetwork, InsideOptions, InsideSubnet, LaunchOptions } from "./sandbox.js";

const HEADER = 16;
/** Bytes of the text of Request.Configure: the most that goes into a packet of a channel, behind the header. */
const MAX_CONFIGURATION = 65_536 - HEADER;
/** The most sockets that one request may ask for. */
export const MAX_SOCKETS = 32;

export enum Request {
  Start = 1,
  /** a: family 4 or 6, or 0 with SocketType.Diagnostic; b: SocketType; c: how many. */
  Sockets = 2,
  /** a: number; b: 1 if it may have come from the terminal. */
  Signal = 3,
  Release = 4,
  /** To a prepared launcher, first of all. a: how many of its last arguments are the command; text: the other arguments. */
  Configure = 5,
}

export enum Reply {
  /**
   * a: Offload bits; b: process id of init, 0: none; text: when that began, then a note per line; descriptors: the queues of the
   * TAP, and with Offload.Output the end of a pipe that the command writes to, then a socket to its broker.
   */
  Ready = 1,
  /** a, b: as asked; c: errno or 0; descriptors: the sockets. */
  Sockets = 2,
  /** a: exit code or -1; b: signal or -1. */
  Exited = 3,
  /** a: errno; text: the step, a line feed, a detail. */
  Failed = 4,
}

export enum Offload {
  Tso4 = 1,
  Tso6 = 2,
  Uso = 4,
  /** Not an offload: the command's output comes by a pipe. */
  Output = 16,
}

export enum SocketType {
  Stream = 1,
  Datagram = 2,
  /** NETLINK_SOCK_DIAG: asks the kernel which sockets there are inside. */
  Diagnostic = 3,
}

export interface Message {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly text: string;
}

/** A step of the launcher that did not succeed. */
export interface LauncherFailure {
  readonly step: string;
  readonly errno: number;
  readonly detail: string;
}

export function encodeRequest(kind: Request, a = 0, b = 0, c = 0): Uint8Array {
  return new Uint8Array(Int32Array.of(kind, a, b, c).buffer);
}

/** For a prepared launcher, whose last `commandLength` arguments are the command. Null when it does not fit. */
export function encodeConfiguration(words: readonly string[], commandLength: number): Uint8Array | null {
  const text = Buffer.from(words.map((word) => `${word}\0`).join(""));
  if (text.length > MAX_CONFIGURATION) return null;
  const bytes = new Uint8Array(HEADER + text.length);
  bytes.set(encodeRequest(Request.Configure, commandLength));
  bytes.set(text, HEADER);
  return bytes;
}

/** Null when the message is shorter than its header. */
export function decodeReply(bytes: Uint8Array): Message | null {
  if (bytes.length < HEADER) return null;
  const [kind = 0, a = 0, b = 0, c = 0] = new Int32Array(bytes.slice(0, HEADER).buffer);
  return {
    kind,
    a,
    b,
    c,
    text: Buffer.from(bytes.buffer, bytes.byteOffset + HEADER, bytes.length - HEADER).toString(),
  };
}

export function failureOf(message: Message): LauncherFailure {
  const end = message.text.indexOf("\n");
  if (end < 0) return { step: message.text, errno: message.a, detail: "" };
  return { step: message.text.slice(0, end), errno: message.a, detail: message.text.slice(end + 1) };
}

function networkArguments(network: InsideNetwork, mac: string): string[] {
  return [
    ...["--ifname", network.ifname, "--mac", mac, "--mtu", String(network.mtu)],
    ...["--congestion", network.congestion.join(","), "--queues", String(network.queues)],
    ...subnetArguments(network.v4, ""),
    ...subnetArguments(network.v6, "6"),
  ];
}

function subnetArguments(subnet: InsideSubnet | null, suffix: "" | "6"): string[] {
  if (subnet === null) return [];
  const { address, prefix, gateway } = subnet;
  return [`--address${suffix}`, `${address}/${prefix}`, `--gateway${suffix}`, gateway];
}

/** What stands before `--` and the command. */
export function runWords(options: InsideOptions, mac: string): string[] {
  const given = ["run", ...networkArguments(options.network, mac)];
  if (options.root) given.push("--root");
  if (options.hostname !== null) given.push("--hostname", options.hostname);
  if (options.resolvConf !== null) given.push("--resolv-conf", options.resolvConf);
  if (options.hosts !== null) given.push("--hosts", options.hosts);
  if (options.detach) given.push("--detach");
  if (options.hold) given.push("--hold");
  return given;
}

export function runArguments(options: LaunchOptions, mac: string): string[] {
  const words = runWords(options, mac);
  return options.hold ? words : [...words, "--", ...options.command];
}

/** A namespace that exists already. */
export type Target = { readonly pid: number } | { readonly path: string };

export interface AttachOptions {
  /** Path of the user namespace to enter before; default: the one that owns the network namespace. */
  readonly userns?: string | undefined;
  /** Leave the settings of the whole namespace as they are. */
  readonly asFound?: boolean;
  /** Make the interface, but leave it down, and whatever addresses the network has to those who are inside. */
  readonly unconfigured?: boolean;
}

export function attachArguments(
  target: Target,
  network: InsideNetwork,
  mac: string,
  { userns, asFound = false, unconfigured = false }: AttachOptions = {},
): string[] {
  const configured = unconfigured ? { ...network, v4: null, v6: null } : network;
  const given = ["attach", ...networkArguments(configured, mac)];
  given.push(...("pid" in target ? ["--pid", String(target.pid)] : ["--path", target.path]));
  if (userns !== undefined) given.push("--userns", userns);
  if (asFound) given.push("--as-found");
  if (unconfigured) given.push("--unconfigured");
  return given;
}
