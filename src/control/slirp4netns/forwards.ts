/**
 * The forwards that were asked for over slirp4netns's API: their numbers, in the order in which they came, and their ports.
 * A number is given once. Bounds: MAX_FORWARDS at once.
 */
import type { Address } from "../../wire/address.js";

/** One port of the host that leads to one of an address inside. Both addresses are of one family. */
export interface Forward {
  readonly protocol: "tcp" | "udp";
  readonly hostAddress: Address;
  /** 1 to 65535, like guestPort. */
  readonly hostPort: number;
  readonly guestAddress: Address;
  readonly guestPort: number;
}

/** Opens one; returns what closes it and settles when it is closed. Throws where the port cannot be had. */
export type OpenForward = (forward: Forward) => () => Promise<unknown>;

const MAX_FORWARDS = 4096;

export class Forwards {
  readonly #open: OpenForward;
  readonly #entries = new Map<number, { readonly forward: Forward; readonly close: () => Promise<unknown> }>();
  #nextId = 1;

  constructor(open: OpenForward) {
    this.#open = open;
  }

  /** Its number; null where the port cannot be had, or where there are too many. */
  add(forward: Forward): number | null {
    if (this.#entries.size >= MAX_FORWARDS) return null;
    let close: () => Promise<unknown>;
    try {
      close = this.#open(forward);
    } catch {
      return null; // the protocol has no room for the reason
    }
    const id = this.#nextId++;
    this.#entries.set(id, { forward, close });
    return id;
  }

  /** Settles when others can have the port. False where there is none of this number. */
  async remove(id: number): Promise<boolean> {
    const entry = this.#entries.get(id);
    if (entry === undefined) return false;
    this.#entries.delete(id);
    await entry.close();
    return true;
  }

  *[Symbol.iterator](): Iterator<readonly [id: number, forward: Forward]> {
    for (const [id, { forward }] of this.#entries) yield [id, forward];
  }

  close(): void {
    for (const id of [...this.#entries.keys()]) void this.remove(id);
  }
}
