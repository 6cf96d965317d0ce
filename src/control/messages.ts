/**
 * What is said over a control socket: one JSON object in each packet (SOCK_SEQPACKET), descriptors beside it.
 *
 *     request    { id, op, ... }                 from the client; `id` is any number
 *     part       { id, part: ... }               none, one or several before the answer
 *     answer     { id, ok: ... }  or  { id, error: { code, message } }
 *     event      { event, ... }                  to a client that holds something
 *
 * Both ends are of one installation, mostly; VERSION says when they do not understand each other.
 */
export const VERSION = 1;

/** Bytes of a packet, at most. */
export const MAX_PACKET = 65_536;

export interface Request {
  readonly id: number;
  readonly op: string;
  readonly [field: string]: unknown;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

export type Answer =
  | { readonly id: number; readonly part: unknown }
  | { readonly id: number; readonly ok: unknown }
  | { readonly id: number; readonly error: Failure };

export interface Event {
  readonly event: string;
  readonly [field: string]: unknown;
}

/** A published port, as it is told. */
export interface PortInfo {
  readonly protocol: "tcp" | "udp";
  /** `0.0.0.0` where it is open on all addresses of both families. */
  readonly address: string;
  readonly port: number;
  readonly insidePort: number;
}

/** A sandbox, as it is told. */
export interface SandboxInfo {
  readonly name: string;
  /** null: a network of its own. */
  readonly network: string | null;
  /** Process 1 of the sandbox, in the server's PID namespace, and when it began (proc(5), starttime); null: not known. */
  readonly init: { readonly pid: number; readonly start: string } | null;
  readonly addresses: readonly string[];
  readonly mac: string;
  readonly hostname: string;
  readonly isolated: boolean;
  readonly ports: readonly PortInfo[];
  /** The command as it was typed, shortened; empty: none. */
  readonly command: string;
  /** True: nobody waits in front of it. */
  readonly detached: boolean;
  /** Milliseconds since 1970. */
  readonly since: number;
}

/** A server's network, as it is told. */
export interface NetworkInfo {
  readonly version: number;
  readonly kind: "network" | "sandbox";
  readonly name: string;
  readonly server: number;
  /** Subnets, gateways and DNS addresses, IPv4 first. */
  readonly subnets: readonly {
    readonly subnet: string;
    readonly gateway: string;
    readonly dns: string | null;
  }[];
  readonly mtu: number;
  /** Its way to networks on other machines; null: it has none. */
  readonly vxlan: { readonly vni: number; readonly port: number; readonly remotes: readonly string[] } | null;
  /** It stays when its last member has gone. */
  readonly stays: boolean;
  readonly since: number;
  readonly members: number;
  /** Names that are about to be a sandbox's. */
  readonly claims: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
}

/** What is to be captured; a descriptor to write to comes with it. */
export interface CaptureRequest {
  /** One sandbox; null: all of the network. */
  readonly name: string | null;
  /** The sandbox may be still to come. */
  readonly awaits: boolean;
  /** It goes on when the client has gone. */
  readonly stays: boolean;
  /** As it was typed; null: everything. */
  readonly filter: string | null;
  readonly split: boolean;
  /** Bytes of a packet that are kept, packets after which it ends; 0: all, never. */
  readonly snapLength: number;
  readonly count: number;
}

/** How a sandbox is to be. */
export interface JoinRequest {
  readonly name: string;
  readonly hostname: string | null;
  /** As they were typed. */
  readonly publish: readonly string[];
  readonly hostIp: string | null;
  readonly ip: string | null;
  readonly ip6: string | null;
  readonly mac: string | null;
  readonly ifname: string;
  readonly isolate: boolean;
  readonly root: boolean;
  readonly detach: boolean;
  /** Words of the launcher's arguments that are the command, at their end; 0: none. */
  readonly commandLength: number;
  /** For people. */
  readonly command: string;
}
