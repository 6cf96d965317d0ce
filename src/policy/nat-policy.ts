/**
 * The policy of an ordinary sandbox: everything that another machine in the host's place could reach may be reached, and
 * nothing that only the host itself can reach.
 *
 * Theory of operation. Addresses fall into four kinds, looked at in this order:
 *
 *   ours        gateway and DNS address: our services; other addresses of the sandbox's subnet: nobody is there
 *   the host's  the gateway's TCP and UDP ports are the host's 127.0.0.1, closed unless opened (all, or per port)
 *   special     loopback, "this network", multicast, broadcast, reserved (RFC 6890), and every IPv6 form that hides an
 *               IPv4 address (mapped, compatible, translated, NAT64): never dialled, since the host's kernel would take
 *               some of them for itself: connect(0.0.0.0) and connect(::) reach the loopback
 *   the rest    dialled from an ordinary socket of the host. That includes the host's own addresses: a service there that
 *               listens on them is reached as any other machine would reach it, one that listens on 127.0.0.1 is not.
 *               169.254.0.0/16 is of this kind too: it is what the host's own programs see there.
 *
 * An IPv4 address is held v4-mapped (wire/address.ts), so that ::ffff:127.0.0.1 out of an IPv6 packet is 127.0.0.1 here.
 * Stateless but for its options. Asked once per flow.
 */
import type { Address, Endpoint } from "../wire/address.js";
import { endpoint, equalAddress, isIPv4, parseAddress } from "../wire/address.js";
import { Reject } from "../wire/reject.js";
import type { HostLoopback } from "./config.js";
import type { Policy, Protocol, Verdict } from "./policy.js";

export interface NatPolicyOptions {
  /** The sandbox's subnet: its first address and the length of its prefix as written (0 to 32 for IPv4, 0 to 128 for IPv6). */
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** False: nothing answers at the DNS address. */
  readonly serveDns: boolean;
  readonly hostLoopback: HostLoopback;
  /** Address to send from where it is of the destination's family; null: the host's choice. */
  readonly outboundAddress: Address | null;
  /** The resolver that DNS over TCP goes to now; null: there is none. */
  readonly resolver: () => Endpoint | null;
}

const DNS_PORT = 53;
const DHCP_SERVER_PORT = 67;

const HOST_LOOPBACK = parseAddress("127.0.0.1");
const BROADCAST = parseAddress("255.255.255.255");
const UNSPECIFIED_V6 = parseAddress("::");
const LOOPBACK_V6 = parseAddress("::1");

const ECHO: Verdict = { kind: "service", service: "echo" };
const DNS: Verdict = { kind: "service", service: "dns" };
const DHCP: Verdict = { kind: "service", service: "dhcp" };

export class NatPolicy implements Policy {
  readonly #options: NatPolicyOptions;
  /** Bits of the 128 that the addresses of the subnet share. */
  readonly #sharedBits: number;

  constructor(options: NatPolicyOptions) {
    this.#options = options;
    this.#sharedBits = isIPv4(options.network) ? 96 + options.prefix : options.prefix;
  }

  outbound(protocol: Protocol, _source: Address, destination: Address, port: number): Verdict {
    const { gateway, dns, serveDns } = this.#options;
    if (protocol !== "icmp" && port === 0) return refuse(Reject.PortUnreachable, "policy.port_zero");
    if (protocol === "udp" && port === DHCP_SERVER_PORT && this.#isDhcpServer(destination)) return DHCP;
    if (equalAddress(destination, gateway)) return this.#gateway(protocol, port);
    if (serveDns && equalAddress(destination, dns)) return this.#dns(protocol, port);
    if (this.#inSubnet(destination)) {
      if (this.#isSubnetBroadcast(destination)) return refuse("silent", "policy.broadcast");
      return refuse(Reject.HostUnreachable, "policy.no_such_host");
    }
    return specialAddress(destination) ?? this.#dial(destination, port);
  }

  #gateway(protocol: Protocol, port: number): Verdict {
    if (protocol === "icmp") return ECHO;
    if (!this.#loopbackOpen(port)) return refuse(Reject.PortUnreachable, "policy.host_loopback");
    return { kind: "dial", remote: endpoint(HOST_LOOPBACK, port), local: null };
  }

  #dns(protocol: Protocol, port: number): Verdict {
    if (protocol === "icmp") return ECHO;
    if (port !== DNS_PORT) return refuse(Reject.PortUnreachable, "policy.no_such_port");
    if (protocol === "udp") return DNS;
    const remote = this.#options.resolver();
    return remote === null
      ? refuse(Reject.PortUnreachable, "policy.no_resolver")
      : { kind: "dial", remote, local: null };
  }

  #dial(destination: Address, port: number): Verdict {
    const { outboundAddress } = this.#options;
    const sameFamily = outboundAddress !== null && isIPv4(outboundAddress) === isIPv4(destination);
    return {
      kind: "dial",
      remote: endpoint(destination, port),
      local: sameFamily ? endpoint(outboundAddress, 0) : null,
    };
  }

  #loopbackOpen(port: number): boolean {
    const { hostLoopback } = this.#options;
    if (hostLoopback === "open") return true;
    if (hostLoopback === "closed") return false;
    return hostLoopback.some(({ from, to }) => from <= port && port <= to);
  }

  #isDhcpServer(destination: Address): boolean {
    return (
      equalAddress(destination, this.#options.gateway) ||
      equalAddress(destination, BROADCAST) ||
      this.#isSubnetBroadcast(destination)
    );
  }

  #inSubnet(address: Address): boolean {
    return sharedBits(address, this.#options.network) >= this.#sharedBits;
  }

  /** The subnet's last address, and its first (RFC 1122, 3.3.6, the old form). */
  #isSubnetBroadcast(address: Address): boolean {
    if (!isIPv4(address) || !this.#inSubnet(address)) return false;
    let zeros = true;
    let ones = true;
    for (let bit = this.#sharedBits; bit < 128; bit++) {
      if (bitAt(address, bit) === 0) ones = false;
      else zeros = false;
    }
    return zeros || ones;
  }
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
