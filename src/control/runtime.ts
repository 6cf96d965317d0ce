/**
 * The directory in which the servers of one user are found.
 *
 *     network-NET.sock     the server of a network with members
 *     sandbox-NAME.sock    the server of a sandbox with a network of its own
 *     lock                 held while a name is claimed, or a dead socket is taken away
 *     logs/NAME.log        what a detached command wrote
 *
 * Nothing else is kept: who is there, and what they have, is asked of the servers themselves (directory.ts). The directory is
 * the user's own, and nobody else may look into it; one of another owner or with another mode is refused, since in a place
 * that all may write to somebody may have made it before us.
 */
import { chmodSync, closeSync, lstatSync, mkdirSync, openSync } from "node:fs";
import path from "node:path";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";

/** Of a Unix socket's name, with the zero behind it (unix(7)). */
const LONGEST_PATH = 107;
const LOCK_TRIES = 3000;
const LOCK_WAIT_MS = 10;

export type ServerKind = "network" | "sandbox";

export interface RuntimeDirectory {
  readonly path: string;
  socket(kind: ServerKind, name: string): string;
  log(name: string): string;
  /** The file that is locked. */
  readonly lock: string;
  /** Calls `action` while no other process of ours claims or takes away a name. */
  locked<T>(action: () => Promise<T>): Promise<T>;
}

/** What the place depends on; tests give their own. */
export interface RuntimeHost {
  readonly env: NodeJS.ProcessEnv;
  readonly user: number;
}

/** Finds the directory, and makes it where it is not there. Throws a NetnsError (HOST_LACKS). */
export function runtimeDirectory(
  host: RuntimeHost = { env: process.env, user: process.geteuid?.() ?? 0 },
): RuntimeDirectory {
  const directory = choose(host);
  makePrivate(directory, host.user);
  makePrivate(path.join(directory, "logs"), host.user);
  const lock = path.join(directory, "lock");
  closeSync(openSync(lock, "a", 0o600));
  return {
    path: directory,
    socket(kind, name) {
      const socket = path.join(directory, `${kind}-${name}.sock`);
      if (Buffer.byteLength(socket) > LONGEST_PATH) {
        throw new NetnsError(
          "USAGE",
          `${name}: with this name the socket's path is longer than ${LONGEST_PATH} bytes (${socket}); choose a shorter one, or a shorter XDG_RUNTIME_DIR`,
        );
      }
      return socket;
    },
    log: (name) => path.join(directory, "logs", `${name}.log`),
    lock,
    locked: (action) => withLock(lock, action),
  };
}

/** XDG_RUNTIME_DIR (XDG Base Directory Specification), or where a login session would have it, or a place in /tmp. */
function choose({ env, user }: RuntimeHost): string {
  const given = env.XDG_RUNTIME_DIR;
  if (given !== undefined && path.isAbsolute(given) && isOwn(given, user)) return path.join(given, "netns-rootless");
  const usual = `/run/user/${user}`;
  if (isOwn(usual, user)) return path.join(usual, "netns-rootless");
  return `/tmp/netns-rootless-${user}`;
}

function isOwn(directory: string, user: number): boolean {
  try {
    const entry = lstatSync(directory);
    return (entry.isDirectory() || entry.isSymbolicLink()) && entry.uid === user;
  } catch {
    return false;
  }
}

function makePrivate(directory: string, user: number): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code !== "EEXIST") throw lacking(directory, `it cannot be made (${code})`, error);
  }
  const entry = lstatSync(directory);
  if (!entry.isDirectory()) throw lacking(directory, "it is not a directory");
  if (entry.uid !== user) throw lacking(directory, "it belongs to somebody else");
  if ((entry.mode & 0o077) !== 0) chmodSync(directory, 0o700);
}

function lacking(directory: string, why: string, cause?: unknown): NetnsError {
  const fix = "remove it, or set XDG_RUNTIME_DIR to a directory of yours";
  return new NetnsError("HOST_LACKS", `${directory}: names of sandboxes are kept there, but ${why}: ${fix}`, { cause });
}

async function withLock<T>(file: string, action: () => Promise<T>): Promise<T> {
  const fd = openSync(file, "w", 0o600);
  try {
    for (let tries = 0; native().lockFile(fd, false) !== 0; tries++) {
      if (tries === LOCK_TRIES) {
        throw new NetnsError("HOST_LACKS", `${file} is held by another process for too long; \`prune\` tells which`);
      }
      await new Promise((resolve) => setTimeout(resolve, LOCK_WAIT_MS));
    }
    return await action();
  } finally {
    closeSync(fd); // and with it the lock
  }
}
