/**
 * The resolver that the sandbox sees at its DNS address, over UDP: it answers for our own names and carries everything
 * else, as bytes, to the host's resolvers and back. (DNS over TCP is dialled to the first of them, see policy/.)
 *
 * Theory of operation. A query that is malformed gets FORMERR, or nothing where it is not even a query. One for a name of
 * ours is answered here. Any other becomes an `Exchange`: it is asked of one resolver after the other, each time from a
 * new socket (so from a new random port) with a new random id (RFC 5452), connected to the resolver, so that the kernel
 * takes answers from nobody else. An answer counts only when its id and its question are those that were asked.
 *
 *     asking ──answer──────────────────────────────→ done (its id put back)
 *        │ ├─ no answer in TRY_MS ───────────┐
 *        │ ├─ refused, unreachable           ├──→ asking the next; earlier sockets may still answer
 *        │ └─ SERVFAIL, NOTIMP, REFUSED ─────┘
 *        └─ nobody left, or TOTAL_MS over ──→ done (what the last one said, else SERVFAIL)
 *
 * After silence the round begins again with the first resolver, as libc does, until TOTAL_MS; after errors from all it
 * does not, since they would say the same again. EDNS and answers of any size go through as they are.
 *
 * Bounds: MAX_IN_FLIGHT queries of both kinds, beyond them SERVFAIL at once; at most MAX_TRIES sockets each; no socket at rest.
 * Leaves out: caching, validation, rewriting.
 */
import { createSocket, type Socket } from "node:dgram";
import { networkInterfaces } from "node:os";
import type { Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import {
  type Endpoint,
  endpointAddress,
  endpointFamily,
  endpointPort,
  equalAddress,
  formatAddress,
  parseAddress,
} from "../wire/address.js";
import {
  DNS_HEADER,
  errorAnswer,
  isResponse,
  messageId,
  OPCODE_QUERY,
  opcode,
  type Question,
  questionCount,
  RCODE_FORMERR,
  RCODE_NOTIMP,
  RCODE_REFUSED,
  RCODE_SERVFAIL,
  rcode,
  readQuestion,
  sameQuestion,
} from "./dns-message.js";
import type { OwnNames } from "./own-names.js";

export const TRY_MS = 1500;
export const TOTAL_MS = 5000;
export const MAX_IN_FLIGHT = 1024;
const MAX_TRIES = 4;
/** The longest query for a name of ours: a question and an OPT record. Decoding what a longer one can hold takes a while. */
const MAX_OWN_QUERY = 512;

/** A socket to one resolver, for one try. */
export interface Upstream {
  send(query: Uint8Array): void;
  close(): void;
}

export interface UpstreamEvents {
  /** Bytes from the resolver and from nobody else. */
  answer(bytes: Uint8Array): void;
  /** The resolver cannot be asked: refused, unreachable, no socket left. At most once. */
  failed(): void;
}

/** Opens a socket of its own (with a random port) to a resolver. Failures come by `failed`, never as an exception. */
export type OpenUpstream = (resolver: Endpoint, events: UpstreamEvents) => Upstream;

/** Calls `action` once, after `milliseconds`, unless it was cancelled by the function that is returned. */
export type Schedule = (milliseconds: number, action: () => void) => () => void;

export interface DnsOptions {
  /** The resolvers to ask now, in their order. */
  readonly resolvers: () => readonly Endpoint[];
  readonly ownNames: OwnNames;
  readonly random: Random;
  readonly counters: Counters;
  readonly open?: OpenUpstream;
  readonly schedule?: Schedule;
}

export type Respond = (answer: Uint8Array) => void;

export class DnsForwarder {
  readonly #options: DnsOptions;
  readonly #open: OpenUpstream;
  readonly #schedule: Schedule;
  readonly #exchanges = new Set<Exchange>();
  /** Queries for names of ours whose answer is being made. */
  #answering = 0;

  constructor(options: DnsOptions) {
    this.#options = options;
    this.#open = options.open ?? openUdp;
    this.#schedule = options.schedule ?? scheduleTimeout;
  }

  /** Exchanges that wait for an answer, 0 to MAX_IN_FLIGHT. */
  get inFlight(): number {
    return this.#exchanges.size;
  }

  /**
   * Takes one query out of the sandbox. `respond` is called at most once, at once or later and then outside of any turn;
   * never where the query deserves no answer. `query` is copied where it is kept.
   */
  request(query: Uint8Array, respond: Respond): void {
    const { counters, ownNames } = this.#options;
    if (query.length < DNS_HEADER || isResponse(query)) {
      counters.add("dns.malformed");
      return;
    }
    if (opcode(query) !== OPCODE_QUERY) {
      counters.add("dns.opcode");
      respond(errorAnswer(query, null, RCODE_NOTIMP));
      return;
    }
    const question = readQuestion(query);
    const own = question !== null && ownNames.has(question);
    if (question === null || (own && query.length > MAX_OWN_QUERY)) {
      counters.add("dns.malformed");
      respond(errorAnswer(query, null, RCODE_FORMERR));
      return;
    }
    if (this.#exchanges.size + this.#answering >= MAX_IN_FLIGHT) {
      counters.add("dns.limit");
      respond(errorAnswer(query, question, RCODE_SERVFAIL));
      return;
    }
    if (own) {
      counters.add("dns.own");
      this.#answerOwn(new Uint8Array(query), question, respond);
      return;
    }
    counters.add("dns.forwarded");
    // Not slice(), which a Buffer does not copy with.
    const exchange = new Exchange(new Uint8Array(query), question, this.#options.resolvers(), {
      open: this.#open,
      schedule: this.#schedule,
      random: this.#options.random,
      counters,
      done: (answer) => {
        this.#exchanges.delete(exchange);
        respond(answer);
      },
    });
    this.#exchanges.add(exchange);
    exchange.askNext();
  }

  /** Forgets all queries, without an answer. */
  close(): void {
    for (const exchange of this.#exchanges) exchange.close();
    this.#exchanges.clear();
  }

  #answerOwn(query: Uint8Array, question: Question, respond: Respond): void {
    this.#answering++;
    this.#options.ownNames.answer(query, question).then(
      (answer) => {
        this.#answering--;
        respond(answer);
      },
      () => {
        this.#answering--;
        // The question is sound but what follows it is not.
        this.#options.counters.add("dns.malformed");
        respond(errorAnswer(query, question, RCODE_FORMERR));
      },
    );
  }
}

