import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { explainFailure } from "./host-checks.js";
import { discardPrepared } from "./launcher-child.js";
import { type ConfiguredLauncher, startLauncher } from "./launcher-process.js";
import { encodeConfiguration, runArguments, runWords } from "./launcher-protocol.js";
import type { LaunchOptions, Sandbox } from "./sandbox.js";

/** A random locally administered unicast MAC address. */
export function randomMac(): string {
  const bytes = new Uint8Array(6);
  native().fillRandom(bytes);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/**
 * Makes the namespaces for a new command and waits in front of it: `start()` runs the command.
 * Rejects with a NetnsError that says what the host lacks and how to mend it.
 */
export async function launch(options: LaunchOptions): Promise<Sandbox> {
  if (options.hold === true) {
    if (options.command.length > 0)
      throw new NetnsError("USAGE", "a sandbox that is held runs no command: leave it out");
  } else if (options.command.length === 0) {
    throw new NetnsError("USAGE", "no command was given: write it behind --");
  }
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
    prepared: withConfiguration(options, mac),
    explain: explainFailure,
  });
}

/** A prepared launcher takes no configuration of any length; then it ends, and one is started with it as its command line. */
function withConfiguration(options: LaunchOptions, mac: string): ConfiguredLauncher | null {
  const { prepared } = options;
  if (!prepared) return null;
  const configuration = encodeConfiguration(runWords(options, mac), options.command.length);
  if (configuration) return { ...prepared, configuration };
  discardPrepared(prepared);
  return null;
}
