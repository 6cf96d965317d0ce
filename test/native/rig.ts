/**
 * A native engine with sockets on it, for tests: every handler is a record of what happened, and `until` waits for a
 * condition on such records. Real sockets on the loopback device, real time.
 */
import { HostSockets } from "../../src/host/host-sockets.js";
import type { DatagramHandler, ListenHandler, StreamHandler } from "../../src/host/sockets.js";
import { createEngine, type EngineOptions } from "../../src/native/binding.js";
import type { Engine } from "../../src/native/engine.js";
import { ENDPOINT_LENGTH, type Endpoint, endpoint, endpointPort, parseAddress } from "../../src/wire/address.js";

export function at(address: string, port: number): Endpoint {
  return endpoint(parseAddress(address), port);
}

/** Rigs that were not stopped: each keeps its process alive. */
const running = new Set<Rig>();

/** Stops what a test that failed left running (stop-rigs.ts). */
export function stopRigs(): void {
  for (const rig of running) rig.stop();
}

export class Rig {
  readonly engine: Engine;
  readonly sockets: HostSockets;
  readonly slab: Uint8Array;
  readonly frames: { link: number; bytes: Buffer }[] = [];
  readonly linksDown: number[] = [];
  /** What is to be done in the next turn. */
  #inTurn: (() => void)[] = [];
  #waiting: { test: () => boolean; done: () => void }[] = [];
  error: Error | null = null;
  turns = 0;

  constructor(options: EngineOptions = {}) {
    this.engine = createEngine({ slots: 256, maxSockets: 512, ...options });
    running.add(this);
    this.slab = new Uint8Array(this.engine.memory.slab);
    this.sockets = new HostSockets(this.engine, {
      frame: (link, offset, length) =>
        this.frames.push({ link, bytes: Buffer.from(this.slab.subarray(offset, offset + length)) }),
      linkDown: (link) => this.linksDown.push(link),
    });
    this.engine.start(
      () => this.#turn(),
      (error) => {
        this.error = error;
        this.#look();
      },
    );
  }

  /** Runs `action` within a turn, and resolves with its result when that turn's process() is over. */
  turn<T>(action: () => T): Promise<T> {
    return new Promise((resolve) => {
      this.#inTurn.push(() => resolve(action()));
      this.engine.wake();
    });
  }

  /** Resolves when `test` holds, which is looked at after each turn; rejects after some seconds. */
  until(what: string, test: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`not within 10 s: ${what}; ${JSON.stringify(this.engine.counters())}`)),
        10_000,
      );
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      if (test()) done();
      else this.#waiting.push({ test, done });
    });
  }

  port(socket: number): number {
    const out = new Uint8Array(ENDPOINT_LENGTH);
    const result = this.engine.localEndpoint(socket, out);
    if (result !== 0) throw new Error(`no local endpoint: errno ${-result}`);
    return endpointPort(out);
  }

  /** A listener on a free port of 127.0.0.1 (or another address). */
  listen(handler: ListenHandler, address = "127.0.0.1"): { socket: number; port: number } {
    const socket = this.sockets.listen(at(address, 0), 128, handler);
    if (socket < 0) throw new Error(`cannot listen: errno ${-socket}`);
    return { socket, port: this.port(socket) };
  }

  stop(): void {
    running.delete(this);
    this.engine.stop();
  }

  #turn(): void {
    this.turns++;
    this.sockets.beginTurn();
    this.sockets.dispatch();
    const actions = this.#inTurn;
    this.#inTurn = [];
    for (const action of actions) action();
    this.sockets.endOfTurn();
    this.#look();
  }

  #look(): void {
    for (const waiting of [...this.#waiting]) {
      if (!waiting.test()) continue;
      this.#waiting = this.#waiting.filter((other) => other !== waiting);
      waiting.done();
    }
  }
}

/** A stream that keeps all that is reported of it, and reads on its own unless `window` is 0. */
export class Recorder implements StreamHandler {
  readonly #rig: Rig;
  socket = -1;
  log: string[] = [];
  readonly chunks: Buffer[] = [];
  received = 0;
  readonly window: number;
  readonly chunk: number;
  /** True: what is reported is consumed at once. */
  consumes = true;

  constructor(rig: Rig, window = 1 << 20, chunk = 65_483) {
    this.#rig = rig;
    this.window = window;
    this.chunk = chunk;
  }

  open(socket: number): this {
    if (socket < 0) throw new Error(`no socket: errno ${-socket}`);
    this.socket = socket;
    return this;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  connected(socket: number): void {
    this.log.push("connected");
    if (this.window > 0) this.#rig.sockets.credit(socket, this.window, this.chunk);
  }

  data(socket: number, offset: number, length: number): void {
    this.chunks.push(Buffer.from(this.#rig.slab.subarray(offset, offset + length)));
    this.received += length;
    if (!this.consumes) return;
    this.#rig.sockets.consume(socket, length);
    this.#rig.sockets.credit(socket, this.window, this.chunk);
  }

  end(): void {
    this.log.push("end");
  }

  failed(_socket: number, errno: number): void {
    this.log.push(`failed ${errno}`);
  }

  drained(): void {
    this.log.push("drained");
  }
}

export class Mailbox implements DatagramHandler {
  readonly #rig: Rig;
  readonly datagrams: { bytes: Buffer; segment: number; from: Buffer; to: Buffer }[] = [];
  readonly failures: { errno: number; type: number; code: number; bytes: Buffer; to: Buffer; by: Buffer }[] = [];

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  /** Every datagram by itself, whatever the kernel put together. */
  get single(): Buffer[] {
    return this.datagrams.flatMap(({ bytes, segment }) => {
      if (segment === 0) return [bytes];
      const parts = [];
      for (let from = 0; from < bytes.length; from += segment) parts.push(bytes.subarray(from, from + segment));
      return parts;
    });
  }

  datagram(
    _socket: number,
    offset: number,
    length: number,
    segment: number,
    addresses: Uint8Array,
    record: number,
  ): void {
    const bytes = Buffer.from(this.#rig.slab.subarray(offset, offset + length));
    const from = Buffer.from(addresses.subarray(record, record + ENDPOINT_LENGTH));
    const to = Buffer.from(addresses.subarray(record + ENDPOINT_LENGTH, record + 2 * ENDPOINT_LENGTH));
    this.datagrams.push({ bytes, segment, from, to });
  }

  datagramFailed(
    _socket: number,
    errno: number,
    type: number,
    code: number,
    _info: number,
    offset: number,
    length: number,
    addresses: Uint8Array,
    record: number,
  ): void {
    const bytes = Buffer.from(this.#rig.slab.subarray(offset, offset + length));
    const to = Buffer.from(addresses.subarray(record, record + ENDPOINT_LENGTH));
    const by = Buffer.from(addresses.subarray(record + ENDPOINT_LENGTH, record + 2 * ENDPOINT_LENGTH));
    this.failures.push({ errno, type, code, bytes, to, by });
  }
}

/** Bytes that differ from place to place, the same for the same seed. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = (seed * 2_654_435_761) >>> 0 || 1;
  for (let i = 0; i + 4 <= length; i += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeUInt32LE(state >>> 0, i);
  }
  return bytes;
}