interface ExchangeOptions {
  readonly open: OpenUpstream;
  readonly schedule: Schedule;
  readonly random: Random;
  readonly counters: Counters;
  readonly done: Respond;
}

/** One query on its way. */
class Exchange {
  readonly #query: Uint8Array;
  readonly #question: Question;
  readonly #resolvers: readonly Endpoint[];
  readonly #options: ExchangeOptions;
  readonly #sockets: Upstream[] = [];
  readonly #cancelTotal: () => void;
  #cancelTry: () => void = () => {};
  #tries = 0;
  /** Tries in a row that ended with an error at once. */
  #refusals = 0;
  /** What the last resolver said that did not help. */
  #unhelpful: Uint8Array | null = null;
  #over = false;

  constructor(query: Uint8Array, question: Question, resolvers: readonly Endpoint[], options: ExchangeOptions) {
    this.#query = query;
    this.#question = question;
    this.#resolvers = resolvers;
    this.#options = options;
    this.#cancelTotal = options.schedule(TOTAL_MS, () => {
      options.counters.add("dns.timeout");
      this.#giveUp();
    });
  }

  askNext(): void {
    this.#cancelTry();
    if (this.#tries >= MAX_TRIES || this.#refusals >= this.#resolvers.length) {
      // Nobody more to ask. Where somebody was silent, there is time yet for an answer.
      if (this.#refusals >= this.#tries || this.#refusals >= this.#resolvers.length) this.#giveUp();
      return;
    }
    const resolver = this.#resolvers[this.#tries % this.#resolvers.length];
    this.#tries++;
    const sent = this.#query.slice();
    const id = this.#options.random.uint32() & 0xffff;
    sent[0] = id >>> 8;
    sent[1] = id & 0xff;
    let settled = false;
    const unhelpful = () => {
      if (settled || this.#over) return;
      settled = true;
      this.#refusals++;
      this.askNext();
    };
    const upstream = this.#options.open(resolver, {
      answer: (bytes) => {
        if (this.#over || settled) return;
        if (!this.#answers(bytes, id)) {
          this.#options.counters.add("dns.wrong_answer");
          return;
        }
        bytes[0] = this.#query[0];
        bytes[1] = this.#query[1];
        const code = rcode(bytes);
        if (code === RCODE_SERVFAIL || code === RCODE_NOTIMP || code === RCODE_REFUSED) {
          this.#unhelpful = bytes;
          unhelpful();
        } else {
          this.#finish(bytes);
        }
      },
      failed: () => {
        this.#options.counters.add("dns.upstream_failed");
        unhelpful();
      },
    });
    if (this.#over) {
      upstream.close();
      return;
    }
    this.#sockets.push(upstream);
    upstream.send(sent);
    if (settled || this.#over) return;
    this.#cancelTry = this.#options.schedule(TRY_MS, () => {
      this.#refusals = 0;
      this.askNext();
    });
  }

  close(): void {
    this.#over = true;
    this.#cancelTry();
    this.#cancelTotal();
    for (const socket of this.#sockets) socket.close();
  }

  /** RFC 5452, 9.1. A resolver that did not understand the query may leave out its question. */
  #answers(bytes: Uint8Array, id: number): boolean {
    if (bytes.length < DNS_HEADER || !isResponse(bytes) || messageId(bytes) !== id) return false;
    if (questionCount(bytes) === 0) return rcode(bytes) === RCODE_FORMERR || rcode(bytes) === RCODE_NOTIMP;
    const question = readQuestion(bytes);
    return question !== null && sameQuestion(question, this.#question);
  }

  #giveUp(): void {
    this.#finish(this.#unhelpful ?? errorAnswer(this.#query, this.#question, RCODE_SERVFAIL));
  }

  #finish(answer: Uint8Array): void {
    if (this.#over) return;
    this.close();
    this.#options.done(answer);
  }
}

