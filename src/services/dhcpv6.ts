/**
 * A DHCPv6 server with one address to give on each link (RFC 8415).
 *
 * Theory of operation. As with DHCPv4 nobody needs this who takes the interface as it is set up; a DHCP client inside gets
 * the very address that the interface has. A link is one domain of trust with one address, so it is offered to every client, for the
 * first identity association of each message, and nothing is remembered:
 *
 *     SOLICIT                  ADVERTISE, or REPLY to a rapid commit
 *     REQUEST, RENEW, REBIND   REPLY: our address; another one of the client's with lifetimes of 0
 *     CONFIRM                  REPLY: whether the client's addresses are of this link
 *     INFORMATION-REQUEST      REPLY: resolvers and domains, which the others get as well
 *     RELEASE, DECLINE         REPLY: success
 *
 * Temporary addresses and prefixes are refused. Messages for another server, of relays, or without the identifiers that
 * RFC 8415, 16, asks for are dropped and counted.
 */
import { type Address, equalAddress, isIPv4 } from "../wire/address.js";
import { encodeDomainSearch } from "../wire/dhcp.js";
import {
  type Association,
  DHCPV6_CLIENT_PORT,
  DHCPV6_SERVER_PORT,
  Dhcpv6Option,
  type Dhcpv6OptionValue,
  type Dhcpv6Request,
  Dhcpv6Status,
  Dhcpv6Type,
  encodeAddress,
  encodeAssociation,
  encodeDhcpv6,
  encodeStatus,
  parseDhcpv6,
} from "../wire/dhcpv6.js";
import type { DhcpOptions } from "./dhcp.js";

export interface Dhcpv6Options extends Pick<DhcpOptions, "lease" | "domains" | "counters" | "respond"> {
  /** The address of the member behind a link; null: there is none. */
  readonly addressOf: (link: number) => Address | null;
  /** Their subnet. */
  readonly network: Address;
  readonly prefix: number;
  /** Our own address on the link, and our hardware address (6 bytes). */
  readonly linkLocal: Address;
  readonly mac: Uint8Array;
  /** Resolvers for the client; may be empty. Only IPv6 ones are told. */
  readonly dns: readonly Address[];
}

const DAY = 86_400;
/** DUID-LL: type 3, Ethernet (RFC 8415, 11.4). */
const DUID_LINK_LAYER = [0, 3, 0, 1];

export class Dhcpv6Server {
  readonly #options: Dhcpv6Options;
  readonly #id: Uint8Array;
  readonly #lease: number;
  /** Options of every answer but refusals. */
  readonly #common: Dhcpv6OptionValue[] = [];

  constructor(options: Dhcpv6Options) {
    this.#options = options;
    this.#id = Uint8Array.from([...DUID_LINK_LAYER, ...options.mac]);
    this.#lease = options.lease ?? DAY;
    const dns = options.dns.filter((address) => !isIPv4(address)).slice(0, 8);
    if (dns.length > 0) this.#common.push([Dhcpv6Option.DnsServers, Uint8Array.from(dns.flatMap((each) => [...each]))]);
    const search = encodeDomainSearch(options.domains ?? []);
    if (search.length > 0) this.#common.push([Dhcpv6Option.DomainList, search]);
  }

  /** Takes a datagram to port 547; see DatagramService in udp/udp. Answers before it returns. */
  request(
    link: number,
    source: Address,
    _sourcePort: number,
    _destination: Address,
    _destinationPort: number,
    bytes: Uint8Array,
  ): void {
    const { addressOf, counters, linkLocal, respond } = this.#options;
    const request = parseDhcpv6(bytes);
    const address = addressOf(link);
    const answer =
      request === null ? "dhcpv6.malformed" : address === null ? "dhcpv6.no_address" : this.#answer(request, address);
    if (typeof answer === "string") {
      counters.add(answer);
      return;
    }
    counters.add("dhcpv6.answered");
    respond(link, linkLocal, DHCPV6_SERVER_PORT, source, DHCPV6_CLIENT_PORT, answer);
  }

