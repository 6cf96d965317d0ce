/**
 * A SOCKS 5 proxy on the host (RFC 1928) whose destinations are the members of one network: browsers and curl reach them by
 * their names and addresses.
 *
 * Theory of operation. A connection says what it wants, is handed to the direct path of the member that it named
 * (publish/direct.ts), and spliced there with a socket that was made inside: so a server is reached that listens on the
 * member's address or on its loopback. What the client sent behind its request stays in its socket until then.
 *
 *     greeting ──▶ request ──▶ connecting ──▶ reply, spliced
 *         │           │            └─ no target accepts ─▶ reply ─┐
 *         │           └─ not CONNECT, or no member of ours ─▶ reply ─┴▶ closing ──▶ closed
 *         └─ no method without authentication ─▶ reply ───────────────────┘
 *
 * There is no authentication: who reaches the listener may use it, and by default that is this host alone. And there is no way
 * out: a destination that is no member's, whatever it is (the gateway, the host, a name outside), is not allowed (reply 2).
 *
 * Closing: the client is told that nothing more comes, and what it still sends is read and dropped, since a socket that is
 * closed with bytes unread resets the connection, and the reply could be lost with it.
 *
 * Bounds: MAX_TALKS that have not come to connecting, or are closing, at once, TALK_MS for each, one more is reset; LONGEST
 * bytes of each are read. How many are connecting is bounded by the member's direct path. Counters: `proxy.*`.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import type { Turns } from "../flow/turns.js";
import type { ListenHandler, StreamHandler, Streams } from "../host/sockets.js";
import { MAX_PAYLOAD } from "../native/engine.js";
import type { DirectCaller } from "../publish/direct.js";
import { type Address, type Endpoint, type Family, familyOf } from "../wire/address.js";
import {
  CONNECT,
  type Greeting,
  LONGEST,
  method,
  NOT_SOCKS5,
  Reply,
  readGreeting,
  readRequest,
  reply,
  type SocksRequest,
} from "./socks.js";

export const MAX_TALKS = 256;
export const TALK_MS = 10_000;
const CLOSING_MS = 2000;
/** Connections that wait to be accepted, and bytes that are read and dropped of one that is closing. */
const BACKLOG = 128;
const DROPPED = 1 << 20;

/** errno(3) of a connect() inside. */
const REPLIES: Readonly<Record<number, Reply>> = {
  101: Reply.NetworkUnreachable, // ENETUNREACH
  110: Reply.HostUnreachable, // ETIMEDOUT
  111: Reply.Refused, // ECONNREFUSED
  113: Reply.HostUnreachable, // EHOSTUNREACH
};

/** A member, as the proxy sees it. */
export interface ProxyMember {
  /** Connects a client to the first of the member's addresses that accepts, those of `family` first. */
  connect(client: number, family: Family, port: number, caller: DirectCaller): void;
}

export interface ProxyMembers {
  /** Who has this name, in lower case and without a final dot. */
  named(name: string): ProxyMember | null;
  at(address: Address): ProxyMember | null;
}

export interface ProxyOptions {
  readonly streams: Streams;
  /** The engine's slab. */
  readonly bytes: Uint8Array;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly turns: Turns;
  readonly counters: Counters;
  readonly members: ProxyMembers;
}

export class SocksProxy implements ListenHandler {
  readonly options: ProxyOptions;
  /** Those that have not come to connecting, or are closing. */
  readonly talks = new Set<Talk>();
  #listener = -1;

  constructor(options: ProxyOptions) {
    this.options = options;
  }

