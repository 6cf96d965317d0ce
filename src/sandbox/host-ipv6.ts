/** Whether this host has IPv6, without sending anything and in a fraction of a millisecond: it is asked at every start. */
import { readFileSync } from "node:fs";

/**
 * A line of an address of global scope (00), which nobody else was found to have (flag 0x08, IFA_F_DADFAILED): address, interface,
 * prefix length, scope, flags, name; numbers in hexadecimal.
 */
const GLOBAL_ADDRESS = / 00 [0-9a-f][0-7] +\S+$/m;

/**
 * True when some interface has an address of global scope (fc00::/7 included): from one of these the host would send. No
 * line at all, or no file, is a host whose IPv6 is switched off.
 */
export function hostHasIPv6(read: (path: string) => string | null = readText): boolean {
  return GLOBAL_ADDRESS.test(read("/proc/net/if_inet6") ?? "");
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
