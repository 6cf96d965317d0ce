/** Where the checks of the host look: its files. Tests show another host by another root. */
import { closeSync, constants, openSync, readFileSync } from "node:fs";
import { getSystemErrorName } from "node:util";
import { native } from "../native/binding.js";

export interface HostFacts {
  /** The text of a file without blanks around it; null when it cannot be read. */
  read(path: string): string | null;
  /** Opens a file or device for reading and writing and closes it again: null, or the name of the error (`EACCES`). */
  tryOpen(path: string): string | null;
  /** Why a process cannot be confined here: the name of the error; null: it can be. */
  confinement(): string | null;
  /** The caller's effective user. */
  readonly user: number;
  /** The caller's groups, all of them. */
  readonly groups: readonly number[];
}

export function errorName(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "EIO";
}

/** What says why a host refuses a sandbox. */
const REFUSALS = [
  "/proc/self/uid_map",
  "/proc/sys/user/max_user_namespaces",
  "/proc/sys/kernel/unprivileged_userns_clone",
  "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
  "/.dockerenv",
  "/run/.containerenv",
];
let remembered: ReadonlyMap<string, string | null> = new Map();

/** Reads what explains a sandbox that is refused later, for a process that will not be able to read any more. */
export function rememberHostFacts(): void {
  const { read } = hostFacts();
  remembered = new Map(REFUSALS.map((path) => [path, read(path)]));
}

export function hostFacts(root = ""): HostFacts {
  return {
    read(path) {
      const known = root === "" ? remembered.get(path) : undefined;
      if (known !== undefined) return known;
      try {
        return readFileSync(root + path, "utf8").trim();
      } catch {
        return null;
      }
    },
    tryOpen(path) {
      try {
        closeSync(openSync(root + path, constants.O_RDWR | constants.O_NONBLOCK));
        return null;
      } catch (error) {
        return errorName(error);
      }
    },
    confinement() {
      const result = native().canConfine();
      return result === 0 ? null : getSystemErrorName(result);
    },
    user: process.geteuid?.() ?? 0,
    groups: [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])],
  };
}
