/**
 * The resolvers that the host uses now.
 *
 * Theory of operation. /etc/resolv.conf is read when it is first asked for, and again when it is another file than before
 * (its inode, size or time of change differ), which is looked up at most once a second and only when somebody asks. That
 * outlives every way in which the file is replaced: written in place, renamed over, a symbolic link that turns elsewhere;
 * watching the directory does not. A file that vanishes or cannot be read leaves what was known before; if nothing was, and
 * where the file names no server, it is 127.0.0.1, as resolv.conf(5) has it. Given upstreams (`--dns`) replace the file's.
 *
 * Leaves out: search domains and options, which the sandbox's own resolver wants in its own resolv.conf (sandbox/files.ts).
 *
 * Bounds: three servers, as in libc; 64 KiB of file.
 */
import { readFileSync, statSync } from "node:fs";
import type { Clock } from "../flow/clock.js";
import { native } from "../native/binding.js";
import { type Endpoint, endpoint, parseAddress } from "../wire/address.js";

const DNS_PORT = 53;
const MAX_SERVERS = 3;
const MAX_FILE = 65536;
const LOOK_EVERY_MS = 1000;

/** Number of an interface by its name, as it stands behind the `%` of a link-local address; 0: there is none. */
export type ScopeOf = (name: string) => number;

/** The servers that a resolv.conf names, resolv.conf(5): at most three, port 53. What it does not understand it passes over, as libc does. */
export function parseServers(text: string, scopeOf: ScopeOf = interfaceScope): readonly Endpoint[] {
  const servers: Endpoint[] = [];
  for (const line of text.slice(0, MAX_FILE).split("\n")) {
    const [keyword, value] = line.trim().split(/\s+/);
    if (keyword !== "nameserver" || value === undefined || servers.length >= MAX_SERVERS) continue;
    const server = parseServer(value, scopeOf);
    if (server !== null) servers.push(server);
  }
  return servers;
}

function parseServer(text: string, scopeOf: ScopeOf): Endpoint | null {
  const [address, zone] = text.split("%", 2);
  try {
    const server = endpoint(parseAddress(address), DNS_PORT);
    if (zone !== undefined) {
      const scope = /^\d+$/.test(zone) ? Number(zone) : scopeOf(zone);
      new DataView(server.buffer).setUint32(4, scope, true);
    }
    return server;
  } catch {
    return null;
  }
}

function interfaceScope(name: string): number {
  return native().interfaceIndex(name);
}

/** The file, so that tests can have one of their own. */
export interface ResolvConfFile {
  /** Changes whenever the file does; null: there is none. */
  stamp(): string | null;
  /** Throws where it cannot be read. */
  read(): string;
}

export function resolvConfFile(path = "/etc/resolv.conf"): ResolvConfFile {
  return {
    stamp() {
      const stat = statSync(path, { throwIfNoEntry: false });
      return stat === undefined ? null : `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs} ${stat.ctimeMs}`;
    },
    read: () => readFileSync(path, "utf8"),
  };
}

export interface ResolversOptions {
  /** Servers to use instead of the host's; null: the host's. */
  readonly upstreams: readonly Endpoint[] | null;
  readonly clock: Clock;
  /** Default: /etc/resolv.conf, opened by this process. */
  readonly file?: ResolvConfFile | undefined;
}

export class Resolvers {
  readonly #upstreams: readonly Endpoint[] | null;
  readonly #clock: Clock;
  readonly #file: ResolvConfFile;
  #known: readonly Endpoint[] = [];
  #stamp: string | null = null;
  #lookAgain = Number.NEGATIVE_INFINITY;

  constructor(options: ResolversOptions) {
    this.#upstreams = options.upstreams;
    this.#clock = options.clock;
    this.#file = options.file ?? resolvConfFile();
  }

  /** The servers to ask, in their order; never empty. */
  servers(): readonly Endpoint[] {
    if (this.#upstreams !== null && this.#upstreams.length > 0) return this.#upstreams;
    const servers = this.#current();
    return servers.length > 0 ? servers : DEFAULT_SERVERS;
  }

  #current(): readonly Endpoint[] {
    const now = this.#clock.now();
    if (now < this.#lookAgain) return this.#known;
    this.#lookAgain = now + LOOK_EVERY_MS;
    try {
      const stamp = this.#file.stamp();
      if (stamp !== null && stamp !== this.#stamp) {
        this.#known = parseServers(this.#file.read());
        this.#stamp = stamp;
      }
    } catch {
      // Unreadable now: what was known holds, and the next look tries again.
    }
    return this.#known;
  }
}

const DEFAULT_SERVERS: readonly Endpoint[] = [endpoint(parseAddress("127.0.0.1"), DNS_PORT)];
