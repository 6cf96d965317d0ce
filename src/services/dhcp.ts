/**
 * A DHCPv4 server with one address to give on each link (RFC 2131).
 *
 * Theory of operation. A member's interface is set up before anything runs inside, so nobody needs this; but whoever
 * runs a DHCP client inside (a container image's init, udhcpc) gets the very address that the interface has. A link is one domain of
 * trust with one address, so it is offered to every client on it, whatever its hardware address, and nothing is remembered:
 *
 *     DISCOVER           OFFER
 *     REQUEST            ACK if it is for our address (or renews it), NAK otherwise, silence if it took another server
 *     INFORM             ACK without address and lease
 *     DECLINE, RELEASE   nothing
 *
 * A lease is as long as the client wishes, within SHORTEST_LEASE and our own: it costs nothing, and the address never goes to anybody else.
 *
 * Relayed requests (giaddr) are not for us. Everything that is dropped is counted.
 */
import type { Counters } from "../flow/counters.js";
import { type Address, isIPv4, parseAddress } from "../wire/address.js";
import {
  DHCP_CLIENT_PORT,
  DHCP_SERVER_PORT,
  DhcpOption,
  type DhcpRequest,
  DhcpType,
  encodeDomainSearch,
  parseDhcp,
  writeDhcpReply,
} from "../wire/dhcp.js";
import { ipv4Address, ipv4Word, prefixMask } from "../wire/ipv4.js";

const BROADCAST = parseAddress("255.255.255.255");

export interface DhcpOptions {
  /** The address of the member behind a link; null: there is none. */
  readonly addressOf: (link: number) => Address | null;
  /** Their subnet's prefix length, and our own address there. */
  readonly prefix: number;
  readonly gateway: Address;
  /** Resolvers for the client; may be empty. Only IPv4 ones are told. */
  readonly dns: readonly Address[];
  /** Bytes. */
  readonly mtu: number;
  /** Seconds; default one day. */
  readonly lease?: number;
  /** Domains to search; may be empty. */
  readonly domains?: readonly string[];
  readonly counters: Counters;
  /** Sends a datagram into the sandbox (Udp.respond). */
  readonly respond: (
    link: number,
    source: Address,
    sourcePort: number,
    destination: Address,
    destinationPort: number,
    bytes: Uint8Array,
  ) => void;
}

const DAY = 86_400;
/** Seconds: whoever wishes less would not do much else. */
const SHORTEST_LEASE = 4;

export class DhcpServer {
  readonly #counters: Counters;
  readonly #respond: DhcpOptions["respond"];
  readonly #gateway: Address;
  readonly #addressOf: DhcpOptions["addressOf"];
  readonly #server: number;
  /** Options of every answer. */
  readonly #common: (readonly [DhcpOption, Uint8Array])[];
  readonly #lease: number;

  constructor(options: DhcpOptions) {
    const { mtu, lease = DAY, domains = [] } = options;
    this.#counters = options.counters;
    this.#respond = options.respond;
    this.#gateway = options.gateway;
    this.#addressOf = options.addressOf;
    this.#server = ipv4Word(options.gateway);
    this.#common = [
      [DhcpOption.SubnetMask, uint32(prefixMask(options.prefix))],
      [DhcpOption.Router, uint32(this.#server)],
      [DhcpOption.InterfaceMtu, Uint8Array.of(mtu >>> 8, mtu & 0xff)],
    ];
    const dns = options.dns.filter((address) => isIPv4(address)).slice(0, 8);
    if (dns.length > 0) {
      this.#common.push([DhcpOption.DnsServers, Uint8Array.from(dns.flatMap((address) => [...address.slice(12)]))]);
    }
    const search = encodeDomainSearch(domains);
    if (search.length > 0) {
      this.#common.push([DhcpOption.DomainName, Buffer.from(domains[0], "latin1").subarray(0, 255)]);
      this.#common.push([DhcpOption.DomainSearch, search]);
    }
    this.#lease = lease;
  }

  /** Takes a datagram to port 67; see DatagramService in udp/udp. Answers before it returns. */
  request(
    link: number,
    _source: Address,
    _sourcePort: number,
    _destination: Address,
    _destinationPort: number,
    bytes: Uint8Array,
  ): void {
    const request = parseDhcp(bytes);
    if (request === null || request.relayAddress !== 0) {
      this.#counters.add(request === null ? "dhcp.malformed" : "dhcp.relayed");
      return;
    }
    const own = this.#addressOf(link);
    if (own === null) {
      this.#counters.add("dhcp.no_address");
      return;
    }
    const address = ipv4Word(own);
    switch (request.type) {
      case DhcpType.Discover:
        this.#reply(link, request, DhcpType.Offer, address, address, this.#leased(request));
        break;
      case DhcpType.Request:
        this.#acknowledge(link, request, address);
        break;
      case DhcpType.Inform:
        this.#reply(link, request, DhcpType.Ack, address, 0, this.#common);
        break;
      case DhcpType.Decline:
      case DhcpType.Release:
        this.#counters.add("dhcp.given_back");
        break;
      default:
        this.#counters.add("dhcp.unknown_type");
    }
  }

  /** RFC 2131 4.3.2: the address is in option 50 when selecting or rebooting, in ciaddr when renewing. */
  #acknowledge(link: number, request: DhcpRequest, address: number): void {
    if (request.serverId !== 0 && request.serverId !== this.#server) {
      this.#counters.add("dhcp.other_server");
      return;
    }
    const wanted = request.requestedAddress !== 0 ? request.requestedAddress : request.clientAddress;
    if (wanted === address) {
      this.#reply(link, request, DhcpType.Ack, address, address, this.#leased(request));
    } else {
      this.#counters.add("dhcp.refused");
      this.#reply(link, request, DhcpType.Nak, address, 0, []);
    }
  }

  /** The options of a lease. */
  #leased({ leaseTime }: DhcpRequest): (readonly [DhcpOption, Uint8Array])[] {
    const lease = leaseTime === 0 ? this.#lease : Math.max(SHORTEST_LEASE, Math.min(leaseTime, this.#lease));
    return [
      [DhcpOption.LeaseTime, uint32(lease)],
      [DhcpOption.Renewal, uint32(Math.floor(lease / 2))],
      [DhcpOption.Rebinding, uint32(Math.floor((lease * 7) / 8))],
      ...this.#common,
    ];
  }

  /**
   * To the client's address if it has one that it uses, else to everybody (RFC 2131 4.1).
   * @param own the link's address
   * @param given what the answer gives
   */
  #reply(
    link: number,
    request: DhcpRequest,
    type: DhcpType,
    own: number,
    given: number,
    options: readonly (readonly [DhcpOption, Uint8Array])[],
  ): void {
    const bytes = writeDhcpReply(request, type, given, this.#server, [
      [DhcpOption.ServerId, uint32(this.#server)],
      ...options,
    ]);
    const unicast = type !== DhcpType.Nak && request.clientAddress === own;
    const destination = unicast ? ipv4Address(request.clientAddress) : BROADCAST;
    this.#counters.add("dhcp.answered");
    this.#respond(link, this.#gateway, DHCP_SERVER_PORT, destination, DHCP_CLIENT_PORT, bytes);
  }
}

function uint32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}
