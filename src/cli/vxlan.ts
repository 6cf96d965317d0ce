/** `--vxlan` and what belongs to it: a network's way to others on other machines, as a person wishes for it. */
import { NetnsError } from "../errors.js";
import { MOST_REMOTES } from "../vxlan/vxlan.js";
import {
  type Address,
  type Endpoint,
  endpoint,
  endpointFamily,
  equalAddress,
  isIPv4,
  parseAddress,
} from "../wire/address.js";
import { isUnicastIPv4 } from "../wire/ipv4.js";
import { isMulticast } from "../wire/ipv6.js";
import { MOST_VNI, VXLAN_PORT } from "../wire/vxlan.js";

export interface VxlanWishes {
  /** VXLAN network identifier, 0 to 16777215. */
  readonly vxlan?: string | undefined;
  /** The other machines, `ADDR` or `ADDR:PORT`. */
  readonly remote?: readonly string[] | undefined;
  readonly vxlanPort?: string | undefined;
}

export interface VxlanSettings {
  readonly vni: number;
  readonly port: number;
  readonly remotes: readonly Endpoint[];
}

/** What of a way's 1,500 bytes the headers leave, with remotes of IPv4 only, and with one of IPv6. */
const MTU = 1450;
const MTU_IPV6 = 1430;

/** null: none was wished for. Throws a NetnsError (USAGE). */
export function vxlanSettings({ vxlan, remote = [], vxlanPort }: VxlanWishes): VxlanSettings | null {
  if (vxlan === undefined) {
    const alone = remote.length > 0 ? "--remote" : vxlanPort === undefined ? null : "--vxlan-port";
    if (alone !== null) throw usage(`${alone}: belongs to --vxlan VNI, which is missing`);
    return null;
  }
  const vni = wholeNumber(vxlan, MOST_VNI);
  if (vni === null)
    throw usage(`--vxlan ${vxlan}: expected the number of the network, 0 to ${MOST_VNI}, the same on all machines`);
  const port = vxlanPort === undefined ? VXLAN_PORT : wholeNumber(vxlanPort, 65_535);
  if (port === null || port === 0) throw usage(`--vxlan-port ${vxlanPort}: expected a UDP port, 1 to 65535`);
  if (remote.length === 0)
    throw usage("--vxlan: no --remote; expected the address of each other machine, for example --remote 192.0.2.7");
  if (remote.length > MOST_REMOTES)
    throw usage(`--remote: ${remote.length} are too many; expected at most ${MOST_REMOTES}`);
  const remotes = remote.map((text) => parseRemote(text, port));
  for (const [i, one] of remotes.entries()) {
    if (remotes.some((other, k) => k < i && equalAddress(one, other, 8, 8))) {
      throw usage(`--remote ${remote[i]}: is there twice; machines are told apart by their addresses`);
    }
  }
  return { vni, port, remotes };
}

/** The largest packet inside that fits a way of 1,500 bytes. */
export function vxlanMtu({ remotes }: VxlanSettings): number {
  return remotes.some((remote) => endpointFamily(remote) === 6) ? MTU_IPV6 : MTU;
}

/** `192.0.2.7`, `192.0.2.7:4790`, `2001:db8::7` or `[2001:db8::7]:4790`. */
function parseRemote(text: string, usual: number): Endpoint {
  const match = /^\[([^\]]*)\](?::(\d+))?$/.exec(text) ?? /^([^:]*)(?::(\d+))?$/.exec(text) ?? [text, text];
  const port = match[2] === undefined ? usual : wholeNumber(match[2], 65_535);
  try {
    if (port === null || port === 0) throw new RangeError("port");
    const address = parseAddress(match[1]);
    if (isGroup(address)) throw new RangeError("group");
    return endpoint(address, port);
  } catch {
    throw usage(
      `--remote ${text}: expected the IP address of another machine, with a port if it is not ${usual}, for example 192.0.2.7 or [2001:db8::7]:4790`,
    );
  }
}

/** True for what is no address of one machine. */
function isGroup(address: Address): boolean {
  return isIPv4(address) ? !isUnicastIPv4(address) && address[12] !== 127 : isMulticast(address);
}

function wholeNumber(text: string, most: number): number | null {
  const value = /^\d{1,8}$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
  return value <= most ? value : null;
}

function usage(message: string): NetnsError {
  return new NetnsError("USAGE", message);
}
