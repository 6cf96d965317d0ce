/** A launcher that was started, and handed over, by another process. Its command is the end of that one's arguments. */
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { explainFailure } from "./host-checks.js";
import { randomMac } from "./launch.js";
import { startLauncher } from "./launcher-process.js";
import { encodeConfiguration, runWords } from "./launcher-protocol.js";
import type { InsideOptions, Sandbox } from "./sandbox.js";

export interface AdoptOptions extends InsideOptions {
  /** Our end of its channel; ours in any case. */
  readonly channel: number;
  /** How many of its last arguments are the command; 0 with `hold`. */
  readonly commandLength: number;
}

/**
 * Makes the namespaces; `start()` runs the command. Rejects with a NetnsError that says what the host lacks, or that this is no
 * launcher's channel. That the launcher has ended is told by the end of its channel alone.
 */
export async function adopt({ channel, commandLength, ...inside }: AdoptOptions): Promise<Sandbox> {
  const mac = inside.network.mac ?? randomMac();
  const configuration = encodeConfiguration(runWords(inside, mac), commandLength);
  if (configuration === null) {
    native().closeFd(channel);
    throw new NetnsError("USAGE", "the options of the sandbox are too long: shorten its search domains or hostname");
  }
  return startLauncher({
    arguments: [],
    env: {},
    mac,
    queues: inside.network.queues,
    prepared: { channel, pid: 0, configuration },
    explain: explainFailure,
  });
}
