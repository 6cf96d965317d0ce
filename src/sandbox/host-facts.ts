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

export function hostFacts(root = ""): HostFacts {
  return {
    read(path) {
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
