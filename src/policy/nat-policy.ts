/**
 * The policy of an ordinary sandbox: everything that another machine in the host's place could reach may be reached, and
 * nothing that only the host itself can reach.
 *
 * Theory of operation. Addresses fall into four kinds, looked at in this order:
 *
 *   ours        gateway and DNS address: our services; other addresses of the sandbox's subnets: nobody is there
 *   the host's  the gateway's TCP and UDP ports are those of the host's loopback (127.0.0.1, or ::1 where the gateway was
 *               spoken to by IPv6), closed unless opened (all, or per port)
 *   special     loopback, "this network", multicast, broadcast, reserved (RFC 6890), and every IPv6 form that hides an
 *               IPv4 address (mapped, compatible, translated, NAT64): never dialled, since the host's kernel would take
 *               some of them for itself: connect(0.0.0.0) and connect(::) reach the loopback
 *   the rest    dialled from an ordinary socket of the host. That includes the host's own addresses: a service there that
 *               listens on them is reached as any other machine would reach it, one that listens on 127.0.0.1 is not.
 *               169.254.0.0/16 is of this kind too: it is what the host's own programs see there.
 *
 * A sandbox without one of the families dials nothing of that family.
 *
 * An IPv4 address is held v4-mapped (wire/address.ts), so that ::ffff:127.0.0.1 out of an IPv6 packet is 127.0.0.1 here.
 * Stateless but for its options. Asked once per flow.
 */
import type { Address } from "../wire/address.js";
import { endpoint, endpointPort, equalAddress, isIPv4, parseAddress } from "../wire/address.js";
import { Reject } from "../wire/reject.js";
import type { HostLoopback } from "./config.js";
import type { Policy, Protocol, Verdict } from "./policy.js";

/** What the sandbox has of one family: its first address and the length of its prefix as written (0 to 32, or 0 to 128). */
export interface Subnet {
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** IPv6: the gateway's address on the link itself, where it has one. */
  readonly linkLocal?: Address;
}

export interface NatPolicyOptions {
  /** null: the sandbox has no IPv4. */
  readonly v4: Subnet | null;
  /** null: the sandbox has no IPv6. */
  readonly v6: Subnet | null;
  /** False: nothing answers at the DNS address. */
  readonly serveDns: boolean;
  readonly hostLoopback: HostLoopback;
  /** Addresses to send from to a destination of either family; null: the host's choice. */
  readonly outboundAddress: Address | null;
  readonly outboundAddress6: Address | null;
}

const DNS_PORT = 53;
const DHCP_SERVER_PORT = 67;
const DHCPV6_SERVER_PORT = 547;

const LOOPBACK_V4 = parseAddress("127.0.0.1");
/** All_DHCP_Relay_Agents_and_Servers (RFC 8415, 7.1). */
const DHCPV6_SERVERS = parseAddress("ff02::1:2");
const BROADCAST = parseAddress("255.255.255.255");
const UNSPECIFIED_V6 = parseAddress("::");
const LOOPBACK_V6 = parseAddress("::1");

const ECHO: Verdict = { kind: "service", service: "echo" };
const DNS: Verdict = { kind: "service", service: "dns" };
const DHCP: Verdict = { kind: "service", service: "dhcp" };
const SILENT: Verdict = { kind: "refuse", reason: "silent", counter: "policy.no_such_family" };

export class NatPolicy implements Policy {
  readonly #options: NatPolicyOptions;
  /** The verdict on the destination that was asked for last, which is often asked for again. */
  #lastDialed: Verdict | null = null;

  constructor(options: NatPolicyOptions) {
    this.#options = options;
  }

  outbound(protocol: Protocol, _source: Address, destination: Address, port: number): Verdict {
    const { v4, v6, serveDns } = this.#options;
    const subnet = isIPv4(destination) ? v4 : v6;
    if (subnet === null) return isGroup(destination) ? SILENT : refuse(Reject.NoRoute, "policy.no_such_family");
    if (protocol !== "icmp" && port === 0) return refuse(Reject.PortUnreachable, "policy.port_zero");
    if (protocol === "udp" && isDhcpServer(destination, port, subnet)) return DHCP;
    if (isGateway(destination, subnet)) return this.#gateway(protocol, destination, port);
    if (serveDns && equalAddress(destination, subnet.dns)) return this.#dns(protocol, port);
    if (inSubnet(destination, subnet)) {
      if (isSubnetBroadcast(destination, subnet)) return refuse("silent", "policy.broadcast");
      return refuse(Reject.HostUnreachable, "policy.no_such_host");
    }
    return specialAddress(destination) ?? this.#dial(destination, port);
  }

  #gateway(protocol: Protocol, gateway: Address, port: number): Verdict {
    if (protocol === "icmp") return ECHO;
    if (!this.#loopbackOpen(port)) return refuse(Reject.PortUnreachable, "policy.host_loopback");
    return { kind: "dial", remote: endpoint(isIPv4(gateway) ? LOOPBACK_V4 : LOOPBACK_V6, port), local: null };
  }

  #dns(protocol: Protocol, port: number): Verdict {
    if (protocol === "icmp") return ECHO;
    if (port !== DNS_PORT) return refuse(Reject.PortUnreachable, "policy.no_such_port");
    return DNS;
  }

  #dial(destination: Address, port: number): Verdict {
    const last = this.#lastDialed;
    if (last?.kind === "dial" && endpointPort(last.remote) === port && equalAddress(last.remote, destination, 8)) {
      return last;
    }
    const { outboundAddress, outboundAddress6 } = this.#options;
    const local = isIPv4(destination) ? outboundAddress : outboundAddress6;
    const verdict: Verdict = {
      kind: "dial",
      remote: endpoint(destination, port),
      local: local === null ? null : endpoint(local, 0),
    };
    this.#lastDialed = verdict;
    return verdict;
  }

  #loopbackOpen(port: number): boolean {
    const { hostLoopback } = this.#options;
    if (hostLoopback === "open") return true;
    if (hostLoopback === "closed") return false;
    return hostLoopback.some(({ from, to }) => from <= port && port <= to);
  }
}

