/** `create`, and `run --detach`: a sandbox that stays when we end. */
import type { PortInfo } from "../control/messages.js";
import { checkName } from "../control/names.js";
import { runtimeDirectory } from "../control/runtime.js";
import { native } from "../native/binding.js";
import type { PreparedLauncher } from "../sandbox/sandbox.js";
import { formatPort } from "./listing.js";
import { tell } from "./log.js";
import { joinRequest, joinServer, keepSandbox, type NamedWishes } from "./named.js";
import { print } from "./output.js";
import { openCaptureFile, requestCapture } from "./pcap.js";
import { ignoreSignals } from "./signals.js";

/** Prints the sandbox's name. Returns the exit code. Throws a NetnsError. */
export async function create(
  name: string | null,
  command: readonly string[],
  wishes: NamedWishes,
  given: ReadonlySet<string>,
  prepared: PreparedLauncher | null,
): Promise<number> {
  const chosen = name === null ? randomName() : checkName("create", name);
  const detached: NamedWishes = { ...wishes, detach: true };
  const request = joinRequest(chosen, command, detached);
  const runtime = runtimeDirectory();
  const file = wishes.pcap === undefined ? null : openCaptureFile("--pcap", wishes.pcap);
  try {
    const { client, info } = await joinServer(runtime, request, detached, given, prepared, undefined, async (at) => {
      // Goes on without us, until the sandbox ends.
      if (file !== null) await requestCapture(at, chosen, file, { stays: true }).begun;
    });
    // Once it is kept it is there, and is told of: a signal comes too late, unless it is repeated.
    const release = ignoreSignals();
    await keepSandbox(runtime, client, chosen);
    client.close();
    tellChosen(request.publish, info.ports, wishes.quiet === true);
    print(`${chosen}\n`);
    release();
  } finally {
    file?.close();
  }
  return 0;
}

function tellChosen(publish: readonly string[], ports: readonly PortInfo[], quiet: boolean): void {
  if (quiet || !publish.some((spec) => /(^|:)0:/.test(spec))) return;
  for (const port of ports) tell(formatPort(port));
}

function randomName(): string {
  const bytes = new Uint8Array(4);
  native().fillRandom(bytes);
  return `sandbox-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
