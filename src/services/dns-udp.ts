/**
 * Asking resolvers over UDP.
 *
 * Theory of operation. What a forger has to guess is the port and the id of a question (RFC 5452). So a question gets a
 * socket of its own, with a port that the kernel chose at random, and a random id; the socket goes with the answer. Only while
 * SOCKETS of a family are open already, a question shares one of them, chosen at random, under an id that no other on it
 * has. One that has carried RETIRE questions gets no more as long as there is another, so that ports change under load too.
 *
 * A datagram is handed on only when it comes from the very resolver, address and port, to which the question with its id went
 * out on this socket. Refusals come back with the beginning of the question, and so with its id.
 *
 * Bounds: SOCKETS per family; none at rest. The number of questions is bounded by those who ask (dns.ts).
 */
import type { Random } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { DatagramHandler, Datagrams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import { type Endpoint, endpointFamily, endpointPort, equalAddress, type Family } from "../wire/address.js";
import type { Asked, Asker, Transport } from "./dns-exchange.js";
import { messageId, setMessageId } from "./dns-message.js";
import type { Upstream, Upstreams } from "./upstreams.js";

export const SOCKETS = 64;
export const RETIRE = 128;
const EMSGSIZE = 90;
/** How often another random choice is made. */
const CHOICES = 8;

export interface DnsUdpParts {
  readonly datagrams: Datagrams;
  /** Lends the room that a question is sent from. */
  readonly output: Output;
  readonly upstreams: Upstreams;
  readonly random: Random;
  readonly counters: Counters;
}

/** One question on one socket. */
class Sent implements Asked {
  readonly upstream: Upstream;
  readonly id: number;
  readonly asker: Asker;
  readonly #carrier: Carrier;

  constructor(upstream: Upstream, id: number, asker: Asker, carrier: Carrier) {
    this.upstream = upstream;
    this.id = id;
    this.asker = asker;
    this.#carrier = carrier;
  }

  forget(): void {
    this.#carrier.drop(this);
  }
}

export class DnsUdp implements Transport {
  readonly lossy = true;
  readonly parts: DnsUdpParts;
  readonly #carriers: Record<Family, Carrier[]> = { 4: [], 6: [] };

  constructor(parts: DnsUdpParts) {
    this.parts = parts;
  }

  /** Sockets that are open now, of both families. */
  get sockets(): number {
    return this.#carriers[4].length + this.#carriers[6].length;
  }

  ask(upstream: Upstream, query: Uint8Array, asker: Asker): Asked | null {
    const { output, datagrams, counters } = this.parts;
    const carrier = this.#carrier(endpointFamily(upstream.endpoint) === 6 ? 6 : 4);
    if (carrier === null) return null;
    const sent = carrier.add(upstream, asker);
    let at = output.small(query.length);
    if (at < 0) at = output.large();
    if (at < 0) {
      // As if it were lost on the way: there is another try.
      counters.add("dns.no_room");
      return sent;
    }
    const place = output.bytes.subarray(at, at + query.length);
    place.set(query);
    setMessageId(place, sent.id);
    datagrams.sendTo(carrier.socket, at, query.length, 0, upstream.endpoint, null);
    return sent;
  }

  remove(carrier: Carrier, family: Family): void {
    const carriers = this.#carriers[family];
    const last = carriers.pop();
    if (last !== undefined && last !== carrier) carriers[carriers.indexOf(carrier)] = last;
    this.parts.datagrams.close(carrier.socket);
  }

  #carrier(family: Family): Carrier | null {
    const carriers = this.#carriers[family];
    if (carriers.length < SOCKETS) {
      const carrier = new Carrier(this, family);
      carrier.socket = this.parts.datagrams.open(family, null, carrier);
      if (carrier.socket >= 0) {
        carriers.push(carrier);
        return carrier;
      }
      this.parts.counters.add("dns.no_socket");
    }
    if (carriers.length === 0) return null;
    let chosen = this.#any(carriers);
    for (let i = 0; i < CHOICES && chosen.carried >= RETIRE; i++) chosen = this.#any(carriers);
    return chosen;
  }

  #any(carriers: readonly Carrier[]): Carrier {
    return carriers[this.parts.random.uint32() % carriers.length];
  }
}

/** One socket, and the questions that wait for their answers on it. */
class Carrier implements DatagramHandler {
  socket = -1;
  /** Questions that it ever carried. */
  carried = 0;
  readonly #pool: DnsUdp;
  readonly #family: Family;
  readonly #waiting = new Map<number, Sent>();

  constructor(pool: DnsUdp, family: Family) {
    this.#pool = pool;
    this.#family = family;
  }

  add(upstream: Upstream, asker: Asker): Sent {
    const { random } = this.#pool.parts;
    let id = random.uint32() & 0xffff;
    while (this.#waiting.has(id)) id = random.uint32() & 0xffff;
    const sent = new Sent(upstream, id, asker, this);
    this.#waiting.set(id, sent);
    this.carried++;
    return sent;
  }

  drop(sent: Sent): void {
    if (this.#waiting.get(sent.id) !== sent) return;
    this.#waiting.delete(sent.id);
    if (this.#waiting.size === 0) this.#pool.remove(this, this.#family);
  }

  datagram(_socket: number, offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void {
    const end = offset + length;
    const step = segment > 0 ? segment : length;
    // An empty one is answered by the loop's first round, and then over.
    let from = offset;
    do {
      this.#message(from, Math.min(from + step, end), addresses, at);
      from += step;
    } while (from < end);
  }

  datagramFailed(
    _socket: number,
    errno: number,
    _type: number,
    _code: number,
    _info: number,
    offset: number,
    length: number,
    addresses: Uint8Array,
    at: number,
  ): void {
    const sent = length < 2 ? undefined : this.#find(offset, addresses, at);
    // Too long for the path as it is known now: the next try goes in fragments.
    if (sent === undefined || errno === EMSGSIZE) return;
    this.#pool.parts.upstreams.failed(sent.upstream);
    sent.asker.failed(sent);
  }

  #message(from: number, to: number, addresses: Uint8Array, at: number): void {
    const { output, counters } = this.#pool.parts;
    const sent = to - from < 2 ? undefined : this.#find(from, addresses, at);
    const right = sent?.asker.answered(sent, output.bytes.subarray(from, to)) ?? false;
    if (!right) counters.add("dns.wrong_answer");
  }

  /** The question whose id stands at `offset`, if its resolver is the endpoint at `at`. */
  #find(offset: number, addresses: Uint8Array, at: number): Sent | undefined {
    const { bytes } = this.#pool.parts.output;
    const sent = this.#waiting.get(messageId(bytes.subarray(offset, offset + 2)));
    return sent !== undefined && isFrom(sent.upstream.endpoint, addresses, at) ? sent : undefined;
  }
}

function isFrom(endpoint: Endpoint, addresses: Uint8Array, at: number): boolean {
  return endpointPort(endpoint) === endpointPort(addresses, at) && equalAddress(endpoint, addresses, 8, at + 8);
}