  /** The answer to a message, or the counter under which it is dropped. */
  #answer(request: Dhcpv6Request, address: Address): Uint8Array | string {
    const { type, client, server } = request;
    if (type === Dhcpv6Type.RelayForward) return "dhcpv6.relayed";
    const addressed =
      type === Dhcpv6Type.Request ||
      type === Dhcpv6Type.Renew ||
      type === Dhcpv6Type.Release ||
      type === Dhcpv6Type.Decline;
    if (client === null && type !== Dhcpv6Type.InformationRequest) return "dhcpv6.malformed";
    if (server !== null && !equalBytes(server, this.#id)) return "dhcpv6.other_server";
    if ((server !== null) !== addressed && type !== Dhcpv6Type.InformationRequest) return "dhcpv6.malformed";
    switch (type) {
      case Dhcpv6Type.Solicit:
        return request.rapidCommit
          ? this.#reply(request, Dhcpv6Type.Reply, [
              [Dhcpv6Option.RapidCommit, new Uint8Array(0)],
              ...this.#given(request, address),
            ])
          : this.#reply(request, Dhcpv6Type.Advertise, this.#given(request, address));
      case Dhcpv6Type.Request:
      case Dhcpv6Type.Renew:
      case Dhcpv6Type.Rebind:
        return this.#reply(request, Dhcpv6Type.Reply, this.#given(request, address));
      case Dhcpv6Type.InformationRequest:
        return this.#reply(request, Dhcpv6Type.Reply, this.#common);
      case Dhcpv6Type.Confirm:
        return this.#confirm(request);
      case Dhcpv6Type.Release:
      case Dhcpv6Type.Decline:
        return this.#reply(request, Dhcpv6Type.Reply, [encodeStatus(Dhcpv6Status.Success, "")]);
      default:
        return "dhcpv6.unknown_type";
    }
  }

  #reply({ transaction, client }: Dhcpv6Request, type: Dhcpv6Type, options: readonly Dhcpv6OptionValue[]): Uint8Array {
    const ids: Dhcpv6OptionValue[] = [[Dhcpv6Option.ServerId, this.#id]];
    if (client !== null) ids.unshift([Dhcpv6Option.ClientId, client]);
    return encodeDhcpv6(type, transaction, [...ids, ...options]);
  }

  /** What each association gets, and the common options. */
  #given({ associations }: Dhcpv6Request, address: Address): Dhcpv6OptionValue[] {
    const first = associations.find(({ kind }) => kind === Dhcpv6Option.NonTemporary);
    return [
      ...associations.map((each) => (each === first ? this.#leased(each, address) : refused(each))),
      ...this.#common,
    ];
  }

  #leased(association: Association, address: Address): Dhcpv6OptionValue {
    const lease = this.#lease;
    const others = association.addresses.filter((each) => !equalAddress(each, address));
    return encodeAssociation(association, Math.floor(lease / 2), Math.floor((lease * 4) / 5), [
      encodeAddress(address, lease, lease),
      ...others.map((each) => encodeAddress(each, 0, 0)),
    ]);
  }

  /** RFC 8415, 18.3.3: without an address to confirm there is no answer. */
  #confirm(request: Dhcpv6Request): Uint8Array | string {
    const { network, prefix } = this.#options;
    const addresses = request.associations.flatMap((each) => each.addresses);
    if (addresses.length === 0) return "dhcpv6.nothing_to_confirm";
    const onLink = addresses.every((each) => samePrefix(each, network, prefix));
    const status = onLink ? Dhcpv6Status.Success : Dhcpv6Status.NotOnLink;
    return this.#reply(request, Dhcpv6Type.Reply, [encodeStatus(status, onLink ? "" : "not of this link")]);
  }
}

function refused(association: Association): Dhcpv6OptionValue {
  const status =
    association.kind === Dhcpv6Option.PrefixDelegation
      ? encodeStatus(Dhcpv6Status.NoPrefixes, "no prefixes here")
      : encodeStatus(Dhcpv6Status.NoAddresses, "one address for each client");
  return encodeAssociation(association, 0, 0, [status]);
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function samePrefix(a: Address, b: Address, bits: number): boolean {
  for (let bit = 0; bit < bits; bit++) if (((a[bit >> 3] ^ b[bit >> 3]) >> (7 - (bit & 7))) & 1) return false;
  return true;
}
