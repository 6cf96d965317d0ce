/** The process of a launcher: one that we start, or one that was started before us (native/launcher/front.c). */
import { spawn } from "node:child_process";
import { NetnsError } from "../errors.js";
import { launcherPath, native } from "../native/binding.js";
import type { PreparedLauncher } from "./sandbox.js";

/**
 * Starts a launcher with `peer`, its end of the channel, as its descriptor 3. Throws a NetnsError. Settles when it has ended, with how it
 * did, in words; rejects with a NetnsError where it could not be started.
 */
export function spawnLauncher(args: readonly string[], env: NodeJS.ProcessEnv, peer: number): Promise<string> {
  try {
    const child = spawn(launcherPath(), [...args], { env, stdio: ["inherit", "inherit", "inherit", peer] });
    return new Promise((resolve, reject) => {
      child.once("error", (error) => reject(spawnError(error)));
      child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
  } catch (error) {
    throw spawnError(error);
  }
}

/** The same for one that is there. `closed` settles when its channel has ended, which it does with the process. */
export async function preparedLauncher({ pid }: PreparedLauncher, closed: Promise<void>): Promise<string> {
  await closed;
  if (pid === 0) return "its channel ended";
  const status = native().waitForChild(pid);
  return status < 0 ? `signal ${-status}` : `exit code ${status}`;
}

/** Ends a prepared launcher that is not wanted. */
export function discardPrepared({ channel, pid }: PreparedLauncher): void {
  native().closeFd(channel);
  native().waitForChild(pid);
}

export function spawnError(error: unknown): NetnsError {
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (code === "E2BIG") {
    return new NetnsError("USAGE", "the command line and environment are too long for this system: shorten them", {
      cause: error,
    });
  }
  if (code === "EAGAIN")
    return new NetnsError(
      "HOST_LACKS",
      "this user may start no more processes (EAGAIN): end some, or raise the limit (ulimit -u)",
      { cause: error },
    );
  if (code === "EMFILE" || code === "ENFILE") {
    const text = `too many open files (${code}): raise the limit (ulimit -n 1024)`;
    return new NetnsError("HOST_LACKS", text, { cause: error });
  }
  const text = `cannot start ${launcherPath()} (${code}): build it with npm ci, or install the package again`;
  return new NetnsError("NATIVE", text, { cause: error });
}
