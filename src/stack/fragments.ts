/**
 * Puts the fragments of IPv4 datagrams together (RFC 791, RFC 1858, RFC 5722's rule for overlaps).
 *
 * Theory of operation. A datagram in progress is known by link, source, destination, protocol and identification. It has
 * a buffer of the longest possible packet, and one byte for each block of 8 bytes that has come. The first fragment
 * gives the header, the last one the length; when all blocks are there, the packet is written as if it had come in one
 * piece, with a header of 20 bytes and no options, and handed out. The buffer is valid until the next fragment is added.
 *
 * No sender that means well sends overlapping fragments: one that does loses the whole datagram. Likewise one that gives
 * two lengths, data behind the end, a fragment that is no multiple of 8 bytes, or more than 65,535 bytes in all.
 *
 * Bounds: MAX_DATAGRAMS in progress, each with a buffer of 64 KiB (4 MiB in all, made when first needed and kept); a
 * further one takes the place of the oldest. After LIFETIME without being complete a datagram is given up, when the
 * next fragment comes. A Time Exceeded message about that is optional (RFC 792) and not sent.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  IPV4_MAX,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Id,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  ipv4Ttl,
  MORE_FRAGMENTS,
  writeIPv4,
} from "../wire/ipv4.js";

export const MAX_DATAGRAMS = 64;
/** Milliseconds (RFC 1122 3.3.2 asks for 60 to 120; Linux gives 30). */
export const FRAGMENT_LIFETIME = 30_000;
const LONGEST_PAYLOAD = IPV4_MAX - IPV4_HEADER;
const BLOCKS = 8192;

export class Reassembly {
  readonly #clock: Clock;
  readonly #counters: Counters;
  /** In the order in which they began. */
  readonly #datagrams: Datagram[] = [];
  readonly #spare: Datagram[] = [];

  constructor(options: { clock: Clock; counters: Counters }) {
    this.#clock = options.clock;
    this.#counters = options.counters;
  }

  /** Datagrams in progress. */
  get size(): number {
    return this.#datagrams.length;
  }

  /**
   * Adds the fragment whose header, of checked lengths, is at `at`.
   * @returns the complete datagram, valid until the next call, or null
   */
  add(link: number, view: DataView, bytes: Uint8Array, at: number): Datagram | null {
    this.#expire();
    const header = ipv4HeaderLength(view, at);
    const from = (ipv4Fragment(view, at) & FRAGMENT_OFFSET) << 3;
    const length = ipv4TotalLength(view, at) - header;
    const more = (ipv4Fragment(view, at) & MORE_FRAGMENTS) !== 0;
    const index = this.#find(link, view, at);
    if (length === 0 || (more && (length & 7) !== 0) || from + length > LONGEST_PAYLOAD) {
      if (index >= 0) this.#remove(index);
      this.#counters.add("stack.fragment_malformed");
      return null;
    }
    const datagram = index >= 0 ? this.#datagrams[index] : this.#begin(link, view, at);
    if (!datagram.put(from, length, more)) {
      this.#remove(this.#datagrams.indexOf(datagram));
      this.#counters.add("stack.fragment_overlap");
      return null;
    }
    const body = at + header;
    datagram.bytes.set(bytes.subarray(body, body + length), IPV4_HEADER + from);
    if (from === 0) datagram.ttl = ipv4Ttl(view, at);
    if (!datagram.complete) return null;
    this.#remove(this.#datagrams.indexOf(datagram));
    datagram.finish();
    return datagram;
  }

  /** Forgets what came from a link that is gone. */
  removeLink(link: number): void {
    for (let i = this.#datagrams.length - 1; i >= 0; i--) if (this.#datagrams[i].link === link) this.#remove(i);
  }

  #find(link: number, view: DataView, at: number): number {
    for (let i = 0; i < this.#datagrams.length; i++) if (this.#datagrams[i].matches(link, view, at)) return i;
    return -1;
  }

  #begin(link: number, view: DataView, at: number): Datagram {
    if (this.#datagrams.length >= MAX_DATAGRAMS) {
      this.#counters.add("stack.fragment_limit");
      this.#remove(0);
    }
    const datagram = this.#spare.pop() ?? new Datagram();
    datagram.begin(link, view, at, this.#clock.now());
    this.#datagrams.push(datagram);
    return datagram;
  }

  #remove(index: number): void {
    this.#spare.push(...this.#datagrams.splice(index, 1));
  }

  #expire(): void {
    const oldest = this.#clock.now() - FRAGMENT_LIFETIME;
    while (this.#datagrams.length > 0 && this.#datagrams[0].since < oldest) {
      this.#counters.add("stack.fragment_timeout");
      this.#remove(0);
    }
  }
}

export class Datagram {
  /** A packet with a header of 20 bytes, once it is complete. */
  readonly bytes = new Uint8Array(IPV4_MAX);
  readonly view = new DataView(this.bytes.buffer);
  readonly #have = new Uint8Array(BLOCKS);
  link = 0;
  since = 0;
  ttl = 0;
  #id = 0;
  #protocol = 0;
  #source = 0;
  #destination = 0;
  /** Payload bytes in all; -1 until the last fragment came. */
  #total = -1;
  /** Payload bytes that came, and the end of the last of them. */
  #received = 0;
  #end = 0;

  begin(link: number, view: DataView, at: number, now: number): void {
    this.link = link;
    this.since = now;
    this.ttl = 0;
    this.#id = ipv4Id(view, at);
    this.#protocol = ipv4Protocol(view, at);
    this.#source = ipv4Source(view, at);
    this.#destination = ipv4Destination(view, at);
    this.#total = -1;
    this.#received = 0;
    this.#end = 0;
    this.#have.fill(0);
  }

  matches(link: number, view: DataView, at: number): boolean {
    return (
      this.#id === ipv4Id(view, at) &&
      this.#source === ipv4Source(view, at) &&
      this.#destination === ipv4Destination(view, at) &&
      this.#protocol === ipv4Protocol(view, at) &&
      this.link === link
    );
  }

  /** Notes a part; false where it does not fit with the others. */
  put(from: number, length: number, more: boolean): boolean {
    const end = from + length;
    if (more ? this.#total >= 0 && end > this.#total : this.#total >= 0 || end < this.#end) return false;
    const lastBlock = (end + 7) >> 3;
    for (let block = from >> 3; block < lastBlock; block++) {
      if (this.#have[block] !== 0) return false;
      this.#have[block] = 1;
    }
    if (!more) this.#total = end;
    if (end > this.#end) this.#end = end;
    this.#received += length;
    return true;
  }

  get complete(): boolean {
    return this.#received === this.#total;
  }

  /** Bytes of the whole packet. */
  get length(): number {
    return IPV4_HEADER + this.#total;
  }

  /** Writes the header. */
  finish(): void {
    writeIPv4(this.view, 0, this.length, this.#id, 0, this.ttl, this.#protocol, this.#source, this.#destination);
  }
}
