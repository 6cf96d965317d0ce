/**
 * Which resolver to ask, and in which order.
 *
 * Theory of operation. The order is the host's (services/resolvers.ts), except that resolvers which are dead go last:
 *
 *     alive ──a try without an answer, in which it answered nobody else, or an error for it──→ dead
 *     alive ←──an answer to anybody──────────────────────────────────────────────────────────── dead
 *
 * A dead one is asked in its turn, and once per PROBE_MS besides, by a copy of a query that somebody else is asked too: so
 * finding out that it is back delays no query. Where all are dead the host's order holds again. When the host's list changes,
 * what is known of the resolvers that stay is kept.
 */
import type { Clock } from "../flow/clock.js";
import type { Endpoint } from "../wire/address.js";

export const PROBE_MS = 10_000;

/** One resolver, and what is known of it. Times are the clock's milliseconds. */
export class Upstream {
  readonly endpoint: Endpoint;
  dead = false;
  /** When it last answered. */
  heardAt = Number.NEGATIVE_INFINITY;
  /** Dead: when it is to be probed. */
  probeAt = 0;

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
  }
}

export class Upstreams {
  readonly #servers: () => readonly Endpoint[];
  readonly #clock: Clock;
  #known: readonly Endpoint[] = [];
  #all: readonly Upstream[] = [];
  #ranked: readonly Upstream[] = [];

  /** @param servers the host's resolvers now: the same array as long as they are the same */
  constructor(servers: () => readonly Endpoint[], clock: Clock) {
    this.#servers = servers;
    this.#clock = clock;
  }

  /** All, in the order to ask them in. The array does not change. */
  ranked(): readonly Upstream[] {
    const servers = this.#servers();
    if (servers !== this.#known) {
      const former = this.#all;
      this.#known = servers;
      this.#all = servers.map(
        (server) => former.find(({ endpoint }) => sameEndpoint(endpoint, server)) ?? new Upstream(server),
      );
      this.#rank();
    }
    return this.#ranked;
  }

  /** A dead one that is to be asked besides `first`; null: there is none now. */
  probe(first: Upstream): Upstream | null {
    if (first.dead) return null;
    const now = this.#clock.now();
    const due = this.#all.find((each) => each.dead && each.probeAt <= now) ?? null;
    if (due !== null) due.probeAt = now + PROBE_MS;
    return due;
  }

  /** It has answered a question. */
  heard(upstream: Upstream): void {
    upstream.heardAt = this.#clock.now();
    if (!upstream.dead) return;
    upstream.dead = false;
    this.#rank();
  }

  /** It has not answered what it was asked at `since`. */
  silent(upstream: Upstream, since: number): void {
    if (upstream.heardAt < since) this.failed(upstream);
  }

  /** The host, or a router, says that it cannot be asked. */
  failed(upstream: Upstream): void {
    if (upstream.dead) return;
    upstream.dead = true;
    upstream.probeAt = this.#clock.now() + PROBE_MS;
    this.#rank();
  }

  #rank(): void {
    this.#ranked = [...this.#all.filter(({ dead }) => !dead), ...this.#all.filter(({ dead }) => dead)];
  }
}

function sameEndpoint(a: Endpoint, b: Endpoint): boolean {
  return a.every((byte, index) => byte === b[index]);
}
