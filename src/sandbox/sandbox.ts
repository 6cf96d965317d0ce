/**
 * What the rest of the program knows of a sandbox: a namespace with a TAP in it, a command, and an end.
 * launch.ts makes one for a new command, attach.ts for a namespace that exists already; both drive native/launcher.
 */
export interface InsideSubnet {
  /** The sandbox's own address and its prefix length. */
  readonly address: string;
  readonly prefix: number;
  /** Where its default route leads. */
  readonly gateway: string;
}

export interface InsideNetwork {
  /** Interface name, at most 15 bytes. */
  readonly ifname: string;
  /** `aa:bb:cc:dd:ee:ff`; null: a random locally administered one. */
  readonly mac: string | null;
  readonly mtu: number;
  /** Null: the sandbox does not have this family. One of both is there. */
  readonly v4: InsideSubnet | null;
  readonly v6: InsideSubnet | null;
  /** Congestion control of the routes inside (RTAX_CC_ALGO), the first of these that the kernel has; empty: the host's default. */
  readonly congestion: readonly string[];
  /** Queues of the TAP, 1 to 16: what goes through one is read and written by one thread. */
  readonly queues: number;
}

/** A launcher that was started before us, by native/launcher/front.c, with our own arguments and environment. */
export interface PreparedLauncher {
  /** Our end of its channel. */
  readonly channel: number;
  /** 0: it is no child of ours. */
  readonly pid: number;
}

/** What a launcher is told of the sandbox that it is to make. */
export interface InsideOptions {
  readonly network: InsideNetwork;
  /** Map the caller to root inside. */
  readonly root: boolean;
  readonly hostname: string | null;
  /** Contents of /etc/resolv.conf and /etc/hosts inside; null: leave the host's. */
  readonly resolvConf: string | null;
  readonly hosts: string | null;
  /** There is no command: the namespaces are held until release(). */
  readonly hold?: boolean;
  /** In a session of its own, without terminal and standard input, and with its output to Sandbox.output. */
  readonly detach?: boolean;
}

export interface LaunchOptions extends InsideOptions {
  /** Program and arguments; found by PATH of `env`. Empty with `hold`. */
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Take this launcher instead of starting one: `env` is its environment, and `command` the end of its arguments. */
  readonly prepared?: PreparedLauncher | null;
}

export interface ExitStatus {
  /** Exit code of the command, or null when a signal ended it. */
  readonly code: number | null;
  /** Number of that signal. */
  readonly signal: number | null;
}

export interface Sandbox {
  /** A descriptor for each queue of the TAP, non-blocking, with a vnet header of 12 bytes. The receiver owns them. */
  readonly taps: readonly number[];
  /** A socket to a broker (host/broker.ts), which opens files of the host for a process that may open none; -1: none is left. Ours until the end. */
  readonly broker: number;
  /** MAC address of the TAP inside, 6 bytes. */
  readonly mac: Uint8Array;
  /** Offloads that the kernel accepted. */
  readonly offloads: {
    readonly tso4: boolean;
    readonly tso6: boolean;
    readonly uso: boolean;
    readonly plain?: boolean;
  };
  /** Notes for the user that are no errors (something that this host does not let us do inside). */
  readonly notes: readonly string[];
  /** The sandbox's process 1 as seen from here, and when it began (proc(5), starttime); null: there is none (attach). */
  readonly init: { readonly pid: number; readonly start: string } | null;
  /** With `detach`, a pipe with what the command writes; the receiver owns it. */
  readonly output: number | null;
  /** Starts the command (attach: does nothing). Until then the namespace is up and waits. */
  start(): void;
  /** A non-blocking socket made inside the namespace. Rejects when the sandbox has ended. */
  socket(family: 4 | 6, type: "stream" | "datagram"): Promise<number>;
  /**
   * A non-blocking NETLINK_SOCK_DIAG socket made inside: it asks that kernel which sockets there are (watch/listeners.ts). Rejects
   * when the sandbox has ended.
   */
  diagnosticSocket(): Promise<number>;
  /** Closes a socket that socket() or diagnosticSocket() gave and that nobody wants any more. */
  discard(socket: number): void;
  /** Sends a signal to the command. `fromTerminal`: it may be one that the terminal sent to the whole group, then the command has it already. */
  signal(signal: NodeJS.Signals, fromTerminal: boolean): void;
  /** Settles when the command (attach: the namespace) has ended. The network namespace is still held, so that what the command sent can be read. Rejects with a NetnsError when the launcher itself failed. */
  readonly exited: Promise<ExitStatus>;
  /** Lets the namespace go and ends whatever still runs in it. Settles when nothing of it is left. */
  release(): Promise<void>;
}

export { attach } from "./attach.js";
export { launch } from "./launch.js";
