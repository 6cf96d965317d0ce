/** A broker as a process of its own, for a process that confines itself and has no sandbox's supervisor to ask. See host/broker.ts. */
import { spawn } from "node:child_process";
import { launcherPath, native } from "../native/binding.js";
import { spawnError } from "./launcher-child.js";

export interface BrokerTasks {
  /** Sockets in the file system, four at most, which are there: it removes them when we have ended, however that was. */
  readonly sockets?: readonly string[];
  /** A file that is locked (flock) while it does so. */
  readonly lock?: string;
}

/**
 * Starts one, in a session of its own, and returns our socket to it: it ends when that is closed, at the latest with us.
 * Throws a NetnsError.
 */
export function startBroker({ sockets = [], lock }: BrokerTasks): number {
  const args = ["broker", ...sockets.flatMap((file) => ["--socket", file])];
  if (lock !== undefined) args.push("--lock", lock);
  const [ours, theirs] = native().openPair();
  try {
    const child = spawn(launcherPath(), args, { detached: true, stdio: ["ignore", "ignore", "ignore", theirs] });
    child.on("error", () => {}); // its socket has ended then, and whoever asks it hears so
    child.unref();
    return ours;
  } catch (error) {
    native().closeFd(ours);
    throw spawnError(error);
  } finally {
    native().closeFd(theirs);
  }
}
