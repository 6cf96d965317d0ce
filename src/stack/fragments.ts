/**
 * Puts the fragments of datagrams together (RFC 791, RFC 1858; RFC 8200, 4.5; RFC 5722's rule for overlaps).
 *
 * Theory of operation. A datagram in progress is known by link, source, destination and identification, for IPv4 by its
 * protocol too. It has a buffer of the longest possible packet, and one byte for each block of 8 bytes that has come. The
 * first fragment gives the header, the last one the length; when all blocks are there, the packet is written as if it had come in
 * one piece, with a header without options or extension headers, and handed out. The buffer is valid until the next
 * fragment is added.
 *
 * A fragment that came before, byte for byte, is nothing new: networks repeat packets (RFC 8200, 4.5).
 * No sender that means well sends other overlapping fragments: one that does loses the whole datagram. Likewise one that gives
 * two lengths, data behind the end, a fragment that is no multiple of 8 bytes, or more than a packet can hold.
 *
 * Bounds: MAX_DATAGRAMS in progress of both families, each with a buffer of 64 KiB (4 MiB in all, made when first needed and
 * kept); a further one takes the place of the oldest. A datagram that is not complete FRAGMENT_LIFETIME after its first
 * fragment came is given up, and that is reported with a quotation of the fragment that has the header, where that one came
 * (Time Exceeded, RFC 792; RFC 8200, 4.5). One timer serves all of them, as they end in the order in which they began.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import type { Output } from "../link/output.js";
import { HEADROOM, SLOT_SIZE } from "../native/engine.js";
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
import {
  FRAGMENT_BYTES,
  FRAGMENT_HEADER,
  FRAGMENT_MORE,
  fragmentId,
  fragmentWord,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_MAX_PAYLOAD,
  IPV6_SOURCE,
  ipv6HopLimit,
} from "../wire/ipv6.js";
import { LONGEST_QUOTE, Reject } from "../wire/reject.js";

export const MAX_DATAGRAMS = 64;
/** Of one link, from which on its own oldest gives way, and nobody else's. */
export const MAX_OF_LINK = MAX_DATAGRAMS / 4;
/** Milliseconds (RFC 1122 3.3.2 asks for 60 to 120, RFC 8200 for 60; Linux gives 30 and 60). */
export const FRAGMENT_LIFETIME = 30_000;
const LONGEST_PAYLOAD = IPV4_MAX - IPV4_HEADER;
const BLOCKS = 8192;
/** Words by which a datagram is known: link, family, identification, protocol, source (4), destination (4). */
const KEY_WORDS = 12;

export interface ReassemblyOptions {
  readonly clock: Clock;
  readonly counters: Counters;
  readonly timers: Timers;
  /** Where a datagram that was given up is reported. */
  readonly output: Pick<Output, "reject">;
}

/**
 * Where a datagram is put together whose last fragment's frame is at `frame`: in the same slot where it stands alone there, as
 * every frame of a link does, else in a spare one, since others of the same burst follow it. -1: none is left.
 */
export function reassemblyPlace(output: Pick<Output, "large">, frame: number): number {
  return frame % SLOT_SIZE === 0 ? frame + HEADROOM : output.large();
}

export class Reassembly implements TimerOwner {
  readonly #clock: Clock;
  readonly #counters: Counters;
  readonly #timers: Timers;
  readonly #output: Pick<Output, "reject">;
  readonly #timer = new Timer(this);
  /** In the order in which they began. */
  readonly #datagrams: Datagram[] = [];
  readonly #spare: Datagram[] = [];
  /** The key of the fragment at hand. */
  readonly #key = new Int32Array(KEY_WORDS);

  constructor(options: ReassemblyOptions) {
    this.#clock = options.clock;
    this.#counters = options.counters;
    this.#timers = options.timers;
    this.#output = options.output;
  }

  /** Datagrams in progress. */
  get size(): number {
    return this.#datagrams.length;
  }

