/**
 * What a new flow out of the sandbox may do, and where it really goes. Asked once per flow (and once per new destination of
 * a UDP flow), never per packet.
 */
import type { Address, Endpoint } from "../wire/address.js";
import type { Reject } from "../wire/reject.js";

export type Protocol = "tcp" | "udp" | "icmp";

export type Verdict =
  /** `remote`: the host-side destination; `local`: the address to send from, or null for the host's choice. */
  | { readonly kind: "dial"; readonly remote: Endpoint; readonly local: Endpoint | null }
  /** The destination is one of our own services or addresses (echo, DNS, DHCP): the named one answers. */
  | { readonly kind: "service"; readonly service: "dns" | "echo" | "dhcp" }
  /** Answer with an ICMP error (TCP: RST where the reason is PortUnreachable), or with silence. */
  | { readonly kind: "refuse"; readonly reason: Reject | "silent"; readonly counter: string };

export interface Policy {
  /** `port` is the destination port, 0 for ICMP. */
  outbound(protocol: Protocol, source: Address, destination: Address, port: number): Verdict;
}
