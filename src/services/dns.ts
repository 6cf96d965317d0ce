/**
 * The resolver that the sandbox sees at its DNS address: it answers for our own names and carries everything else, as bytes,
 * to the host's resolvers and back. Nobody else is ever asked.
 *
 *     dns.ts           the door: what comes over UDP, or over TCP (dns-streams.ts)
 *       own-names.ts     answers for what is ours
 *       dns-exchange.ts  one query that goes out, and comes back
 *         upstreams.ts     whom to ask first             resolvers.ts  the host's /etc/resolv.conf
 *         dns-udp.ts       questions over UDP, with random ports and ids
 *         dns-tcp.ts       questions over TCP: for those that came over TCP
 *
 * Theory of operation. A query that is malformed gets FORMERR, or nothing where it is not even a query. One for a name of
 * ours is answered here. Any other becomes an Exchange over the protocol that it came by. EDNS and answers of any size go
 * through as they are, truncated ones too: then the sandbox asks over TCP.
 *
 * Bounds: queries of LONGEST_QUERY bytes, MAX_IN_FLIGHT of them over UDP and MAX_OVER_TCP over TCP; beyond, SERVFAIL at once.
 * One member alone may have two thirds of them over UDP, each of several less, so that something is left for whoever comes next.
 * Leaves out: caching, validation, rewriting.
 */
import type { Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { MAX_SEGMENTS } from "../link/segment.js";
import { MAX_LINKS } from "../native/engine.js";
import { Exchange, type ExchangeParts, type Transport } from "./dns-exchange.js";
import {
  DNS_HEADER,
  errorAnswer,
  isResponse,
  OPCODE_QUERY,
  opcode,
  RCODE_FORMERR,
  RCODE_NOTIMP,
  RCODE_SERVFAIL,
  readQuestion,
} from "./dns-message.js";
import type { OwnNames } from "./own-names.js";

export const MAX_IN_FLIGHT = 8192;
export const MAX_OVER_TCP = 512;
export const LONGEST_QUERY = 4096;

export interface DnsOptions extends ExchangeParts {
  readonly ownNames: OwnNames;
  readonly random: Random;
  readonly counters: Counters;
  readonly udp: Transport;
  readonly tcp: Transport;
}

/** `answer` is valid during the call only. */
export type Respond = (answer: Uint8Array) => void;

export class DnsForwarder {
  readonly #options: DnsOptions;
  readonly #inFlight = { udp: 0, tcp: 0 };
  /** Those over UDP, by link. */
  readonly #ofLink = new Int32Array(MAX_LINKS + MAX_SEGMENTS);

  constructor(options: DnsOptions) {
    this.#options = options;
  }

  /** Queries that wait for an answer. */
  get inFlight(): number {
    return this.#inFlight.udp + this.#inFlight.tcp;
  }

  /**
   * Takes one query out of the sandbox, which is ours to keep. Only within a turn.
   * @param respond called once, now or in a later turn
   * @param link whose query it is; -1: not told apart
   * @returns false where it is no query: then nothing can be said to it, and `respond` is not called
   */
  request(protocol: "udp" | "tcp", query: Uint8Array, respond: Respond, link = -1): boolean {
    const { counters, ownNames } = this.#options;
    if (query.length < DNS_HEADER || isResponse(query)) {
      counters.add("dns.malformed");
      return false;
    }
    if (opcode(query) !== OPCODE_QUERY) {
      counters.add("dns.opcode");
      respond(errorAnswer(query, null, RCODE_NOTIMP));
      return true;
    }
    const question = query.length <= LONGEST_QUERY ? readQuestion(query) : null;
    if (question === null) {
      counters.add("dns.malformed");
      respond(errorAnswer(query, null, RCODE_FORMERR));
      return true;
    }
    if (ownNames.has(question)) {
      counters.add("dns.own");
      respond(ownNames.answer(query, question));
      return true;
    }
    const inFlight = this.#inFlight;
    const room = (protocol === "udp" ? MAX_IN_FLIGHT : MAX_OVER_TCP) - inFlight[protocol];
    // The thresholds move with what is left (Choudhury and Hahne, 1998).
    if (room <= 0 || (link >= 0 && this.#ofLink[link] >= 2 * room)) {
      counters.add("dns.limit");
      respond(errorAnswer(query, question, RCODE_SERVFAIL));
      return true;
    }
    counters.add(protocol === "udp" ? "dns.forwarded" : "dns.forwarded_tcp");
    inFlight[protocol]++;
    if (link >= 0) this.#ofLink[link]++;
    const exchange = new Exchange(this.#options, this.#options[protocol], query, question, (answer) => {
      inFlight[protocol]--;
      if (link >= 0) this.#ofLink[link]--;
      respond(answer);
    });
    exchange.start();
    return true;
  }
}
