/** The launcher's process: one that we start, or one that was started before us (native/launcher/front.c). */
import { spawn } from "node:child_process";
import { NetnsError } from "../errors.js";
import { launcherPath, native } from "../native/binding.js";
import type { PreparedLauncher } from "./sandbox.js";

export interface LauncherChild {
  /** Settles when it has ended, with how it did, in words. Rejects with a NetnsError where it could not be started. */
  readonly ended: Promise<string>;
  /** Lets it run on if it was stopped. */
  resume(): void;
}

/** Starts a launcher with `peer`, its end of the channel, as its descriptor 3. Throws a NetnsError. */
export function spawnLauncher(args: readonly string[], env: NodeJS.ProcessEnv, peer: number): LauncherChild {
  try {
    const child = spawn(launcherPath(), [...args], { env, stdio: ["inherit", "inherit", "inherit", peer] });
    return {
      ended: new Promise((resolve, reject) => {
        child.once("error", (error) => reject(spawnError(error)));
        child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
      }),
      resume: () => {
        child.kill("SIGCONT");
      },
    };
  } catch (error) {
    throw spawnError(error);
  }
}

/** `closed` settles when its channel has ended, which it does with the process. */
export function preparedLauncher({ pid }: PreparedLauncher, closed: Promise<void>): LauncherChild {
  let running = true;
  return {
    ended: closed.then(() => {
      running = false;
      const status = native().waitForChild(pid);
      return status < 0 ? `signal ${-status}` : `exit code ${status}`;
    }),
    resume: () => {
      if (running) process.kill(pid, "SIGCONT");
    },
  };
}

/** Ends a prepared launcher that is not wanted. */
export function discardPrepared({ channel, pid }: PreparedLauncher): void {
  native().closeFd(channel);
  native().waitForChild(pid);
}

function spawnError(error: unknown): NetnsError {
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