  /**
   * Adds the IPv4 fragment whose header, of checked lengths, is at `at`.
   * @returns the complete datagram, valid until the next call, or null
   */
  add(link: number, view: DataView, bytes: Uint8Array, at: number): Datagram | null {
    const header = ipv4HeaderLength(view, at);
    const from = (ipv4Fragment(view, at) & FRAGMENT_OFFSET) << 3;
    const length = ipv4TotalLength(view, at) - header;
    const more = (ipv4Fragment(view, at) & MORE_FRAGMENTS) !== 0;
    const key = this.#key;
    key.fill(0);
    key[0] = link;
    key[1] = 4;
    key[2] = ipv4Id(view, at);
    key[3] = ipv4Protocol(view, at);
    key[4] = ipv4Source(view, at);
    key[8] = ipv4Destination(view, at);
    const body = at + header;
    const datagram = this.#put(from, bytes.subarray(body, body + length), more, LONGEST_PAYLOAD);
    if (datagram === null) return null;
    if (from === 0) {
      datagram.hops = ipv4Ttl(view, at);
      datagram.quote(bytes, at, body + length);
    }
    return this.#ifComplete(datagram);
  }

  /**
   * Adds the IPv6 fragment whose header is at `at`, and whose fragment header is at `fragment`; it ends at `end`.
   * Lengths are checked, but for the rules about fragments.
   * @returns the complete datagram, valid until the next call, or null
   */
  addIPv6(link: number, view: DataView, bytes: Uint8Array, at: number, fragment: number, end: number): Datagram | null {
    const body = fragment + FRAGMENT_HEADER;
    const from = fragmentWord(view, fragment) & FRAGMENT_BYTES;
    const more = (fragmentWord(view, fragment) & FRAGMENT_MORE) !== 0;
    const key = this.#key;
    key[0] = link;
    key[1] = 6;
    key[2] = fragmentId(view, fragment);
    key[3] = 0;
    for (let i = 0; i < 4; i++) {
      key[4 + i] = view.getInt32(at + IPV6_SOURCE + 4 * i);
      key[8 + i] = view.getInt32(at + IPV6_DESTINATION + 4 * i);
    }
    const datagram = this.#put(from, bytes.subarray(body, end), more, IPV6_MAX_PAYLOAD);
    if (datagram === null) return null;
    if (from === 0) {
      datagram.bytes.set(bytes.subarray(at, at + IPV6_HEADER));
      datagram.hops = ipv6HopLimit(view, at);
      datagram.next = view.getUint8(fragment);
      datagram.quote(bytes, at, end);
    }
    return this.#ifComplete(datagram);
  }

  /** Forgets what came from a link that is gone. */
  removeLink(link: number): void {
    for (let i = this.#datagrams.length - 1; i >= 0; i--) if (this.#datagrams[i].link === link) this.#remove(i);
  }

  /** Takes a part of the datagram of #key; null where it is refused, or brings nothing new. */
  #put(from: number, part: Uint8Array, more: boolean, longest: number): Datagram | null {
    this.#expire();
    const { length } = part;
    const index = this.#find();
    if (length === 0 || (more && (length & 7) !== 0) || from + length > longest) {
      if (index >= 0) this.#remove(index);
      this.#counters.add("stack.fragment_malformed");
      return null;
    }
    const datagram = index >= 0 ? this.#datagrams[index] : this.#begin();
    if (datagram.has(from, part, more)) {
      this.#counters.add("stack.fragment_duplicate");
      return null;
    }
    if (datagram.put(from, part, more)) return datagram;
    this.#remove(this.#datagrams.indexOf(datagram));
    this.#counters.add("stack.fragment_overlap");
    return null;
  }

  #ifComplete(datagram: Datagram): Datagram | null {
    if (!datagram.complete) return null;
    this.#remove(this.#datagrams.indexOf(datagram));
    datagram.finish();
    return datagram;
  }

  #find(): number {
    for (let i = 0; i < this.#datagrams.length; i++) if (this.#datagrams[i].matches(this.#key)) return i;
    return -1;
  }

  #begin(): Datagram {
    if (this.#datagrams.length >= MAX_DATAGRAMS) {
      this.#counters.add("stack.fragment_limit");
      this.#remove(this.#victim(this.#key[0]));
    }
    const datagram = this.#spare.pop() ?? new Datagram();
    datagram.begin(this.#key, this.#clock.now());
    this.#datagrams.push(datagram);
    this.#arm();
    return datagram;
  }

  /** Who gives way to a datagram of a link: the oldest, of its own where it has many. */
  #victim(link: number): number {
    let own = 0;
    let oldest = 0;
    for (let i = this.#datagrams.length - 1; i >= 0; i--) {
      if (this.#datagrams[i].link !== link) continue;
      own++;
      oldest = i;
    }
    return own >= MAX_OF_LINK ? oldest : 0;
  }

  #remove(index: number): void {
    this.#spare.push(...this.#datagrams.splice(index, 1));
    if (this.#datagrams.length === 0) this.#timers.cancel(this.#timer);
  }

  expired(): void {
    this.#expire();
    this.#arm();
  }

  /** Has the timer end when the oldest datagram is to be given up. */
  #arm(): void {
    if (this.#timer.armed || this.#datagrams.length === 0) return;
    const now = this.#clock.now();
    this.#timers.arm(this.#timer, now, this.#datagrams[0].since + FRAGMENT_LIFETIME - now);
  }

  #expire(): void {
    const oldest = this.#clock.now() - FRAGMENT_LIFETIME;
    while (this.#datagrams.length > 0 && this.#datagrams[0].since <= oldest) {
      const { link, quoted } = this.#datagrams[0];
      this.#counters.add("stack.fragment_timeout");
      if (quoted.length > 0) this.#output.reject(link, quoted, Reject.ReassemblyTime, null, 0);
      this.#remove(0);
    }
  }
}