function scheduleTimeout(milliseconds: number, action: () => void): () => void {
  const timer = setTimeout(action, milliseconds);
  return () => clearTimeout(timer);
}

/** The address as node:dgram wants it: a link-local one with the name of its interface. */
function textAddress(resolver: Endpoint): string {
  const address = formatAddress(endpointAddress(resolver));
  const scope = new DataView(resolver.buffer, resolver.byteOffset).getUint32(4, true);
  if (scope === 0) return address;
  const own = Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some((each) => each.family === "IPv6" && each.scopeid === scope),
  );
  return own === undefined ? address : `${address}%${own[0]}`;
}

/** A connected UDP socket: the kernel chooses a random port and lets through the resolver's datagrams only. */
function openUdp(resolver: Endpoint, events: UpstreamEvents): Upstream {
  const socket: Socket = createSocket(endpointFamily(resolver) === 6 ? "udp6" : "udp4");
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    socket.close();
  };
  const fail = () => {
    if (!open) return;
    close();
    events.failed();
  };
  socket.on("error", fail);
  const address = endpointAddress(resolver);
  socket.on("message", (message, { address: from, port }) => {
    // What came between bind() and connect() may be anybody's.
    const expected = port === endpointPort(resolver) && equalAddress(parseAddress(from.split("%")[0]), address);
    if (open && expected) events.answer(message);
  });
  let waiting: Uint8Array | null = null;
  let connected = false;
  socket.once("connect", () => {
    connected = true;
    if (waiting !== null && open) socket.send(waiting, (error) => error && fail());
  });
  socket.connect(endpointPort(resolver), textAddress(resolver));
  return {
    send(query) {
      if (connected) socket.send(query, (error) => error && fail());
      else waiting = query;
    },
    close,
  };
}
