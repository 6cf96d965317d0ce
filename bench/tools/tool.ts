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
  /** The tool's own processes, whose processor time counts; empty where there are none. */
  readonly pids: readonly number[];
  close(): Promise<void>;
}

export interface Tool {
  /** As in `--tools` and in the table. */
  readonly name: string;
  /** `limit`: no tool, but what no tool can beat. */
  readonly role: "ours" | "peer" | "limit";
  /** Rejects with one clear line when the tool is not there. */
  version(): Promise<string>;
  start(bed: Bed, setup: Setup): Promise<Sandbox>;
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

/** Sets the congestion control of the default route; needs to be root inside. */
export async function setDefaultRouteCongestion(shell: Shell, name: string): Promise<void> {
  await shell.must(`ip route replace $(ip route show default) congctl ${name}`);
}
