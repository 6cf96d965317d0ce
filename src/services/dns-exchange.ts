/**
 * One query on its way to the resolvers and back.
 *
 * Theory of operation. The query is asked of one resolver after the other, each time under a new random id. An answer counts
 * only when its id and its question are those that were asked (RFC 5452, 9.1); the transport has seen to its source.
 *
 *     asking ──answer──────────────────────────────→ over (its id put back)
 *        │ ├─ no answer in TRY_MS ───────────┐
 *        │ ├─ refused, unreachable           ├──→ asking the next; those asked before may still answer
 *        │ └─ SERVFAIL, NOTIMP, REFUSED ─────┘
 *        └─ nobody left, or TOTAL_MS over ──→ over (what the last one said, else SERVFAIL)
 *
 * Over UDP, after silence the round begins again with the first resolver, as libc does, until TOTAL_MS; over TCP everybody
 * is asked once. After errors from all it ends, since they would say the same again. TOTAL_MS is below the 5 s after which libc and
 * dig give up, so that they hear of it.
 */
import type { Clock, Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import {
  DNS_HEADER,
  errorAnswer,
  isResponse,
  messageId,
  type Question,
  questionCount,
  RCODE_FORMERR,
  RCODE_NOTIMP,
  RCODE_REFUSED,
  RCODE_SERVFAIL,
  rcode,
  sameQuestion,
  setMessageId,
} from "./dns-message.js";
import type { Upstream, Upstreams } from "./upstreams.js";

export const TRY_MS = 1000;
/** A try may take up to so much longer. */
const JITTER_MS = 250;
export const TOTAL_MS = 4500;
/** In all, where there are fewer resolvers. */
const MIN_TRIES = 4;
/** The longest unhelpful answer that is kept, in case nobody has a better one. */
const MAX_KEPT = 4096;

/** A question that was put to one resolver. */
export interface Asked {
  readonly upstream: Upstream;
  readonly id: number;
  /** No answer is wanted any more. */
  forget(): void;
}

export interface Asker {
  /** False: this is no answer to what was asked. `message` is the callee's to change, and gone after the call. */
  answered(asked: Asked, message: Uint8Array): boolean;
  /** The resolver cannot be asked. Not within ask(). */
  failed(asked: Asked): void;
}

/** A way to ask resolvers: dns-udp.ts and dns-tcp.ts. */
export interface Transport {
  /** True where a question may be lost: then it is worth asking again. */
  readonly lossy: boolean;
  /** Sends the query under an id of its own choice. Null: it cannot be sent. Within a turn, as all that follows from it. */
  ask(upstream: Upstream, query: Uint8Array, asker: Asker): Asked | null;
}

export interface ExchangeParts {
  readonly upstreams: Upstreams;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly random: Random;
  readonly counters: Counters;
}

export class Exchange implements Asker, TimerOwner {
  readonly #parts: ExchangeParts;
  readonly #transport: Transport;
  readonly #query: Uint8Array;
  readonly #question: Question;
  readonly #done: (answer: Uint8Array) => void;
  readonly #timer = new Timer(this);
  readonly #ranked: readonly Upstream[];
  readonly #endAt: number;
  readonly #open: Asked[] = [];
  #probe: Asked | null = null;
  #tries = 0;
  /** The one asked last, while there is another to be asked after it, and when. */
  #last: Asked | null = null;
  #lastAt = 0;
  /** Tries in a row that ended with an error at once. */
  #refusals = 0;
  /** What the last resolver said that did not help. */
  #unhelpful: Uint8Array | null = null;
  #over = false;

  /** @param done called once, with bytes that are valid during the call */
  constructor(
    parts: ExchangeParts,
    transport: Transport,
    query: Uint8Array,
    question: Question,
    done: (answer: Uint8Array) => void,
  ) {
    this.#parts = parts;
    this.#transport = transport;
    this.#query = query;
    this.#question = question;
    this.#done = done;
    this.#ranked = parts.upstreams.ranked();
    this.#endAt = parts.clock.now() + TOTAL_MS;
  }

  start(): void {
    const probe = this.#parts.upstreams.probe(this.#ranked[0]);
    this.#askNext();
    if (probe !== null && !this.#over) this.#probe = this.#transport.ask(probe, this.#query, this);
  }

  answered(asked: Asked, message: Uint8Array): boolean {
    if (!this.#isAnswer(message, asked.id)) return false;
    this.#parts.upstreams.heard(asked.upstream);
    setMessageId(message, messageId(this.#query));
    const code = rcode(message);
    if (code !== RCODE_SERVFAIL && code !== RCODE_NOTIMP && code !== RCODE_REFUSED) {
      this.#finish(message);
    } else if (this.#drop(asked)) {
      const keep = message.length <= MAX_KEPT;
      this.#unhelpful = keep ? new Uint8Array(message) : errorAnswer(this.#query, this.#question, code);
      this.#refused(asked);
    }
    return true;
  }

  failed(asked: Asked): void {
    this.#parts.counters.add("dns.upstream_failed");
    if (this.#drop(asked)) this.#refused(asked);
  }

  expired(): void {
    const { clock, upstreams, counters } = this.#parts;
    const now = clock.now();
    // Whoever is slow over TCP may be quick over UDP (dns-tcp.ts).
    if (this.#last !== null && this.#transport.lossy) upstreams.silent(this.#last.upstream, this.#lastAt);
    if (now >= this.#endAt) {
      counters.add("dns.timeout");
      this.#giveUp();
      return;
    }
    this.#refusals = 0;
    this.#askNext();
  }

  #askNext(): void {
    const { timers, clock, counters } = this.#parts;
    const ranked = this.#ranked;
    const most = this.#transport.lossy ? Math.max(MIN_TRIES, ranked.length) : ranked.length;
    const now = clock.now();
    this.#last = null;
    while (this.#tries < most && this.#refusals < ranked.length) {
      const upstream = ranked[this.#tries % ranked.length];
      this.#tries++;
      const asked = this.#transport.ask(upstream, this.#query, this);
      if (asked === null) {
        counters.add("dns.upstream_failed");
        this.#refusals++;
        continue;
      }
      this.#open.push(asked);
      this.#last = asked;
      this.#lastAt = now;
      timers.arm(this.#timer, now, Math.min(TRY_MS + this.#jitter(), this.#endAt - now));
      return;
    }
    // Nobody more to ask. Where somebody was silent, there is time yet for an answer.
    if (this.#open.length === 0 || this.#refusals >= ranked.length) this.#giveUp();
    else timers.arm(this.#timer, now, this.#endAt - now);
  }

  /** Of a burst that overran a resolver, the second tries shall not be such a burst again. */
  #jitter(): number {
    return this.#parts.random.uint32() % JITTER_MS;
  }

  /** `asked` was of no help: on to the next, unless somebody else has been asked since. */
  #refused(asked: Asked): void {
    if (asked === this.#last) {
      this.#refusals++;
      this.#askNext();
    } else if (this.#open.length === 0) {
      this.#giveUp();
    }
  }

  /** False: it was the probe, or is settled. */
  #drop(asked: Asked): boolean {
    asked.forget();
    if (asked === this.#probe) {
      this.#probe = null;
      return false;
    }
    const at = this.#open.indexOf(asked);
    if (at >= 0) this.#open.splice(at, 1);
    return at >= 0 && !this.#over;
  }

  /** A resolver that did not understand the query may leave out its question. */
  #isAnswer(message: Uint8Array, id: number): boolean {
    if (message.length < DNS_HEADER || !isResponse(message) || messageId(message) !== id) return false;
    if (questionCount(message) === 0) return rcode(message) === RCODE_FORMERR || rcode(message) === RCODE_NOTIMP;
    return sameQuestion(this.#query, message, this.#question.end);
  }

  #giveUp(): void {
    this.#finish(this.#unhelpful ?? errorAnswer(this.#query, this.#question, RCODE_SERVFAIL));
  }

  #finish(answer: Uint8Array): void {
    if (this.#over) return;
    this.#over = true;
    this.#parts.timers.cancel(this.#timer);
    for (const asked of this.#open) asked.forget();
    this.#probe?.forget();
    this.#done(answer);
  }
}
