/** What the bench needs of each thing that it compares: how to make a sandbox with it in the bed. */
import type { Bed } from "../bed.js";
import { SERVER } from "../bed.js";
import type { Shell } from "../shell.js";

export interface Setup {
  readonly mtu: number;
  /** Congestion control on the routes inside; null: as the tool and the host have it. */
  readonly congestion: string | null;
}

export interface Sandbox {
  /** A shell inside. */
  readonly shell: Shell;
  /** A TCP port of the bed, on all its addresses, that leads to the same port inside. */
  readonly port: number;
  /** The tool's own processes, whose processor time and memory count; empty where there are none. */
  readonly pids: readonly number[];
  close(): Promise<void>;
}

/** Two sandboxes that reach each other. */
export interface Pair {
  readonly client: Shell;
  readonly server: Shell;
  /** Where the client finds the server. */
  readonly address: string;
  close(): Promise<void>;
}

/** A sandbox that other commands of its tool know by a name. */
export interface Named {
  readonly name: string;
  readonly shell: Shell;
  close(): Promise<void>;
}

/**
 * What a tool can be measured at. `network`: what the sandbox does towards outside. `published`: ports that lead inside.
 * `launch`: it starts a command by itself. `stack`: its stack can be measured alone. `members`: sandboxes that reach each other.
 * `capture`: it can look at a sandbox's packets.
 */
export type Ability = "network" | "published" | "launch" | "stack" | "members" | "capture";

/** `limit`: no tool, but what no tool can beat. `variant`: ours or a peer, set up otherwise; it stands beside and is compared with nobody. */
export type Role = "ours" | "variant" | "peer" | "limit";

export interface Tool {
  /** As in `--tools` and in the table. */
  readonly name: string;
  readonly role: Role;
  readonly abilities: readonly Ability[];
  /** Rejects with one clear line when the tool is not there. */
  version(): Promise<string>;
  start(bed: Bed, setup: Setup): Promise<Sandbox>;
  /** The command that runs another in a new sandbox; for those that can `launch`. */
  launch(bed: Bed, setup: Setup, command: readonly string[]): readonly string[];
  /** The same without any option, as people type it; for those where that makes a sandbox with a network. */
  launchBare?(command: readonly string[]): readonly string[];
  /** For those that have `members`. */
  pair?(bed: Bed, setup: Setup): Promise<Pair>;
  /** For those that can `capture`. */
  named?(bed: Bed, setup: Setup): Promise<Named>;
}

/** A shell that ends with its parent, however that ends: a new user namespace makes a process forget what Bed.start said. */
export const BOUND_SHELL: readonly string[] = ["setpriv", "--pdeathsig", "KILL", "--", "sh"];

const READY_MS = 5000;

/** Waits until the sandbox has a route, and checks that it has the MTU that all tools are compared at. */
export async function awaitRoute(shell: Shell, mtu: number): Promise<void> {
  const deadline = Date.now() + READY_MS;
  while ((await shell.run(`ip route get ${SERVER} >/dev/null 2>&1 || { sleep 0.05; false; }`)).status !== 0) {
    if (Date.now() > deadline) throw new Error(`no route inside after ${READY_MS} ms`);
  }
  const links = await shell.must("ip -o link show up");
  if (!links.includes(` mtu ${mtu} `)) throw new Error(`no interface inside has MTU ${mtu}: ${links.trim()}`);
}

/** Sets the congestion control of what goes to the neighbours on the interface's own subnet; needs to be root inside. */
export async function setSubnetCongestion(shell: Shell, name: string): Promise<void> {
  await shell.must(
    `ip -4 route show scope link | while read -r route; do ip route change $route congctl ${name}; done`,
  );
}

const LOOPBACK_ROUTE = "local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1";

/** Sets the congestion control of the default route; needs to be root inside. */
export async function setDefaultRouteCongestion(shell: Shell, name: string): Promise<void> {
  await shell.must(`ip route replace $(ip route show default) congctl ${name}`);
}

/** Sets the congestion control of what a spliced published port sends to 127.0.0.1 inside; needs to be root inside. */
export async function setLoopbackCongestion(shell: Shell, name: string): Promise<void> {
  await shell.must(`ip route change ${LOOPBACK_ROUTE} congctl ${name}`);
}

/** For a tool that has no command of its own to start. */
export function cannotLaunch(): never {
  throw new Error("it starts no command");
}
