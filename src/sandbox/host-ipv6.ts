/** Whether this host has IPv6, without sending anything and in a few microseconds: it is asked at every start. */
import { type HostFacts, hostFacts } from "./host-facts.js";

/** Scope and flags of the kernel's include/net/ipv6.h and linux/if_addr.h, as /proc/net/if_inet6 has them. */
const GLOBAL_SCOPE = "00";
const DUPLICATE = 0x08;

/**
 * True when some interface has an address of global scope (fc00::/7 included): from one of these the host would send. No
 * line at all, or no file, is a host whose IPv6 is switched off.
 */
export function hostHasIPv6(facts: Pick<HostFacts, "read"> = hostFacts()): boolean {
  // Each line: address, interface, prefix length, scope, flags, name; numbers in hexadecimal.
  return (facts.read("/proc/net/if_inet6") ?? "").split("\n").some((line) => {
    const [, , , scope, flags = "0"] = line.split(/\s+/);
    return scope === GLOBAL_SCOPE && (Number.parseInt(flags, 16) & DUPLICATE) === 0;
  });
}
