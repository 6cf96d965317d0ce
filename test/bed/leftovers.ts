/**
 * What a program could leave behind, told as lines: processes, listeners, mounts, namespaces and files of the bed. A test
 * takes the state before, runs the program, and asks what has been added.
 */
import { type Bed, eventually } from "./bed.js";
import { isCapturing } from "./capture.js";

// Each line of its output is one thing that exists. The bed's owner with its subshells, and `ps` itself, are left out.
const STATE = `
processes=$(ps -e -o pid=,args=)
grep -v -E '^ *[0-9]+ (bash [^ ]*holder.sh .*|ps -e -o .*)$' <<<"$processes" | sed 's/^ */process /'
ss -Hltnu | awk '{print "listener", $1, $5}'
awk '{print "mount", $5, $9, $10}' /proc/self/mountinfo
ls -l /proc/[0-9]*/ns 2>/dev/null | awk '/->/ {print "namespace", $NF}' | sort -u
find /tmp -xdev -mindepth 1 -path /tmp/.captures -prune -o -mindepth 1 -printf 'file %p\\n'
ip -o link | awk '{print "link", $2}'
`;

export async function state(bed: Bed): Promise<Set<string>> {
  return new Set((await bed.admin(STATE)).split("\n").filter((line) => line !== ""));
}

/** What is there now and was not before. */
export async function added(bed: Bed, before: ReadonlySet<string>): Promise<string[]> {
  return [...(await state(bed))].filter((line) => !before.has(line));
}

/** A capture of what has ended goes on for a moment, and holds its namespace (programs/captures.py). */
const CAPTURES_MS = isCapturing ? 3000 : 0;

/** Waits until nothing is there that was not there before; fails with a list of what is. */
export async function nothingLeft(bed: Bed, before: ReadonlySet<string>, within = 1000): Promise<void> {
  let left: string[] = [];
  try {
    await eventually(within + CAPTURES_MS, "left", async () => {
      left = await added(bed, before);
      return left.length === 0;
    });
  } catch {
    throw new Error(`left behind after ${within} ms:\n${left.join("\n")}`);
  }
}
