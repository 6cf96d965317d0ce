/**
 * A TCP end point of the simplest kind, written from RFC 9293 and independent of the code under test: the sandbox's kernel
 * in tests that lose, delay and double segments.
 *
 * It counts bytes from 0 (the SYN is -1) and turns counts into sequence numbers only at the border. It acknowledges every
 * segment at once, keeps what comes early, sends again from the first unacknowledged byte after a timeout, and probes a closed
 * window with one byte. Its application reads `pace` bytes per step. If both ends want it, it acknowledges selectively (RFC 2018), and
 * never again sends what was so acknowledged: whoever takes that back gets stuck.
 */
import { ACK, FIN, RST, SYN, type Wire } from "./rig.js";

export interface PeerOptions {
  readonly data: Uint8Array;
  /** Bytes of the receive buffer, and of one segment. */
  readonly window: number;
  readonly mss: number;
  /** Bytes that the application reads per step. */
  readonly pace: number;
  readonly iss: number;
  /** Opens the connection itself; else waits for a SYN. */
  readonly active: boolean;
  readonly sack: boolean;
}

const TIMEOUT = 250;
const LONGEST_TIMEOUT = 4000;

export class Peer {
  readonly read: number[] = [];
  /** Segments to be put on the link. */
  outbox: Partial<Wire>[] = [];
  wasReset = false;
  readonly #options: PeerOptions;
  #peerIss = -1;
  /** Counts of our stream: -1 before the SYN is acknowledged; data.length + 1 when the FIN is. */
  #una = -1;
  #nxt = -1;
  #peerEdge = 0;
  #deadline = -1;
  #timeout = TIMEOUT;
  /** Counts of the other's stream. */
  #rcvNxt = 0;
  #finAt = -1;
  #unread: number[] = [];
  readonly #early = new Map<number, number>();
  #sack = false;
  /** Count of the latest early byte. */
  #latest = -1;
  /** 1 for each byte of ours that was acknowledged selectively, and the end of the last of them. */
  readonly #has: Uint8Array;
  #hasEnd = 0;

  constructor(options: PeerOptions) {
    this.#options = options;
    this.#has = new Uint8Array(options.data.length);
  }

