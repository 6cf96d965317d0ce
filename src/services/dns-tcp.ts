/**
 * Asking resolvers over TCP (RFC 7766): for questions that came over TCP, mostly since the answer did not fit a datagram.
 *
 * Theory of operation. Each question has a connection of its own, which ends with the answer, and a random id. The question is
 * sent when the connection stands; if the turn has no room for it then, shortly after. A connection that fails or ends without an
 * answer is a refusal, which says nothing about the resolver over UDP.
 *
 * Bounds: a connection per question and resolver asked; the number of questions is bounded by those who ask (dns.ts).
 */
import type { Clock, Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import type { StreamHandler, Streams } from "../host/sockets.js";
import { MAX_PAYLOAD } from "../native/engine.js";
import type { Asked, Asker, Transport } from "./dns-exchange.js";
import { framed, MessageReader } from "./dns-framing.js";
import { setMessageId } from "./dns-message.js";
import type { Upstream } from "./upstreams.js";

const LONGEST = 65535;
const SEND_AGAIN_MS = 1;

export interface DnsTcpParts {
  readonly streams: Streams;
  /** The engine's slab. */
  readonly bytes: Uint8Array;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly random: Random;
  readonly counters: Counters;
}

export class DnsTcp implements Transport {
  readonly lossy = false;
  readonly #parts: DnsTcpParts;

  constructor(parts: DnsTcpParts) {
    this.#parts = parts;
  }

  ask(upstream: Upstream, query: Uint8Array, asker: Asker): Asked | null {
    const connection = new Connection(this.#parts, upstream, query, asker);
    return connection.open() ? connection : null;
  }
}

class Connection implements Asked, StreamHandler, TimerOwner {
  readonly upstream: Upstream;
  readonly id: number;
  readonly #parts: DnsTcpParts;
  readonly #query: Uint8Array;
  readonly #asker: Asker;
  readonly #reader = new MessageReader(LONGEST);
  readonly #again = new Timer(this);
  #socket = -1;

  constructor(parts: DnsTcpParts, upstream: Upstream, query: Uint8Array, asker: Asker) {
    this.#parts = parts;
    this.upstream = upstream;
    this.id = parts.random.uint32() & 0xffff;
    this.#asker = asker;
    this.#query = framed(query);
    setMessageId(this.#query.subarray(2), this.id);
  }

  open(): boolean {
    this.#socket = this.#parts.streams.connect(this.upstream.endpoint, null, this);
    return this.#socket >= 0;
  }

  forget(): void {
    this.#parts.timers.cancel(this.#again);
    if (this.#socket >= 0) this.#parts.streams.close(this.#socket);
    this.#socket = -1;
  }

  connected(socket: number): void {
    this.#parts.streams.credit(socket, LONGEST + 2, MAX_PAYLOAD);
    this.#send();
  }

  expired(): void {
    this.#send();
  }

  data(socket: number, offset: number, length: number): void {
    const { streams, bytes, counters } = this.#parts;
    this.#reader.push(bytes.subarray(offset, offset + length));
    streams.consume(socket, length);
    for (let message = this.#reader.next(); message !== null; message = this.#reader.next()) {
      if (this.#asker.answered(this, message)) return;
      counters.add("dns.wrong_answer");
    }
    streams.credit(socket, LONGEST + 2, MAX_PAYLOAD);
  }

  end(): void {
    this.#fail();
  }

  failed(): void {
    this.#socket = -1;
    this.#fail();
  }

  drained(): void {}

  #send(): void {
    const { streams, timers, clock } = this.#parts;
    if (this.#socket < 0 || streams.sendCopy(this.#socket, this.#query)) return;
    timers.arm(this.#again, clock.now(), SEND_AGAIN_MS);
  }

  #fail(): void {
    this.forget();
    this.#asker.failed(this);
  }
}
