/** What a person may set about one network; parsed and checked in cli/options.ts, carried out in network/. */
import type { Address } from "../wire/address.js";

/** Ports `from` to `to`, both included, 1 to 65535. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** One port of the host that leads to one port of the sandbox. */
export interface PublishSpec {
  readonly protocol: "tcp" | "udp";
  /** Address to listen on (0.0.0.0 and ::: all of one family); null: all of the host's addresses. */
  readonly host: Address | null;
  /** 0: any free one. */
  readonly hostPort: number;
  /** 1 to 65535. */
  readonly insidePort: number;
  /**
   * An address of the sandbox's subnet, of the family of `host`, to which everybody is led through the interface, with the gateway's
   * address where their own means nothing inside. Default: the sandbox's own addresses, its loopback included.
   */
  readonly inside?: Address;
}

/** What of the host's 127.0.0.1 the sandbox reaches at the gateway's address. */
export type HostLoopback = "closed" | "open" | readonly PortRange[];

/** Where events are told. One line each; `fields` are for machines. */
export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** Tells nobody. */
export const SILENT_LOG: Log = { debug() {}, info() {}, warn() {}, error() {} };
