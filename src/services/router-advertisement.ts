/**
 * Router advertisements (RFC 4861, 6.2; RFC 8106): we are the default router, the prefix, MTU and resolvers are these.
 *
 * Theory of operation. The message is always the same and is encoded once. A solicitation is answered at once, to whoever sent
 * it: there is no second router to talk over. One without a source address is answered to all, no more often than
 * MULTICAST_INTERVAL per link (RFC 4861, 6.2.6). From the first solicitation on a link gets one to all every PERIOD, so that
 * we stay its router; a link that never asked is left in peace, and an idle sandbox with a kernel that does not listen
 * costs no wake-ups.
 *
 * Bounds: one entry per link that asked.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type Timers } from "../flow/timers.js";
import type { Output } from "../link/output.js";
import { type Address, isIPv4, parseAddress } from "../wire/address.js";
import { encodeDomainSearch } from "../wire/dhcp.js";
import { ICMP_HEADER } from "../wire/icmp.js";
import { setIcmpv6Checksum } from "../wire/icmpv6.js";
import { Protocol } from "../wire/ipv4.js";
import { isUnspecified } from "../wire/ipv6.js";
import { encodeRouterAdvertisement } from "../wire/ndp.js";

export interface RouterOptions {
  readonly output: Output;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly counters: Counters;
  /** Our own address on the link, and our hardware address (6 bytes). */
  readonly linkLocal: Address;
  readonly mac: Uint8Array;
  /** The sandbox's subnet; hosts form addresses of it where its length is 64. */
  readonly network: Address;
  readonly prefix: number;
  readonly mtu: number;
  /** Resolvers, of which the IPv6 ones are told, and domains to search; both may be empty. */
  readonly dns: readonly Address[];
  readonly domains?: readonly string[];
}

/** Seconds for which a host takes us for its router. */
const LIFETIME = 9000;
/** Milliseconds: between two advertisements to all, unasked, and because of solicitations without a source. */
export const PERIOD = 1_800_000;
export const MULTICAST_INTERVAL = 3000;
const HOP_LIMIT = 64;
const ALL_NODES = parseAddress("ff02::1");

interface AskedLink {
  readonly timer: Timer;
  /** When all were last told, milliseconds. */
  told: number;
}

export class Router {
  readonly #options: RouterOptions;
  readonly #message: Uint8Array;
  readonly #links = new Map<number, AskedLink>();

  constructor(options: RouterOptions) {
    this.#options = options;
    this.#message = encodeRouterAdvertisement({
      hopLimit: HOP_LIMIT,
      lifetime: LIFETIME,
      managed: true,
      mac: options.mac,
      mtu: options.mtu,
      prefix: options.network,
      prefixLength: options.prefix,
      autonomous: options.prefix === 64,
      dns: options.dns.filter((address) => !isIPv4(address)).slice(0, 8),
      search: encodeDomainSearch(options.domains ?? []),
    });
  }

  /** A host asks for routers. `source` may be the unspecified address. */
  solicited(link: number, source: Address): void {
    const asked = this.#asked(link);
    if (!isUnspecified(source)) {
      this.#send(link, source);
      return;
    }
    const now = this.#options.clock.now();
    if (now - asked.told < MULTICAST_INTERVAL) {
      this.#options.counters.add("router.rate_limit");
      return;
    }
    asked.told = now;
    this.#send(link, ALL_NODES);
  }

  /** Forgets a link that is gone. */
  removeLink(link: number): void {
    const asked = this.#links.get(link);
    if (asked === undefined) return;
    this.#options.timers.cancel(asked.timer);
    this.#links.delete(link);
  }

  #asked(link: number): AskedLink {
    const known = this.#links.get(link);
    if (known !== undefined) return known;
    const { timers, clock } = this.#options;
    const timer = new Timer({
      expired: () => {
        asked.told = clock.now();
        this.#send(link, ALL_NODES);
        timers.arm(timer, asked.told, PERIOD);
      },
    });
    const asked: AskedLink = { timer, told: Number.NEGATIVE_INFINITY };
    this.#links.set(link, asked);
    timers.arm(timer, clock.now(), PERIOD);
    return asked;
  }

  #send(link: number, destination: Address): void {
    const { output, counters, linkLocal } = this.#options;
    const length = this.#message.length;
    const at = output.small(length);
    if (at < 0) {
      counters.add("router.no_room");
      return;
    }
    output.bytes.set(this.#message, at);
    setIcmpv6Checksum(output.view, at, at + length, linkLocal, destination);
    counters.add("router.advertised");
    output.send(link, Protocol.Icmpv6, linkLocal, destination, at, length, ICMP_HEADER, 0);
  }
}
