/** What a test holds of a simulated engine: its links, and the host's ends of its sockets. */
import { MAX_PAYLOAD } from "../../src/native/engine.js";
import type { Endpoint } from "../../src/wire/address.js";

export class SimulatedLink {
  /** Frames that wait to be read, with their vnet headers. */
  readonly incoming: Uint8Array[] = [];
  /** Frames that were written, copied. */
  readonly written: Uint8Array[] = [];
  /** Its device is gone, which is reported, or it was removed. */
  down = false;
  reported = false;
  removed = false;

  /** Frames written since the last call. */
  take(): Uint8Array[] {
    return this.written.splice(0);
  }
}

/** The host's end of a stream socket. */
export class SimulatedStream {
  readonly kind = "stream";
  readonly remote: Endpoint;
  /** TTL that it connects with; 0: the host's own. */
  readonly hops: number;
  readonly local: Endpoint;
  connected = false;
  /** What the sandbox sent and the socket took. */
  readonly received: number[] = [];
  /** How many more bytes the socket takes. */
  capacity = Number.POSITIVE_INFINITY;
  shutdown = false;
  closed = false;
  wasReset = false;
  /** Bytes that were not consumed. */
  stream = new Uint8Array(0);
  finished = false;
  /** The reading end: how far it was reported, and what may be reported. */
  peeked = 0;
  credit = 0;
  chunk = MAX_PAYLOAD;
  endReported = false;
  error = 0;
  /** The ICMP error that made it fail. */
  report: { type: number; code: number; from: Endpoint } | null = null;
  connecting: "no" | "pending" | "done" = "no";
  readonly backlog: Uint8Array[] = [];
  lastReportedBacklog = 0;
  drained = false;
  shutdownPending = false;
  closePending = false;
  /** Of a pair: the other one. */
  other: SimulatedStream | null = null;

  constructor(remote: Endpoint, local: Endpoint, hops = 0) {
    this.remote = remote;
    this.hops = hops;
    this.local = local;
  }

  /** The host accepts the connection. */
  establish(): void {
    this.connecting = "done";
  }

  /** The socket fails: a refused connect, a reset. */
  fail(errno: number, report: { type: number; code: number; from: Endpoint } | null = null): void {
    this.error = errno;
    this.report = report;
  }

  /** The host sends bytes. */
  write(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.stream.length + bytes.length);
    joined.set(this.stream);
    joined.set(bytes, this.stream.length);
    this.stream = joined;
  }

  /** The host sends no more. */
  finish(): void {
    this.finished = true;
  }

  /** The host reads: the socket takes so many bytes more. */
  read(bytes: number): void {
    this.capacity += bytes;
  }
}

export interface SentDatagram {
  readonly bytes: Uint8Array;
  readonly segment: number;
  /** Word `b` of SendTo. */
  readonly path: number;
  readonly remote: Endpoint;
  readonly source: Endpoint;
}

/** The host's end of a datagram or ping socket. */
export class SimulatedDatagram {
  readonly kind = "datagram";
  readonly local: Endpoint;
  readonly ping: boolean;
  closed = false;
  readonly sent: SentDatagram[] = [];
  readonly waiting: {
    readonly bytes: Uint8Array;
    readonly segment: number;
    readonly from: Endpoint;
    readonly to: Endpoint;
    readonly failure: { errno: number; type: number; code: number; info: number } | null;
  }[] = [];

  constructor(local: Endpoint, ping: boolean) {
    this.local = local;
    this.ping = ping;
  }

  take(): SentDatagram[] {
    return this.sent.splice(0);
  }

  /** A datagram comes in. */
  deliver(bytes: Uint8Array, from: Endpoint, to: Endpoint = this.local, segment = 0): void {
    this.waiting.push({ bytes, segment, from, to, failure: null });
  }

  /** What was sent to `remote` failed, as `reporter` says. */
  fail(
    bytes: Uint8Array,
    remote: Endpoint,
    reporter: Endpoint | null,
    failure: { errno: number; type: number; code: number; info: number },
  ): void {
    this.waiting.push({ bytes, segment: 0, from: remote, to: reporter ?? new Uint8Array(24), failure });
  }
}

export class SimulatedListener {
  readonly kind = "listener";
  readonly local: Endpoint;
  closed = false;
  readonly waiting: { readonly client: Endpoint; readonly local: Endpoint }[] = [];

  constructor(local: Endpoint) {
    this.local = local;
  }

  connect(client: Endpoint, local: Endpoint = this.local): void {
    this.waiting.push({ client, local });
  }
}
