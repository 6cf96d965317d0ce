/** What the tests of sandboxes know of processes, by /proc. */
import { readdirSync, readFileSync } from "node:fs";

/** A field of /proc/PID/stat by its number in proc(5), from 3 on; null where the process has ended and been waited for. */
export function statField(process: number, number: number): string | null {
  try {
    const stat = readFileSync(`/proc/${process}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[number - 3] ?? null;
  } catch {
    return null;
  }
}

export function isAlive(process: number): boolean {
  return !["Z", "X", null].includes(statField(process, 3));
}

export function childrenOf(parent: number): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && statField(Number(name), 4) === String(parent))
    .map(Number);
}

/** Those that have this among their arguments. */
export function processesWith(argument: string): number[] {
  return readdirSync("/proc")
    .filter((name) => {
      try {
        return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, "utf8").split("\0").includes(argument);
      } catch {
        return false; // it has ended meanwhile
      }
    })
    .map(Number)
    .filter(isAlive);
}

export async function until(condition: () => boolean, milliseconds: number): Promise<boolean> {
  for (const deadline = Date.now() + milliseconds; Date.now() < deadline; ) {
    if (condition()) return true;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return condition();
}