export class Datagram {
  /** A packet with a header of 20 or 40 bytes, once it is complete. */
  readonly bytes = new Uint8Array(IPV6_HEADER + IPV6_MAX_PAYLOAD);
  readonly view = new DataView(this.bytes.buffer);
  readonly #key = new Int32Array(KEY_WORDS);
  readonly #have = new Uint8Array(BLOCKS);
  since = 0;
  /** Of the first fragment: TTL or hop limit, and for IPv6 what the fragment header says comes next. */
  hops = 0;
  next = 0;
  /** Payload bytes in all; -1 until the last fragment came. */
  #total = -1;
  /** Payload bytes that came, and the end of the last of them. */
  #received = 0;
  #end = 0;
  /** The beginning of the first fragment as it came, and how much of it there is: 0 until it came. */
  readonly #quote = new Uint8Array(LONGEST_QUOTE);
  #quoteLength = 0;

  begin(key: Int32Array, now: number): void {
    this.#key.set(key);
    this.since = now;
    this.hops = 0;
    this.#total = -1;
    this.#received = 0;
    this.#end = 0;
    this.#quoteLength = 0;
    this.#have.fill(0);
  }

  /** Keeps what an error would quote of the fragment at [at, end) that has the header. */
  quote(bytes: Uint8Array, at: number, end: number): void {
    this.#quoteLength = Math.min(end - at, LONGEST_QUOTE);
    this.#quote.set(bytes.subarray(at, at + this.#quoteLength));
  }

  get quoted(): Uint8Array {
    return this.#quote.subarray(0, this.#quoteLength);
  }

  get link(): number {
    return this.#key[0];
  }

  matches(key: Int32Array): boolean {
    for (let i = 0; i < KEY_WORDS; i++) if (this.#key[i] !== key[i]) return false;
    return true;
  }

  get #header(): number {
    return this.#key[1] === 4 ? IPV4_HEADER : IPV6_HEADER;
  }

  /** True for a part that came before, and was the same. */
  has(from: number, part: Uint8Array, more: boolean): boolean {
    const end = from + part.length;
    if (more ? end > this.#end || end === this.#total : end !== this.#total) return false;
    const lastBlock = (end + 7) >> 3;
    for (let block = from >> 3; block < lastBlock; block++) if (this.#have[block] === 0) return false;
    const at = this.#header + from;
    for (let i = 0; i < part.length; i++) if (this.bytes[at + i] !== part[i]) return false;
    return true;
  }

  /** Takes a part; false where it does not fit with the others. */
  put(from: number, part: Uint8Array, more: boolean): boolean {
    const { length } = part;
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
    this.bytes.set(part, this.#header + from);
    return true;
  }

  get complete(): boolean {
    return this.#received === this.#total;
  }

  /** Bytes of the whole packet. */
  get length(): number {
    return this.#header + this.#total;
  }

  /** Writes the header. */
  finish(): void {
    const [, family, id, protocol, source, , , , destination] = this.#key;
    if (family === 4) {
      writeIPv4(this.view, 0, this.length, id, 0, this.hops, protocol, source, destination);
      return;
    }
    // Addresses, traffic class and flow label are those of the first fragment.
    this.view.setUint16(4, this.#total);
    this.view.setUint16(6, (this.next << 8) | this.hops);
  }
}
