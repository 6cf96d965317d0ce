/**
 * A bench for TCP: the protocol under test between a host and a link that are made of arrays, with a clock that stands still.
 *
 *     test ── sandbox segments ──▶ Rig.turn() ──▶ Tcp ──▶ HostSide (Streams): scripted sockets
 *          ◀── rig.out (segments, super-frames cut apart) ──┘
 *
 * One turn is what it is in the engine: what the sockets have to report is collected first, then TCP is called, then its
 * orders to the sockets are carried out, in order. HostSide is strict: it throws where the engine would.
 */
import { Counters } from "../../src/flow/counters.js";
import { FlowTable } from "../../src/flow/table.js";
import { Timers } from "../../src/flow/timers.js";
import type { ListenHandler, StreamHandler, Streams } from "../../src/host/sockets.js";
import type { Output } from "../../src/link/output.js";
import { HEADROOM, MAX_PAYLOAD, SLOT_SIZE } from "../../src/native/engine.js";
import type { Policy, Verdict } from "../../src/policy/policy.js";
import type { TcpOptions } from "../../src/tcp/context.js";
import { Tcp } from "../../src/tcp/tcp.js";
import { type Address, type Endpoint, endpoint, parseAddress } from "../../src/wire/address.js";
import { addWords, checksum, pseudoHeader } from "../../src/wire/checksum.js";
import { Packet } from "../../src/wire/packet.js";
import type { Reject } from "../../src/wire/reject.js";

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

export const SANDBOX = parseAddress("10.0.2.100");
export const SERVER = parseAddress("198.51.100.1");
export const SANDBOX_PORT = 40000;
export const SERVER_PORT = 80;

/** A segment as a test writes or reads it. Sequence numbers are unsigned. */
export interface Wire {
  readonly flags: number;
  readonly seq: number;
  readonly ack: number;
  readonly window: number;
  readonly payload: Uint8Array;
  readonly mss: number;
  readonly scale: number;
  /** Of a SYN: it permits selective acknowledgements; of others: their blocks, [first, next). */
  readonly sackPermitted: boolean;
  readonly sack: readonly (readonly [number, number])[];
  readonly sport: number;
  readonly dport: number;
}

/** xorshift32: the same numbers in every run. */
export class Seeded {
  #state: number;

  constructor(seed: number) {
    this.#state = (seed * 2654435761) | 1;
  }

  uint32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** 0 ≤ x < 1. */
  unit(): number {
    return this.uint32() / 2 ** 32;
  }

  below(limit: number): number {
    return this.uint32() % limit;
  }
}

/** One socket of the host, as the engine and the program behind it see it. */
export class FakeSocket {
  readonly id: number;
  handler: StreamHandler;
  /** What the host program has written, and whether it has ended its stream. */
  readonly written: number[] = [];
  ended = false;
  /** Consumed, peeked up to, and the most that was ever reported: positions in `written`. */
  front = 0;
  peek = 0;
  reported = 0;
  credit = 0;
  chunk = MAX_PAYLOAD;
  endReported = false;
  keptAlive = false;
  /** What arrived from the sandbox and was read by the host program; what waits in the engine. */
  readonly received: number[] = [];
  readonly backlog: number[] = [];
  /** Bytes that the host's kernel takes per turn. */
  takes = Number.POSITIVE_INFINITY;
  drainMark = 0;
  shutdown = false;
  gone: "" | "closed" | "reset" | "failed" = "";
  creditOrders = 0;
  pending: (() => void)[] = [];
  /** The engine does not get round to reading it. */
  held = false;

  constructor(id: number, handler: StreamHandler) {
    this.id = id;
    this.handler = handler;
  }

  write(bytes: Iterable<number>): void {
    for (const byte of bytes) this.written.push(byte);
  }
}

const SLOTS = 256;
const SMALL_AREA = 1 << 20;

export class HostSide implements Streams {
  readonly slab = new Uint8Array(SLOTS * SLOT_SIZE + SMALL_AREA);
  readonly sockets: FakeSocket[] = [];
  /** Numbers that are given to new sockets first. */
  readonly free: number[] = [];
  readonly orders: (() => void)[] = [];
  /** What connect() answers instead of a socket, if negative. */
  connectError = 0;
  readonly dialed: { remote: Endpoint; local: Endpoint | null }[] = [];
  freeMemory = 1;
  spares = 16;
  nextSlot = 0;
  readonly sentNow = new Map<number, number>();

  slot(): number {
    if (this.nextSlot >= SLOTS) throw new Error("the rig has no slot left in this turn");
    return this.nextSlot++ * SLOT_SIZE;
  }

  get(id: number): FakeSocket {
    const socket = this.sockets[id];
    if (socket === undefined) throw new Error(`no socket ${id}`);
    return socket;
  }

