/** Names of sandboxes and networks: labels of a domain name (RFC 1123, 2.1), since the members of a network find each other by them. */
import { NetnsError } from "../errors.js";

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
/** Names that mean something else inside. */
const TAKEN = ["localhost", "host", "gateway", "dns", "all"];

/** Throws a NetnsError (USAGE) that says what is expected. `what`: the option or argument that it came from. */
export function checkName(what: string, name: string): string {
  if (!LABEL.test(name)) {
    throw new NetnsError(
      "USAGE",
      `${what} ${name || "''"}: expected 1 to 63 lower-case letters, digits and hyphens, no hyphen at either end, for example web-1`,
    );
  }
  if (TAKEN.includes(name)) {
    throw new NetnsError("USAGE", `${what} ${name}: this name means something else inside; choose another one`);
  }
  return name;
}

/** The known name that is most like a wrong one; null: none is. */
export function nearest(name: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let least = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const each of known) {
    const distance = editDistance(name, each);
    if (distance < least) {
      least = distance;
      best = each;
    }
  }
  return best;
}

/** How many letters have to be put in, left out or changed (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
