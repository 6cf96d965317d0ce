import { randomBytes } from "node:crypto";
import { NetnsError } from "../errors.js";
import { explainFailure } from "./host-checks.js";
import { startLauncher } from "./launcher-process.js";
import { runArguments } from "./launcher-protocol.js";
import type { LaunchOptions, Sandbox } from "./sandbox.js";

/** A random locally administered unicast MAC address. */
export function randomMac(): string {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/**
 * Makes the namespaces for a new command and waits in front of it: `start()` runs the command.
 * Rejects with a NetnsError that says what the host lacks and how to mend it.
 */
export async function launch(options: LaunchOptions): Promise<Sandbox> {
  if (options.command.length === 0) throw new NetnsError("USAGE", "no command was given: write it behind --");
  const texts = [...options.command, options.hostname, options.resolvConf, options.hosts];
  if (texts.some((text) => text?.includes("\0"))) {
    throw new NetnsError("USAGE", "a command and its arguments cannot contain a zero byte");
  }
  const mac = options.network.mac ?? randomMac();
  return startLauncher({
    arguments: runArguments(options, mac),
    env: options.env,
    mac,
    queues: options.network.queues,
    explain: explainFailure,
  });
}