  make(handler: StreamHandler): FakeSocket {
    const id = this.free.pop() ?? this.sockets.length;
    const socket = new FakeSocket(id, handler);
    this.sockets[id] = socket;
    return socket;
  }

  connect(remote: Endpoint, local: Endpoint | null, handler: StreamHandler): number {
    this.dialed.push({ remote: remote.slice(), local });
    if (this.connectError < 0) return this.connectError;
    return this.make(handler).id;
  }

  pair(first: StreamHandler, second: StreamHandler): readonly [number, number] {
    return [this.make(first).id, this.make(second).id];
  }

  connectWith(_fd: number, remote: Endpoint, handler: StreamHandler): number {
    return this.connect(remote, null, handler);
  }

  listen(_local: Endpoint, _backlog: number, _handler: ListenHandler): number {
    throw new Error("TCP opens no listeners");
  }

  listenWith(_fd: number, _handler: ListenHandler): number {
    throw new Error("TCP opens no listeners");
  }

  own(socket: number, handler: StreamHandler): void {
    this.get(socket).handler = handler;
  }

  send(id: number, offset: number, length: number): void {
    if (length <= 0 || offset < 0 || offset + length > SLOTS * SLOT_SIZE)
      throw new RangeError("payload out of the slab");
    if (Math.floor(offset / SLOT_SIZE) !== Math.floor((offset + length - 1) / SLOT_SIZE)) {
      throw new RangeError("payload in two slots");
    }
    const socket = this.open(id);
    if (socket.shutdown) throw new Error("send after shutdown");
    this.sentNow.set(id, (this.sentNow.get(id) ?? 0) + length);
    // The slot is read at the commit, as in the engine.
    this.orders.push(() => socket.backlog.push(...this.slab.subarray(offset, offset + length)));
  }

  sendCopy(id: number, bytes: Uint8Array): boolean {
    if (this.spares === 0) return false;
    this.spares--;
    const at = this.slot();
    this.slab.set(bytes, at);
    this.send(id, at, bytes.length);
    return true;
  }

  backlog(id: number): number {
    return this.get(id).backlog.length + (this.sentNow.get(id) ?? 0);
  }

  consume(id: number, bytes: number): void {
    const socket = this.open(id);
    this.orders.push(() => {
      if (bytes <= 0 || socket.front + bytes > socket.reported) throw new RangeError("consumed more than was reported");
      socket.front += bytes;
      socket.peek = Math.max(socket.peek, socket.front);
    });
  }

  rewind(id: number, offset: number): void {
    const socket = this.open(id);
    this.orders.push(() => {
      if (socket.front + offset > socket.reported) throw new RangeError("rewound beyond what was reported");
      socket.peek = socket.front + offset;
      socket.endReported = false;
    });
  }

  credit(id: number, bytes: number, chunk: number): void {
    const socket = this.open(id);
    if (bytes < 0 || chunk <= 0 || chunk > MAX_PAYLOAD) throw new RangeError(`credit ${bytes}, chunk ${chunk}`);
    this.orders.push(() => {
      socket.credit = bytes;
      socket.chunk = chunk;
      socket.creditOrders++;
    });
  }

  shutdown(id: number): void {
    const socket = this.open(id);
    this.orders.push(() => {
      socket.shutdown = true;
    });
  }

  close(id: number): void {
    const socket = this.open(id);
    socket.gone = "closed";
    socket.shutdown = true; // it ends the stream as well
  }

  reset(id: number): void {
    this.open(id).gone = "reset";
  }

  keepAlive(id: number): void {
    this.open(id).keptAlive = true;
  }

  unsplice(): void {
    throw new Error("TCP splices nothing");
  }

  answers(): boolean {
    return false;
  }

  splice(): void {
    throw new Error("TCP splices nothing");
  }

  localEndpoint(): Endpoint {
    return endpoint(SERVER, 1);
  }

  private open(id: number): FakeSocket {
    const socket = this.get(id);
    if (socket.gone !== "") throw new Error(`socket ${id} is ${socket.gone}`);
    return socket;
  }

  /** What the engine would report now, as calls to be made during the turn. */
  collect(): (() => void)[] {
    const calls: (() => void)[] = [];
    for (const socket of this.sockets) {
      const { id } = socket;
      const call = (what: (handler: StreamHandler) => void) =>
        calls.push(() => {
          if (socket.gone === "" || socket.gone === "failed") what(socket.handler);
        });
      if (socket.gone !== "") continue;
      for (const event of socket.pending.splice(0)) call(event);
      for (
        let records = 0;
        records < 4 && !socket.held && socket.credit > 0 && socket.peek < socket.written.length;
        records++
      ) {
        const length = Math.min(socket.credit, socket.chunk, socket.written.length - socket.peek);
        const offset = this.slot() + HEADROOM;
        this.slab.set(socket.written.slice(socket.peek, socket.peek + length), offset);
        socket.peek += length;
        socket.reported = Math.max(socket.reported, socket.peek);
        socket.credit -= length;
        call((handler) => handler.data(id, offset, length));
      }
      if (socket.ended && !socket.endReported && socket.peek === socket.written.length) {
        socket.endReported = true;
        call((handler) => handler.end(id));
      }
      const left = socket.backlog.length;
      if (socket.drainMark > 0 && (left === 0 || left * 2 < socket.drainMark)) {
        socket.drainMark = left;
        call((handler) => handler.drained(id));
      }
    }
    return calls;
  }

