/**
 * Tells on which TCP ports a sandbox listens, for as long as somebody wants to know.
 *
 * Theory of operation. The kernel has no event for listen(). There is one for the end of a socket (SKNLGRP_INET_TCP_DESTROY),
 * but it comes for every connection too, and what is needed for the beginning finds the end as well. So the watch looks every
 * LOOK_MS, which costs some 50 microseconds (listeners.ts), and not at all while nobody watches:
 *
 *     watch() ──first──▶ a socket is asked for ──▶ looking ──every LOOK_MS──▶ each watcher hears of the ports
 *                                                     └── the last one stops: the socket is closed
 *
 * A port counts when a socket listens where published connections are led: on all addresses, on one of the sandbox's own, on
 * 127.0.0.1 or ::1. It is there with the first look that finds it, and gone with the second that does not: a look that meets
 * changes may pass over a socket, and a server that starts anew is not to lose its port for that moment.
 *
 * A look that fails says nothing, and neither begins nor ends a port. Counters: `watch.looks_failed`.
 */
import type { Counters } from "../flow/counters.js";
import { ANY_IPV4, ANY_IPV6, LOOPBACK_IPV4, LOOPBACK_IPV6 } from "../publish/names.js";
import { type Address, equalAddress } from "../wire/address.js";
import type { ListeningSocket } from "../wire/sock-diag.js";

export const LOOK_MS = 100;

/** Hears of every look, with the ports on which the sandbox listens, in the order of their appearance. */
export type PortWatcher = (ports: ReadonlySet<number>) => void;

/** Something that looks. close() gives up what it needs for that. */
export interface Look {
  /** All TCP sockets that listen inside; null: this time it could not be learned. */
  read(): readonly ListeningSocket[] | null;
  close(): void;
}

export interface PortWatchOptions {
  /** The sandbox's own addresses. */
  readonly addresses: readonly Address[];
  readonly counters: Counters;
  /** Makes what is needed for looking. Where that fails, the sandbox has ended or has no descriptor for us: nobody hears of anything. */
  readonly open: () => Promise<Look>;
  /** Calls again and again, every so many milliseconds, until what it returns is called. */
  readonly every: (milliseconds: number, call: () => void) => () => void;
}

const EVERYWHERE = [ANY_IPV4, ANY_IPV6, LOOPBACK_IPV4, LOOPBACK_IPV6];

export class PortWatch {
  readonly #options: PortWatchOptions;
  readonly #places: readonly Address[];
  readonly #watchers = new Set<PortWatcher>();
  readonly #ports = new Set<number>();
  /** Those of #ports that the last look did not find. */
  #missing = new Set<number>();
  #opening: Promise<void> | null = null;
  #stop: (() => void) | null = null;

  constructor(options: PortWatchOptions) {
    this.#options = options;
    this.#places = [...EVERYWHERE, ...options.addresses];
  }

  /** Has `watcher` hear of every look from now on, until what is returned is called. */
  watch(watcher: PortWatcher): () => void {
    this.#watchers.add(watcher);
    this.#start();
    return () => {
      if (this.#watchers.delete(watcher) && this.#watchers.size === 0) this.close();
    };
  }

  /** Nobody hears of anything any more. */
  close(): void {
    this.#watchers.clear();
    this.#ports.clear();
    this.#missing.clear();
    this.#stop?.();
    this.#stop = null;
  }

  #start(): void {
    if (this.#stop !== null || this.#opening !== null) return;
    const { counters, every, open } = this.#options;
    this.#opening = open().then(
      (look) => {
        this.#opening = null;
        if (this.#watchers.size === 0) {
          look.close();
          return;
        }
        const stop = every(LOOK_MS, () => this.#look(look));
        this.#stop = () => {
          stop();
          look.close();
        };
        this.#look(look);
      },
      () => {
        this.#opening = null;
        counters.add("watch.no_socket");
      },
    );
  }

  #look(look: Look): void {
    const sockets = look.read();
    if (sockets === null) {
      this.#options.counters.add("watch.looks_failed");
      return;
    }
    const now = new Set<number>();
    for (const { address, port } of sockets) {
      if (this.#places.some((place) => equalAddress(place, address))) now.add(port);
    }
    const missing = new Set<number>();
    for (const port of this.#ports) {
      if (now.has(port)) continue;
      if (this.#missing.has(port)) this.#ports.delete(port);
      else missing.add(port);
    }
    this.#missing = missing;
    for (const port of now) this.#ports.add(port);
    for (const watcher of [...this.#watchers]) watcher(this.#ports);
  }
}
