import { explainFailure } from "./host-checks.js";
import { randomMac } from "./launch.js";
import { startLauncher } from "./launcher-process.js";
import { type AttachOptions, attachArguments, type Target } from "./launcher-protocol.js";
import type { InsideNetwork, Sandbox } from "./sandbox.js";

/**
 * Gives a network to a namespace that exists already: that of a process, or of a file such as /run/netns/NAME. `exited`
 * settles with code 0 when the process has ended, or when the file names that namespace no longer.
 * Rejects with a NetnsError when it cannot be entered.
 */
export function attach(target: Target, network: InsideNetwork, options: AttachOptions = {}): Promise<Sandbox> {
  const mac = network.mac ?? randomMac();
  return startLauncher({
    arguments: attachArguments(target, network, mac, options),
    env: process.env,
    mac,
    queues: network.queues,
    explain: explainFailure,
  });
}

export type { AttachOptions, Target } from "./launcher-protocol.js";