  /** Carries out the orders of the turn; then the host's kernel takes what it takes. */
  commit(): void {
    for (const order of this.orders.splice(0)) order();
    for (const socket of this.sockets) {
      const taken = socket.backlog.splice(0, Math.min(socket.takes, socket.backlog.length));
      for (const byte of taken) socket.received.push(byte);
      socket.drainMark = Math.max(socket.drainMark, socket.backlog.length);
    }
    this.sentNow.clear();
    this.nextSlot = 0;
    this.spares = 16;
  }
}

export interface RigOptions {
  readonly tcp?: Partial<TcpOptions>;
  readonly mtu?: number;
  readonly verdict?: Verdict;
  readonly seed?: number;
}

export class Rig implements Output, Policy {
  readonly host = new HostSide();
  readonly counters = new Counters();
  readonly timers: Timers;
  readonly flows: FlowTable;
  readonly tcp: Tcp;
  readonly bytes = this.host.slab;
  readonly view = new DataView(this.bytes.buffer);
  readonly mtu: number;
  verdict: Verdict;
  now = 1000;
  /** Segments sent to the sandbox, in order, super-frames cut apart. Tests take them out. */
  out: Wire[] = [];
  /** Whether more is going on, so that no turn is the last before a sleep, and whether TCP wants to hear of that one. */
  busy = false;
  waiting = false;
  /** Payload bytes of each frame that was sent, super-frames whole. */
  readonly frames: number[] = [];
  readonly rejects: { original: Uint8Array; reason: Reject }[] = [];
  room = true;
  readonly #sent: { offset: number; length: number; size: number }[] = [];
  readonly #packet = new Packet(this.bytes);
  #smallAt = SLOTS * SLOT_SIZE;

  constructor(options: RigOptions = {}) {
    this.mtu = options.mtu ?? 1500;
    this.verdict = options.verdict ?? { kind: "dial", remote: endpoint(SERVER, SERVER_PORT), local: null };
    const random = new Seeded(options.seed ?? 1);
    this.timers = new Timers(this.now);
    this.flows = new FlowTable({ random, limit: 1 << 16 });
    this.tcp = new Tcp({
      output: this,
      streams: this.host,
      policy: this,
      clock: { now: () => this.now },
      random,
      counters: this.counters,
      flows: this.flows,
      timers: this.timers,
      ...(options.tcp ? { options: options.tcp } : {}),
    });
  }

  outbound(): Verdict {
    return this.verdict;
  }

  /** One turn at the present time: segments from the sandbox, and whatever the sockets report. `mix` chooses the order of the two. */
  turn(segments: readonly Partial<Wire>[] = [], mix: () => boolean = () => true): void {
    this.timers.advance(this.now);
    const calls = this.host.collect();
    const queue = segments.slice();
    while (queue.length > 0 || calls.length > 0) {
      const segment = queue.length > 0 && (calls.length === 0 || mix()) ? queue.shift() : undefined;
      if (segment) this.#input(segment);
      else calls.shift()?.();
    }
    this.waiting = this.tcp.endOfTurn(!this.busy);
    this.#emit();
    this.host.commit();
    this.#smallAt = SLOTS * SLOT_SIZE;
  }

  /** Segments that TCP sent since the last take(). */
  take(): Wire[] {
    this.#emit();
    return this.out.splice(0);
  }

  /** Lets time pass, turn by turn, each at a moment when a timer ends. */
  pass(milliseconds: number): void {
    const until = this.now + milliseconds;
    for (;;) {
      const wait = this.timers.nextDeadline(this.now);
      if (wait < 0 || this.now + wait > until) break;
      this.now += wait;
      this.turn();
    }
    this.now = until;
    this.turn();
  }

  /** A packet with any bytes after its IP header. */
  raw(transport: Uint8Array, partialChecksum: boolean, link = 0): void {
    const packet = this.#place(transport, SANDBOX, SERVER, link);
    packet.partialChecksum = partialChecksum;
    this.tcp.input(packet);
  }