  /** Listens. Returns 0 or -errno. */
  open(local: Endpoint): number {
    this.#listener = this.options.streams.listen(local, BACKLOG, this);
    return Math.min(this.#listener, 0);
  }

  /** Where it listens. */
  get local(): Endpoint {
    return this.options.streams.localEndpoint(this.#listener);
  }

  /** Listens no more, and ends who has not said yet where to; the others go on. */
  close(): void {
    if (this.#listener >= 0) this.options.streams.close(this.#listener);
    this.#listener = -1;
    for (const talk of [...this.talks]) talk.abort();
  }

  accepted(_listener: number, socket: number): void {
    if (this.talks.size < MAX_TALKS) {
      new Talk(this, socket).begin();
      return;
    }
    this.options.counters.add("proxy.talks_limit");
    this.options.streams.reset(socket);
  }
}

/** `answering`: until what is said to it has found room; `connecting`: it is the direct path's. */
type State = "greeting" | "request" | "answering" | "connecting" | "closing" | "over";

/** One client, until it is spliced or closed. */
class Talk implements StreamHandler, TimerOwner, DirectCaller {
  readonly #proxy: SocksProxy;
  readonly #socket: number;
  readonly #timer = new Timer(this);
  readonly #heard = new Uint8Array(LONGEST);
  /** Of #heard: what has come, and from where on it has not been understood. */
  #end = 0;
  #at = 0;
  #state: State = "greeting";

  constructor(proxy: SocksProxy, socket: number) {
    this.#proxy = proxy;
    this.#socket = socket;
  }

  begin(): void {
    const { streams } = this.#proxy.options;
    this.#enter("greeting");
    streams.own(this.#socket, this);
    streams.credit(this.#socket, LONGEST, LONGEST);
  }

  abort(): void {
    this.#leave("over");
    this.#proxy.options.streams.reset(this.#socket);
  }

  // Of the client's socket

  data(socket: number, offset: number, length: number): void {
    const { streams, bytes } = this.#proxy.options;
    if (this.#state === "closing") {
      streams.consume(socket, length);
      return;
    }
    // The credit sees to it that there are never more than LONGEST.
    this.#heard.set(bytes.subarray(offset, offset + length), this.#end);
    this.#end += length;
    this.#understand();
  }

  end(): void {
    if (this.#state === "closing") this.#hangUp();
    else if (this.#state !== "answering") this.#hangUp("proxy.cut");
  }

  failed(): void {
    this.#leave("over");
  }

  // It was accepted connected, and does not read on before what was sent to it has been taken.
  connected(): void {}
  drained(): void {}

  /** It takes too long to say what it wants, or to go. */
  expired(): void {
    if (this.#state === "closing") this.#hangUp();
    else this.#hangUp("proxy.late");
  }

  // Of the direct path

  reached(_client: number, inside: number): boolean {
    const { counters, streams } = this.#proxy.options;
    if (!streams.sendCopy(this.#socket, reply(Reply.Succeeded, streams.localEndpoint(inside)))) return false;
    counters.add("proxy.connected");
    this.#state = "over";
    return true;
  }

  refused(_client: number, errno: number): void {
    const { counters, streams } = this.#proxy.options;
    counters.add("proxy.refused");
    if (this.#proxy.talks.size >= MAX_TALKS) {
      this.abort();
      return;
    }
    streams.own(this.#socket, this);
    this.#enter("answering");
    this.#refuse(REPLIES[errno] ?? Reply.Failed);
  }

  gone(): void {
    this.#state = "over";
  }

  /** Goes on with what has come, as far as it is whole. */
  #understand(): void {
    const rest = this.#heard.subarray(this.#at, this.#end);
    if (this.#state === "greeting") {
      const greeting = readGreeting(rest);
      if (greeting === null) return;
      if (greeting === NOT_SOCKS5) this.#hangUp("proxy.not_socks5");
      else this.#greeted(greeting);
    } else if (this.#state === "request") {
      const request = readRequest(rest);
      if (request === null) return;
      if (request === NOT_SOCKS5) this.#hangUp("proxy.not_socks5");
      else this.#asked(request);
    }
  }

  #greeted({ length, open }: Greeting): void {
    const { counters } = this.#proxy.options;
    this.#take(length);
    if (!open) counters.add("proxy.wants_authentication");
    this.#state = "answering";
    this.#say(method(open), () => {
      if (!open) {
        this.#bid();
        return;
      }
      this.#state = "request";
      this.#understand();
    });
  }

  #asked({ length, command, destination, port }: SocksRequest): void {
    const { counters, members } = this.#proxy.options;
    this.#take(length);
    if (destination === null) {
      counters.add("proxy.unknown_address");
      this.#refuse(Reply.AddressNotSupported);
      return;
    }
    if (command !== CONNECT) {
      counters.add("proxy.not_connect");
      this.#refuse(Reply.CommandNotSupported);
      return;
    }
    const member = typeof destination === "string" ? members.named(destination) : members.at(destination);
    if (member === null) {
      counters.add("proxy.not_allowed");
      this.#refuse(Reply.NotAllowed);
      return;
    }
    this.#leave("connecting");
    member.connect(this.#socket, typeof destination === "string" ? 4 : familyOf(destination), port, this);
  }

  /** These bytes are ours; those behind them stay in the socket, for the destination. */
  #take(length: number): void {
    this.#at += length;
    this.#proxy.options.streams.consume(this.#socket, length);
  }

  #refuse(code: Reply): void {
    this.#state = "answering";
    this.#say(reply(code, null), () => this.#bid());
  }

  /** Sends, in a later turn if this one has no room for it, and goes on with `then`. */
  #say(bytes: Uint8Array, then: () => void): void {
    const { streams, turns } = this.#proxy.options;
    if (this.#state === "over") return;
    if (streams.sendCopy(this.#socket, bytes)) then();
    else turns.enter(() => this.#say(bytes, then));
  }

  /**
   * Nothing more comes from us: reads to the client's end, and drops it. When all of this turn has been heard, since what was
   * reported and is not ours is reported anew.
   */
  #bid(): void {
    const { streams, timers, turns, clock } = this.#proxy.options;
    turns.enter(() => {
      if (this.#state === "over") return;
      this.#state = "closing";
      timers.arm(this.#timer, clock.now(), CLOSING_MS);
      streams.shutdown(this.#socket);
      streams.rewind(this.#socket, 0);
      streams.credit(this.#socket, DROPPED, MAX_PAYLOAD);
    });
  }

  #hangUp(counter?: string): void {
    const { counters, streams } = this.#proxy.options;
    if (counter !== undefined) counters.add(counter);
    this.#leave("over");
    streams.close(this.#socket);
  }

  #enter(state: State): void {
    const { timers, clock } = this.#proxy.options;
    this.#state = state;
    this.#proxy.talks.add(this);
    timers.arm(this.#timer, clock.now(), TALK_MS);
  }

  #leave(state: State): void {
    this.#state = state;
    this.#proxy.talks.delete(this);
    this.#proxy.options.timers.cancel(this.#timer);
  }
}
