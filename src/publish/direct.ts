/**
 * The direct path of a published TCP port: from an accepted socket to a socket made inside the namespace, joined in the
 * kernel.
 *
 * Theory of operation. A client on the host's own loopback has no address that could mean anything inside, and the server
 * it looks for may listen on the namespace's loopback only, which no frame from a TAP can reach. So the launcher makes a
 * socket inside, it connects to the first of `targets` that accepts, and the two are spliced: no byte of the connection
 * comes by here. Until then the client's socket is left alone: what it sends waits in the kernel.
 *
 *     asking ──fd──▶ connecting ──connected──▶ spliced ──▶ (ended)
 *        │              │  ▲ refused: the next target, with a new socket
 *        └──────────────┴──┴─ none left, or the client is gone: both are closed; the client sees a reset,
 *                             or the caller, where there is one, gets its socket back
 *
 * Bounds: `limit` connections that are asking or connecting at once; one more is reset and counted.
 */
import type { Counters } from "../flow/counters.js";
import type { Turns } from "../flow/turns.js";
import type { StreamHandler, Streams } from "../host/sockets.js";
import { type Address, type Endpoint, endpoint, familyOf } from "../wire/address.js";

/** Makes sockets inside the namespace (see sandbox/sandbox.ts). */
export interface InsideSockets {
  socket(family: 4 | 6, type: "stream" | "datagram"): Promise<number>;
  /** Takes one back that nobody wants any more. */
  discard(socket: number): void;
}

/** Who handed a client over and wants to know what becomes of it. Called within a turn. */
export interface DirectCaller {
  /** They are to be spliced: what is sent to the client now goes before what comes from inside. False: ask again in the next turn. */
  reached(client: number, inside: number): boolean;
  /** No target accepts; the client's socket is the caller's again. `errno`: of the last one; 0: a socket could not even be made. */
  refused(client: number, errno: number): void;
  /** The client has gone away. */
  gone(): void;
}

/** A connection that the kernel carries, by its client's socket. */
interface Spliced {
  readonly client: number;
}

export class DirectPath {
  readonly #streams: Streams;
  readonly #counters: Counters;
  readonly #inside: InsideSockets;
  readonly #turns: Turns;
  readonly #limit: number;
  readonly #pending = new Set<Attempt>();
  readonly #spliced = new Set<Spliced>();

  constructor(options: { streams: Streams; counters: Counters; turns: Turns; inside: InsideSockets; limit?: number }) {
    this.#streams = options.streams;
    this.#counters = options.counters;
    this.#inside = options.inside;
    this.#turns = options.turns;
    this.#limit = options.limit ?? 4096;
  }

  /** Connections that are spliced now. */
  get spliced(): number {
    return this.#spliced.size;
  }

  /** True while a server inside may still have something for a client. */
  get answering(): boolean {
    for (const { client } of this.#spliced) if (this.#streams.answers(client)) return true;
    return false;
  }

  /** Ends all of them: the clients see a reset. Within a turn, after its events. */
  close(): void {
    for (const attempt of [...this.#pending]) this.end(attempt);
    for (const { client } of [...this.#spliced]) this.#streams.unsplice(client);
  }

  /** Connects an accepted socket to the first of `targets` (at least one) that accepts on `port`. The socket is ours from now on. */
  connect(client: number, targets: readonly Address[], port: number, caller: DirectCaller | null = null): void {
    if (this.#pending.size >= this.#limit) {
      this.#counters.add("publish.direct_limit");
      if (caller === null) this.#streams.reset(client);
      else caller.refused(client, 0);
      return;
    }
    const attempt = new Attempt(this, client, targets, port, caller);
    this.#pending.add(attempt);
    this.#streams.own(client, attempt);
    this.next(attempt);
  }

  /** Asks for a socket inside and connects it to the attempt's next target. */
  next(attempt: Attempt): void {
    const target = attempt.nextTarget();
    if (target === null) {
      this.#counters.add("publish.refused");
      this.end(attempt);
      return;
    }
    this.#inside.socket(familyOf(target, 8), "stream").then(
      (fd) =>
        this.#turns.enter(
          () => this.#connect(attempt, fd, target),
          () => this.#inside.discard(fd),
        ),
      () =>
        this.#turns.enter(() => {
          this.#counters.add("publish.no_inside_socket");
          this.end(attempt);
        }),
    );
  }

  #connect(attempt: Attempt, fd: number, target: Endpoint): void {
    const socket = this.#streams.connectWith(fd, target, attempt);
    // The client may have gone while we waited; then the new socket has no one to serve.
    if (attempt.ended) {
      if (socket >= 0) this.#streams.reset(socket);
    } else if (socket < 0) {
      attempt.errno = -socket;
      this.next(attempt);
    } else {
      attempt.inside = socket;
    }
  }

  splice(attempt: Attempt): void {
    const { caller, client, inside } = attempt;
    if (attempt.ended || inside < 0) return;
    if (caller !== null && !caller.reached(client, inside)) {
      this.#turns.enter(() => this.splice(attempt));
      return;
    }
    attempt.ended = true;
    this.#pending.delete(attempt);
    const spliced: Spliced = { client };
    this.#spliced.add(spliced);
    this.#streams.splice(client, inside, () => {
      this.#spliced.delete(spliced);
    });
  }

  /** Gives up: resets what is still open. */
  end(attempt: Attempt): void {
    if (attempt.ended) return;
    attempt.ended = true;
    this.#pending.delete(attempt);
    if (attempt.inside >= 0) this.#streams.reset(attempt.inside);
    if (attempt.client < 0) attempt.caller?.gone();
    else if (attempt.caller === null) this.#streams.reset(attempt.client);
    else attempt.caller.refused(attempt.client, attempt.errno);
  }
}

/** One connection on its way to being spliced; hears of both sockets. */
class Attempt implements StreamHandler {
  readonly #path: DirectPath;
  readonly #targets: readonly Address[];
  readonly #port: number;
  #tried = 0;
  /** Socket numbers; negative: none. */
  client: number;
  inside = -1;
  ended = false;
  /** Of the last target that did not accept. */
  errno = 0;
  readonly caller: DirectCaller | null;

  constructor(
    path: DirectPath,
    client: number,
    targets: readonly Address[],
    port: number,
    caller: DirectCaller | null,
  ) {
    this.caller = caller;
    this.#path = path;
    this.#targets = targets;
    this.#port = port;
    this.client = client;
  }

  nextTarget(): Endpoint | null {
    const target = this.#targets[this.#tried++];
    return target === undefined ? null : endpoint(target, this.#port);
  }

  connected(): void {
    this.#path.splice(this);
  }

  failed(socket: number, errno: number): void {
    if (this.ended) return;
    if (socket === this.client) {
      this.client = -1;
      this.#path.end(this);
      return;
    }
    this.inside = -1;
    this.errno = errno;
    this.#path.next(this);
  }

  // The credit of both is 0 until they are spliced, and nothing is sent: neither of these can come.
  data(): void {}
  end(): void {}
  drained(): void {}
}