function isGateway(address: Address, { gateway, linkLocal }: Subnet): boolean {
  return equalAddress(address, gateway) || (linkLocal !== undefined && equalAddress(address, linkLocal));
}

function isDhcpServer(destination: Address, port: number, subnet: Subnet): boolean {
  if (port === DHCPV6_SERVER_PORT) return equalAddress(destination, DHCPV6_SERVERS);
  if (port !== DHCP_SERVER_PORT || !isIPv4(destination)) return false;
  return (
    equalAddress(destination, subnet.gateway) ||
    equalAddress(destination, BROADCAST) ||
    isSubnetBroadcast(destination, subnet)
  );
}

function inSubnet(address: Address, subnet: Subnet): boolean {
  return sharedBits(address, subnet.network) >= prefixBits(subnet);
}

/** Bits of the 128 that the addresses of the subnet share. */
function prefixBits({ network, prefix }: Subnet): number {
  return isIPv4(network) ? 96 + prefix : prefix;
}

/** An IPv4 subnet's last address, and its first (RFC 1122, 3.3.6, the old form). */
function isSubnetBroadcast(address: Address, subnet: Subnet): boolean {
  if (!isIPv4(address) || !inSubnet(address, subnet)) return false;
  let zeros = true;
  let ones = true;
  for (let bit = prefixBits(subnet); bit < 128; bit++) {
    if (bitAt(address, bit) === 0) ones = false;
    else zeros = false;
  }
  return zeros || ones;
}

/** An address that no error may be sent about (RFC 1122, 3.2.2; RFC 4443, 2.4). */
function isGroup(address: Address): boolean {
  return isIPv4(address) ? address[12] >= 224 : address[0] === 0xff;
}

/** The verdict on an address that no host has, or that the host keeps to itself; null for an ordinary one. */
function specialAddress(address: Address): Verdict | null {
  return isIPv4(address) ? specialIPv4(address, 12) : specialIPv6(address);
}

/** RFC 6890, 2.2.2. `at`: where the four bytes of the IPv4 address begin. */
function specialIPv4(bytes: Uint8Array, at: number): Verdict | null {
  const first = bytes[at];
  if (first === 0) return refuse(Reject.NoRoute, "policy.this_network");
  if (first === 127) return refuse(Reject.NoRoute, "policy.loopback");
  if (first >= 224 && first <= 239) return refuse("silent", "policy.multicast");
  if (first < 240) return null;
  for (let i = 1; i < 4; i++) if (bytes[at + i] !== 255) return refuse(Reject.NoRoute, "policy.reserved");
  return first === 255 ? refuse("silent", "policy.broadcast") : refuse(Reject.NoRoute, "policy.reserved");
}

/** RFC 6890, 2.2.3. */
function specialIPv6(address: Address): Verdict | null {
  if (address[0] === 0xff) return refuse("silent", "policy.multicast");
  if (equalAddress(address, UNSPECIFIED_V6)) return refuse(Reject.NoRoute, "policy.this_network");
  if (equalAddress(address, LOOPBACK_V6)) return refuse(Reject.NoRoute, "policy.loopback");
  // Link-local, and the site-local that it once had beside it: they mean nothing without an interface (RFC 4007).
  if (address[0] === 0xfe && (address[1] & 0x80) === 0x80) return refuse(Reject.NoRoute, "policy.link_local");
  // ::/96 (IPv4-compatible, RFC 4291, 2.5.5.1) and ::ffff:0:0:0/96 (IPv4-translated, RFC 2765): no host has them any more.
  if (isZero(address, 0, 12)) return refuse(Reject.NoRoute, "policy.reserved");
  if (isZero(address, 0, 8) && address[8] === 0xff && address[9] === 0xff && isZero(address, 10, 12)) {
    return refuse(Reject.NoRoute, "policy.reserved");
  }
  // 64:ff9b::/96 (NAT64, RFC 6052): as good as the IPv4 address in it.
  if (address[0] === 0 && address[1] === 0x64 && address[2] === 0xff && address[3] === 0x9b && isZero(address, 4, 12)) {
    return specialIPv4(address, 12);
  }
  // 64:ff9b:1::/48 (NAT64 of the network's own, RFC 8215): likewise, in its usual form with a prefix of 96 bits.
  if (
    address[0] === 0 &&
    address[1] === 0x64 &&
    address[2] === 0xff &&
    address[3] === 0x9b &&
    address[4] === 0 &&
    address[5] === 1
  ) {
    return specialIPv4(address, 12);
  }
  // 2002::/16 (6to4, RFC 3056): likewise.
  if (address[0] === 0x20 && address[1] === 0x02) return specialIPv4(address, 2);
  return null;
}

function refuse(reason: Reject | "silent", counter: string): Verdict {
  return { kind: "refuse", reason, counter };
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (bytes[i] !== 0) return false;
  return true;
}

function bitAt(address: Address, bit: number): number {
  return (address[bit >> 3] >> (7 - (bit & 7))) & 1;
}

/** How many bits from the first on two addresses have in common, 0 to 128. */
function sharedBits(a: Address, b: Address): number {
  for (let i = 0; i < 16; i++) {
    const difference = a[i] ^ b[i];
    if (difference !== 0) return i * 8 + Math.clz32(difference) - 24;
  }
  return 128;
}
