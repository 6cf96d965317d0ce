/**
 * DNS over TCP at the sandbox's DNS address (RFC 7766).
 *
 * Theory of operation. TCP knows a connection of the sandbox as a flow with a host socket. Here that socket is one end of a
 * pair, and the other end is ours: we read queries from it and write answers, in the order in which they come.
 *
 *     sandbox ── tcp/ flow ── socket ══ socket ── Conversation ── DnsForwarder
 *
 * Reading stops while PIPELINED queries wait for answers, or ANSWERS bytes of answers have not been taken: then the sandbox's
 * window closes by itself. A conversation ends when the sandbox has said FIN and has its answers, after IDLE_MS without
 * a whole question, and with a message that no query can be.
 *
 * Bounds: CONVERSATIONS at once, each with PIPELINED queries and what one read of READ bytes can hold besides. For one more, the one ends that
 * has been without a question for longest, so that nobody keeps the others from asking.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import type { StreamHandler, Streams } from "../host/sockets.js";
import { framed, MessageReader } from "./dns-framing.js";

export const CONVERSATIONS = 256;
export const PIPELINED = 64;
export const IDLE_MS = 10_000;
const ANSWERS = 128 << 10;
/** The longest query, as over UDP (dns.ts), and what is read at once. */
const LONGEST = 4096;
const READ = LONGEST + 2;
const SEND_AGAIN_MS = 1;
const ECONNREFUSED = 111;

export interface DnsStreamsParts {
  readonly streams: Streams;
  /** The engine's slab. */
  readonly bytes: Uint8Array;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly counters: Counters;
  /** Takes one query; see DnsForwarder.request(). */
  readonly request: (query: Uint8Array, respond: (answer: Uint8Array) => void) => boolean;
}

export class DnsStreams {
  readonly parts: DnsStreamsParts;
  readonly #open = new Set<Conversation>();

  constructor(parts: DnsStreamsParts) {
    this.parts = parts;
  }

  get conversations(): number {
    return this.#open.size;
  }

  /** Takes a connection of the sandbox: `flow` is told what happens on the socket that is returned, or -errno. */
  connect(flow: StreamHandler): number {
    const { streams, counters } = this.parts;
    if (this.#open.size >= CONVERSATIONS) {
      counters.add("dns.stream_limit");
      const idle = [...this.#open].find((each) => each.isIdle);
      if (idle === undefined) return -ECONNREFUSED;
      idle.close();
    }
    const conversation = new Conversation(this);
    const pair = streams.pair(flow, conversation);
    if (typeof pair === "number") return pair;
    conversation.begin(pair[1]);
    this.#open.add(conversation);
    return pair[0];
  }

  /** It was asked something: of all, it is the last to make room. */
  asked(conversation: Conversation): void {
    this.#open.delete(conversation);
    this.#open.add(conversation);
  }

  ended(conversation: Conversation): void {
    this.#open.delete(conversation);
  }
}

class Conversation implements StreamHandler, TimerOwner {
  readonly #set: DnsStreams;
  readonly #reader = new MessageReader(LONGEST);
  readonly #idle = new Timer(this);
  readonly #again = new Timer(this);
  /** Answers that found no room yet. */
  readonly #answers: Uint8Array[] = [];
  #socket = -1;
  #waiting = 0;
  #finished = false;
  /** Reads again when there is room. */
  #paused = false;

  constructor(set: DnsStreams) {
    this.#set = set;
  }

  begin(socket: number): void {
    this.#socket = socket;
    this.#rest();
  }

  /** It waits for a question, and nothing else. */
  get isIdle(): boolean {
    return this.#waiting === 0 && this.#answers.length === 0;
  }

  connected(): void {
    this.#read();
  }

  data(socket: number, offset: number, length: number): void {
    const { streams, bytes, counters, request } = this.#set.parts;
    this.#reader.push(bytes.subarray(offset, offset + length));
    streams.consume(socket, length);
    for (let query = this.#reader.next(); query !== null; query = this.#reader.next()) {
      this.#waiting++;
      this.#rest();
      this.#set.asked(this);
      const isQuery = request(query, (answer) => {
        this.#waiting--;
        this.#answer(answer);
      });
      if (!isQuery) {
        this.close();
        return;
      }
    }
    if (this.#reader.tooLong) {
      counters.add("dns.malformed");
      this.close();
    } else {
      this.#read();
    }
  }

  end(): void {
    this.#finished = true;
    this.#settle();
  }

  failed(): void {
    this.#socket = -1;
    this.close();
  }

  drained(): void {
    if (this.#paused) this.#read();
  }

  expired(timer: Timer): void {
    if (timer === this.#again) {
      this.#flush();
    } else if (this.#waiting > 0) {
      this.#rest();
    } else {
      this.#set.parts.counters.add("dns.stream_idle");
      this.close();
    }
  }

  #answer(answer: Uint8Array): void {
    if (this.#socket < 0) return;
    this.#answers.push(framed(answer));
    this.#flush();
  }

  #flush(): void {
    const { streams, timers, clock } = this.#set.parts;
    while (this.#socket >= 0 && this.#answers.length > 0) {
      if (!streams.sendCopy(this.#socket, this.#answers[0])) {
        timers.arm(this.#again, clock.now(), SEND_AGAIN_MS);
        return;
      }
      this.#answers.shift();
    }
    this.#rest();
    if (this.#paused) this.#read();
    this.#settle();
  }

  /** Lets the next bytes come, if there is room for what they may ask. */
  #read(): void {
    const { streams } = this.#set.parts;
    if (this.#socket < 0) return;
    this.#paused = this.#waiting >= PIPELINED || this.#answers.length > 0 || streams.backlog(this.#socket) >= ANSWERS;
    if (!this.#paused) streams.credit(this.#socket, READ, READ);
  }

  /** The sandbox has said all, and has all. */
  #settle(): void {
    if (this.#finished && this.#waiting === 0 && this.#answers.length === 0) this.close();
  }

  /** The time without a question begins anew. */
  #rest(): void {
    const { timers, clock } = this.#set.parts;
    if (this.#socket >= 0) timers.arm(this.#idle, clock.now(), IDLE_MS);
  }

  close(): void {
    const { streams, timers } = this.#set.parts;
    timers.cancel(this.#idle);
    timers.cancel(this.#again);
    if (this.#socket >= 0) streams.close(this.#socket);
    this.#socket = -1;
    this.#answers.length = 0;
    this.#set.ended(this);
  }
}