  start(now: number): void {
    if (!this.#options.active) return;
    const { mss, sack } = this.#options;
    this.outbox.push({ flags: SYN, seq: this.#seq(-1), window: this.#window(), mss, scale: 0, sackPermitted: sack });
    this.#deadline = now + TIMEOUT;
  }

  /** Both streams have ended, and everything of ours is acknowledged. */
  get done(): boolean {
    return this.#una === this.#options.data.length + 1 && this.#finAt >= 0 && this.#rcvNxt === this.#finAt + 1;
  }

  get deadline(): number {
    return this.#deadline;
  }

  receive(segment: Wire, now: number): void {
    if (segment.flags & RST) {
      this.wasReset = true;
      return;
    }
    if (segment.flags & SYN) {
      this.#peerIss = segment.seq;
      this.#sack = segment.sackPermitted && this.#options.sack;
      if (!this.#options.active && this.#una === -1) {
        this.#answer();
        this.#deadline = now + this.#timeout;
        return;
      }
    }
    if (this.#peerIss < 0) return;
    const at = (segment.seq - this.#peerIss - 1) | 0;
    if (segment.flags & ACK) this.#acknowledged(segment, at, now);
    if (this.#una < 0) return;
    for (let i = 0; i < segment.payload.length; i++) {
      const place = at + i;
      if (place < this.#rcvNxt || place >= this.#rcvNxt + this.#window()) continue;
      this.#early.set(place, segment.payload[i]);
      this.#latest = place;
    }
    if (segment.flags & FIN) this.#finAt = at + segment.payload.length;
    for (let byte = this.#early.get(this.#rcvNxt); byte !== undefined; byte = this.#early.get(this.#rcvNxt)) {
      this.#early.delete(this.#rcvNxt++);
      this.#unread.push(byte);
    }
    if (this.#rcvNxt === this.#finAt) this.#rcvNxt++;
    if (segment.payload.length > 0 || segment.flags & (FIN | SYN)) this.#acknowledge();
    this.#push(now);
  }

  #answer(): void {
    const { mss } = this.#options;
    this.outbox.push({
      flags: SYN | ACK,
      seq: this.#seq(-1),
      ack: this.#ack(),
      window: this.#window(),
      mss,
      scale: 0,
      sackPermitted: this.#sack,
    });
  }

  #acknowledged(segment: Wire, at: number, now: number): void {
    for (const block of segment.sack) {
      const [from, to] = block.map((seq) => (seq - this.#options.iss - 1) | 0);
      if (!this.#sack || from <= ((segment.ack - this.#options.iss - 1) | 0))
        throw new Error(`a block of ${from} to ${to}`);
      this.#has.fill(1, from, to);
      this.#hasEnd = Math.max(this.#hasEnd, to);
    }
    const count = (segment.ack - this.#options.iss - 1) | 0;
    if (count > this.#una) {
      if (this.#una === -1 && !this.#options.active) this.#nxt = 0;
      this.#una = count;
      this.#nxt = Math.max(this.#nxt, count);
      this.#timeout = TIMEOUT;
      this.#deadline = this.#una === this.#nxt ? -1 : now + TIMEOUT;
    }
    const scale = segment.flags & SYN ? 0 : this.#scale;
    if (segment.flags & SYN) this.#scale = Math.max(segment.scale, 0);
    if (at >= this.#rcvNxt - 1) this.#peerEdge = Math.max(this.#peerEdge, count + segment.window * 2 ** scale);
  }

  #scale = 0;

  /** The application reads, and time may have come to send again. */
  step(now: number): void {
    const before = this.#window();
    for (const byte of this.#unread.splice(0, this.#options.pace)) this.read.push(byte);
    if (this.#una >= 0 && this.#window() > before && before < this.#options.mss) this.#acknowledge();
    if (this.#deadline < 0 || now < this.#deadline) return;
    this.#timeout = Math.min(this.#timeout * 2, LONGEST_TIMEOUT);
    this.#deadline = now + this.#timeout;
    if (this.#una < 0) {
      if (this.#options.active) this.start(now);
      else this.#answer();
      this.#deadline = now + this.#timeout;
      return;
    }
    this.#nxt = this.#una;
    // A closed window is probed with one byte.
    if (this.#peerEdge <= this.#nxt && this.#nxt < this.#options.data.length) this.#segment(1);
    else this.#push(now);
  }

  /** Sends what the window permits; then the FIN. */
  #push(now: number): void {
    const { data, mss } = this.#options;
    if (this.#una < 0) return;
    for (;;) {
      while (this.#has[this.#nxt] === 1) this.#nxt++;
      if (this.#nxt >= data.length || this.#nxt >= this.#peerEdge) break;
      const known = this.#nxt < this.#hasEnd ? this.#has.indexOf(1, this.#nxt) : -1;
      const end = known < 0 ? data.length : known;
      this.#segment(Math.min(mss, end - this.#nxt, this.#peerEdge - this.#nxt));
    }
    if (this.#nxt === data.length) {
      this.outbox.push({ flags: FIN | ACK, seq: this.#seq(this.#nxt), ack: this.#ack(), window: this.#window() });
      this.#nxt++;
    }
    if (this.#deadline < 0 && (this.#una < this.#nxt || this.#nxt < data.length)) this.#deadline = now + this.#timeout;
  }

  #segment(length: number): void {
    const payload = this.#options.data.slice(this.#nxt, this.#nxt + length);
    this.outbox.push({ flags: ACK, seq: this.#seq(this.#nxt), ack: this.#ack(), window: this.#window(), payload });
    this.#nxt += length;
  }

  #acknowledge(): void {
    const sack = this.#sack ? this.#blocks() : [];
    this.outbox.push({ flags: ACK, seq: this.#seq(this.#nxt), ack: this.#ack(), window: this.#window(), sack });
  }

  /** Four of the blocks that are kept, that of the latest byte first. */
  #blocks(): (readonly [number, number])[] {
    const places = [...this.#early.keys()].sort((a, b) => a - b);
    const blocks: { from: number; to: number }[] = [];
    for (const place of places) {
      const last = blocks.at(-1);
      if (last?.to === place) last.to++;
      else blocks.push({ from: place, to: place + 1 });
    }
    blocks.sort(({ from, to }) => (from <= this.#latest && this.#latest < to ? -1 : 1));
    const seq = (count: number) => (this.#peerIss + 1 + count) >>> 0;
    return blocks.slice(0, 4).map(({ from, to }) => [seq(from), seq(to)] as const);
  }

  #window(): number {
    return Math.min(65535, Math.max(0, this.#options.window - this.#unread.length));
  }

  #seq(count: number): number {
    return (this.#options.iss + 1 + count) >>> 0;
  }

  #ack(): number {
    return (this.#peerIss + 1 + this.#rcvNxt) >>> 0;
  }
}
