/**
 * Who has which hardware address on a link.
 *
 * Theory of operation. One table per link, from IP address to MAC address. The launcher knows the TAP's own MAC, so the
 * usual entry is seeded before the first packet; others are learned from ARP, from neighbour discovery and from valid
 * frames, for a bridge or an address that was changed inside. A TAP has few neighbours: entries are searched one after the other, the one that
 * matched last first. Tables compare integers, and nothing is allocated per packet.
 *
 * Bounds: MAX_NEIGHBOURS per link. A full table forgets learned entries in the order in which they
 * came; a seeded entry is never forgotten, but is corrected by what the sandbox itself says.
 * An address that is not in the table is asked for, at most once per REQUEST_INTERVAL per link (egress does that);
 * what was to be sent is dropped and counted, as TCP and applications send again.
 */
import { MAX_SEGMENTS } from "../link/segment.js";
import { MAX_LINKS } from "../native/engine.js";
import type { Address } from "../wire/address.js";

export const MAX_NEIGHBOURS = 128;
/** Milliseconds between two requests on one link. */
const REQUEST_INTERVAL = 100;

/** Words of one entry: four of the address, MAC bytes 0 to 3, MAC bytes 4 and 5, 1 where it was seeded. */
const STRIDE = 7;
const MAC = 4;
const SEEDED = 6;

export class Neighbours {
  readonly #links: (LinkTable | undefined)[] = [];
  /** MAC address that the last successful find() or findIPv4() found. */
  high = 0;
  low = 0;

  /** States a neighbour for good. `mac`: 6 bytes. Throws a RangeError for a link number that no engine gives. */
  seed(link: number, address: Address, mac: Uint8Array): void {
    const view = new DataView(mac.buffer, mac.byteOffset, 6);
    this.#table(link).put(
      word(address, 0),
      word(address, 4),
      word(address, 8),
      word(address, 12),
      view.getInt32(0),
      view.getUint16(4),
      true,
    );
  }

  /** Notes that an IPv4 address was seen behind a MAC address. */
  learnIPv4(link: number, address: number, high: number, low: number): void {
    this.#table(link).put(0, 0, 0xffff, address, high, low, false);
  }

  /** Notes that the IPv6 address whose 16 bytes are at `at` was seen behind a MAC address. */
  learnIPv6(link: number, view: DataView, at: number, high: number, low: number): void {
    const table = this.#table(link);
    table.put(
      view.getInt32(at),
      view.getInt32(at + 4),
      view.getInt32(at + 8),
      view.getInt32(at + 12),
      high,
      low,
      false,
    );
  }

  /** Looks an address up; true where `high` and `low` now hold its MAC. */
  find(link: number, address: Address): boolean {
    const table = this.#links[link];
    if (table === undefined) return false;
    const at = table.find(word(address, 0), word(address, 4), word(address, 8), word(address, 12));
    if (at < 0) return false;
    this.high = table.entries[at + MAC];
    this.low = table.entries[at + MAC + 1];
    return true;
  }

  /** True where a request may be sent on this link now; the next may then be sent REQUEST_INTERVAL later. */
  mayAsk(link: number, now: number): boolean {
    const table = this.#table(link);
    if (now < table.nextRequest) return false;
    table.nextRequest = now + REQUEST_INTERVAL;
    return true;
  }

  /** Forgets a link that is gone. */
  removeLink(link: number): void {
    delete this.#links[link];
  }

  /** Entries of a link. */
  size(link: number): number {
    return this.#links[link]?.count ?? 0;
  }

  #table(link: number): LinkTable {
    const known = this.#links[link];
    if (known !== undefined) return known;
    const links = MAX_LINKS + MAX_SEGMENTS;
    if (link < 0 || link >= links) throw new RangeError(`link ${link} is not below ${links}`);
    const table = new LinkTable();
    this.#links[link] = table;
    return table;
  }
}

class LinkTable {
  readonly entries = new Int32Array(MAX_NEIGHBOURS * STRIDE);
  count = 0;
  nextRequest = 0;
  #last = 0;
  #oldest = 0;

  /** Index of the entry's first word, or -1. */
  find(a: number, b: number, c: number, d: number): number {
    const e = this.entries;
    const last = this.#last;
    if (e[last + 3] === d && e[last + 2] === c && e[last + 1] === b && e[last] === a && last < this.count * STRIDE) {
      return last;
    }
    for (let at = 0; at < this.count * STRIDE; at += STRIDE) {
      if (e[at + 3] === d && e[at + 2] === c && e[at + 1] === b && e[at] === a) {
        this.#last = at;
        return at;
      }
    }
    return -1;
  }

  put(a: number, b: number, c: number, d: number, high: number, low: number, seeded: boolean): void {
    const e = this.entries;
    let at = this.find(a, b, c, d);
    if (at < 0) {
      at = this.#place();
      if (at < 0) return;
      e[at] = a;
      e[at + 1] = b;
      e[at + 2] = c;
      e[at + 3] = d;
      e[at + SEEDED] = 0;
    }
    e[at + MAC] = high;
    e[at + MAC + 1] = low;
    if (seeded) e[at + SEEDED] = 1;
  }

  /** A new entry's place: behind the others, or that of the oldest learned one. */
  #place(): number {
    if (this.count < MAX_NEIGHBOURS) return this.count++ * STRIDE;
    for (let tried = 0; tried < MAX_NEIGHBOURS; tried++) {
      const at = this.#oldest * STRIDE;
      this.#oldest = (this.#oldest + 1) % MAX_NEIGHBOURS;
      if (this.entries[at + SEEDED] === 0) return at;
    }
    return -1;
  }
}

function word(address: Address, at: number): number {
  return (address[at] << 24) | (address[at + 1] << 16) | (address[at + 2] << 8) | address[at + 3];
}