  #input(segment: Partial<Wire>): void {
    const packet = this.#place(encode(segment, SANDBOX, SERVER), SANDBOX, SERVER, 0);
    packet.partialChecksum = false;
    this.tcp.input(packet);
  }

  #place(transport: Uint8Array, source: Address, destination: Address, link: number): Packet {
    const packet = this.#packet;
    packet.network = this.host.slot() + 26;
    packet.transport = packet.network + 20;
    packet.end = packet.transport + transport.length;
    packet.family = 4;
    packet.protocol = 6;
    packet.link = link;
    packet.source.set(source);
    packet.destination.set(destination);
    this.bytes.fill(0, packet.network, packet.transport);
    this.bytes[packet.network] = 0x45;
    this.bytes.set(transport, packet.transport);
    return packet;
  }

  // Output

  small(length: number): number {
    if (!this.room) return -1;
    const at = this.#smallAt + 64;
    this.#smallAt = at + length;
    return this.#smallAt <= this.bytes.length ? at : -1;
  }

  large(): number {
    return this.host.slot() + HEADROOM;
  }

  send(
    _link: number,
    _protocol: number,
    _source: Address,
    _destination: Address,
    offset: number,
    length: number,
    header: number,
    segment: number,
  ): void {
    const size = segment === 0 ? Math.max(1, length - header) : segment;
    if (segment === 0 && length + 20 > this.mtu) throw new Error(`a segment of ${length} bytes at MTU ${this.mtu}`);
    this.frames.push(length - header);
    this.#sent.push({ offset, length, size });
  }

  /** Frames are read when the turn is over, as the engine does. */
  #emit(): void {
    for (const { offset, length, size } of this.#sent.splice(0)) {
      const whole = decode(this.bytes.slice(offset, offset + length));
      for (let at = 0; at === 0 || at < whole.payload.length; at += size) {
        const last = at + size >= whole.payload.length;
        this.out.push({
          ...whole,
          seq: (whole.seq + at) >>> 0,
          flags: last ? whole.flags : whole.flags & ~(FIN | PSH),
          payload: whole.payload.subarray(at, at + size),
        });
      }
    }
  }

  reject(_link: number, original: Uint8Array, reason: Reject): void {
    this.rejects.push({ original: original.slice(), reason });
  }
}

/** A TCP segment's bytes with its checksum. */
export function encode(segment: Partial<Wire>, source: Address, destination: Address): Uint8Array {
  const { flags = ACK, seq = 0, ack = 0, window = 65535, payload = new Uint8Array(0), mss = 0, scale = -1 } = segment;
  const options: number[] = [];
  if (mss > 0) options.push(2, 4, mss >> 8, mss & 255);
  if (scale >= 0) options.push(1, 3, 3, scale);
  if (segment.sackPermitted) options.push(1, 1, 4, 2);
  const { sack = [] } = segment;
  if (sack.length > 0) options.push(1, 1, 5, 2 + 8 * sack.length, ...sack.flat().flatMap(u32));
  const header = 20 + options.length;
  const bytes = new Uint8Array(header + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, segment.sport ?? SANDBOX_PORT);
  view.setUint16(2, segment.dport ?? SERVER_PORT);
  view.setUint32(4, seq);
  view.setUint32(8, ack);
  view.setUint8(12, header << 2);
  view.setUint8(13, flags);
  view.setUint16(14, window);
  bytes.set(options, 20);
  bytes.set(payload, header);
  view.setUint16(16, checksum(addWords(view, 0, bytes.length, pseudoHeader(source, destination, 6, bytes.length))));
  return bytes;
}

export function decode(bytes: Uint8Array): Wire {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = (view.getUint8(12) >> 4) * 4;
  let mss = 0;
  let scale = -1;
  let sackPermitted = false;
  const sack: [number, number][] = [];
  for (let at = 20; at < header; at += view.getUint8(at) === 1 ? 1 : view.getUint8(at + 1)) {
    if (view.getUint8(at) === 2) mss = view.getUint16(at + 2);
    if (view.getUint8(at) === 3) scale = view.getUint8(at + 2);
    if (view.getUint8(at) === 4) sackPermitted = true;
    if (view.getUint8(at) !== 5) continue;
    for (let i = at + 2; i < at + view.getUint8(at + 1); i += 8) sack.push([view.getUint32(i), view.getUint32(i + 4)]);
  }
  return {
    sport: view.getUint16(0),
    dport: view.getUint16(2),
    seq: view.getUint32(4),
    ack: view.getUint32(8),
    flags: view.getUint8(13),
    window: view.getUint16(14),
    payload: bytes.slice(header),
    mss,
    scale,
    sackPermitted,
    sack,
  };
}

const u32 = (value: number): number[] => [24, 16, 8, 0].map((bits) => (value >>> bits) & 0xff);

/** `length` bytes that depend on their place and on `seed`. */
export function pattern(length: number, seed = 0): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i * 31 + (i >> 8) * 7 + seed) & 0xff;
  return bytes;
}
