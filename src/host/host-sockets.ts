/**
 * Sockets towards the host, on top of an engine.
 *
 * Theory of operation. Every socket number has at most one owner, found in an array by that number. `dispatch()` runs once
 * at the beginning of a turn: it reads the turn's event records and calls the owner of each. What the protocols then ask for
 * becomes a command record, which the engine carries out when the turn is over, in the order of the asking; opening,
 * connecting, listening and splicing are direct calls of the engine instead.
 *
 * A socket that was closed, reset, spliced or reported as failed has no owner any more. Events that the same turn still
 * holds for it are passed over, and so are orders for it: a protocol may learn of the end later than we do. The engine
 * uses a number again only after the commit, so a record of one turn never means two sockets.
 *
 * Bounds. The record array holds many times what one turn's slots and small frames can ask for, but a burst of timers may
 * close or rewind any number of sockets at once: from OVERFLOW records on, orders without payload wait in a list and are
 * written at the beginning of the next turn. Orders given between turns are written at once, and wake the engine.
 * From DATAGRAMS records on datagrams are dropped, as by any router that is asked for too much at once.
 * What a turn reports of a stream whose Rewind had to wait is of the old position, and passed over: it is reported again.
 */
import { NetnsError } from "../errors.js";
import {
  ADDRESS_STRIDE,
  COMMAND_STRIDE,
  Control,
  type Engine,
  EVENT_STRIDE,
  EventKind,
  HEADROOM,
  Op,
  SLOT_SIZE,
} from "../native/engine.js";
import { ENDPOINT_LENGTH, type Endpoint } from "../wire/address.js";
import type { DatagramHandler, Datagrams, ListenHandler, StreamHandler, Streams } from "./sockets.js";

/** Share of the records of a turn. */
const DATAGRAMS = 15 / 16;

/** Who hears of the links. `offset` is the first byte of the frame's vnet header in the slab. */
export interface FrameHandler {
  frame(link: number, offset: number, length: number): void;
  linkDown(link: number): void;
}

export class HostSockets implements Streams, Datagrams {
  readonly #engine: Engine;
  readonly #frames: FrameHandler;
  readonly #slab: Uint8Array;
  readonly #control: Int32Array;
  readonly #events: Int32Array;
  readonly #eventAddresses: Uint8Array;
  readonly #commands: Int32Array;
  readonly #commandAddresses: Uint8Array;
  readonly #spares: Int32Array;
  readonly #backlog: Int32Array;
  /** Records that fit the command array, and the number from which on orders without payload wait. */
  readonly #capacity: number;
  readonly #overflowFrom: number;
  readonly #datagramsUntil: number;
  /** Datagrams for which there was no room in their turn. */
  dropped = 0;

  // By socket, as far as there have been any: to fill them for all that may come takes time at every start.
  readonly #streams: (StreamHandler | null)[] = [];
  readonly #datagrams: (DatagramHandler | null)[] = [];
  readonly #listeners: (ListenHandler | null)[] = [];
  readonly #spliced: (((errno: number) => void) | null)[] = [];
  /** Accepted or opened, and not yet given back. */
  readonly #open: Uint8Array;
  /** Bytes sent in the turn whose number #sentTurn holds. */
  readonly #sent: Int32Array;
  readonly #sentTurn: Int32Array;
  #turn = 0;
  #inTurn = false;
  #begun = false;
  readonly #waiting: number[] = [];
  /** How many Rewinds of a socket wait, or were written at the beginning of this turn; the latter also in a row. */
  readonly #stale = new Map<number, number>();
  readonly #rewound: number[] = [];

  constructor(engine: Engine, frames: FrameHandler) {
    const { memory, maxSockets } = engine;
    this.#engine = engine;
    this.#frames = frames;
    this.#slab = new Uint8Array(memory.slab);
    this.#control = memory.control;
    this.#events = memory.events;
    this.#eventAddresses = memory.eventAddresses;
    this.#commands = memory.commands;
    this.#commandAddresses = memory.commandAddresses;
    this.#spares = memory.spares;
    this.#backlog = memory.backlog;
    this.#capacity = Math.floor(memory.commands.length / COMMAND_STRIDE);
    this.#overflowFrom = Math.floor(this.#capacity * 0.75);
    this.#datagramsUntil = Math.floor(this.#capacity * DATAGRAMS);
    this.#open = new Uint8Array(maxSockets);
    this.#sent = new Int32Array(maxSockets);
    this.#sentTurn = new Int32Array(maxSockets);
  }

  /** Begins a turn. To be called before anything else is asked for in it; dispatch() does so if nobody did. */
  beginTurn(): void {
    this.#turn = (this.#turn + 1) | 0;
    this.#inTurn = true;
    this.#begun = true;
    if (this.#waiting.length > 0) this.#writeWaiting();
  }

  /** Hands every event of this turn to its owner. */
  dispatch(): void {
    if (!this.#begun) this.beginTurn();
    this.#begun = false;
    const events = this.#events;
    const count = this.#control[Control.EventCount];
    for (let record = 0; record < count; record++) {
      const at = record * EVENT_STRIDE;
      const id = events[at + 1];
      switch (events[at]) {
        case EventKind.Frame:
          this.#frames.frame(id, events[at + 2] * SLOT_SIZE, events[at + 3]);
          break;
        case EventKind.Data:
          if (!this.#isStale(id)) this.#streams[id]?.data(id, events[at + 2] * SLOT_SIZE + HEADROOM, events[at + 3]);
          break;
        case EventKind.Datagram:
          this.#datagrams[id]?.datagram(
            id,
            events[at + 2] * SLOT_SIZE + HEADROOM,
            events[at + 3],
            events[at + 4],
            this.#eventAddresses,
            record * ADDRESS_STRIDE,
          );
          break;
        case EventKind.Drained:
          this.#streams[id]?.drained(id);
          break;
        case EventKind.Connected:
          this.#streams[id]?.connected(id);
          break;
        case EventKind.End:
          if (!this.#isStale(id)) this.#streams[id]?.end(id);
          break;
        case EventKind.Failed:
          this.#failed(id, events[at + 4], events[at + 5], events[at + 6], record * ADDRESS_STRIDE);
          break;
        case EventKind.Accepted:
          this.#accepted(id, events[at + 4], record * ADDRESS_STRIDE);
          break;
        case EventKind.DatagramFailed:
          this.#datagrams[id]?.datagramFailed(
            id,
            events[at + 4],
            events[at + 5],
            events[at + 6],
            events[at + 7],
            events[at + 2] * SLOT_SIZE + HEADROOM,
            events[at + 3],
            this.#eventAddresses,
            record * ADDRESS_STRIDE,
          );
          break;
        case EventKind.Spliced:
          this.#splicedEnd(id, events[at + 5]);
          break;
        case EventKind.LinkDown:
          this.#frames.linkDown(id);
          break;
        default:
          throw new NetnsError("NATIVE", `the native engine reported an event of unknown kind ${events[at]}`);
      }
    }
    if (this.#rewound.length > 0) this.#forgetRewound();
  }

  /** Call it last in each turn: orders that come after it wake the engine. */
  endOfTurn(): void {
    this.#inTurn = false;
    this.#turn = (this.#turn + 1) | 0; // what was sent in this turn is the engine's to count from now on
    if (this.#waiting.length > 0) this.#control[Control.Again] = 1;
  }

  // Streams

  connect(remote: Endpoint, local: Endpoint | null, handler: StreamHandler, hops = 0): number {
    return this.#opened(this.#engine.connect(remote, local, hops), this.#streams, handler);
  }

  connectWith(fd: number, remote: Endpoint, handler: StreamHandler): number {
    return this.#opened(this.#engine.connectWith(fd, remote), this.#streams, handler);
  }

  pair(first: StreamHandler, second: StreamHandler): readonly [number, number] | number {
    const made = new Int32Array(2);
    const error = this.#engine.pair(made);
    if (error < 0) return error;
    return [this.#opened(made[0], this.#streams, first), this.#opened(made[1], this.#streams, second)];
  }

  listen(local: Endpoint, backlog: number, handler: ListenHandler): number {
    return this.#opened(this.#engine.listen(local, backlog), this.#listeners, handler);
  }

  listenWith(fd: number, handler: ListenHandler): number {
    return this.#opened(this.#engine.listenWith(fd), this.#listeners, handler);
  }

  own(socket: number, handler: StreamHandler): void {
    if (this.#open[socket] === 1) this.#streams[socket] = handler;
  }

  send(socket: number, offset: number, length: number): void {
    if (this.#open[socket] !== 1 || length === 0) return;
    this.#command(Op.Send, socket, offset, length, 0, 0);
    if (this.#sentTurn[socket] !== this.#turn) {
      this.#sentTurn[socket] = this.#turn;
      this.#sent[socket] = 0;
    }
    this.#sent[socket] += length;
  }

  sendCopy(socket: number, bytes: Uint8Array): boolean {
    if (this.#open[socket] !== 1 || bytes.length === 0) return true;
    const offset = this.#spare(bytes.length);
    if (offset < 0) return false;
    this.#slab.set(bytes, offset);
    this.send(socket, offset, bytes.length);
    return true;
  }

  backlog(socket: number): number {
    return this.#backlog[socket] + (this.#sentTurn[socket] === this.#turn ? this.#sent[socket] : 0);
  }

  consume(socket: number, bytes: number): void {
    this.#order(Op.Consume, socket, bytes, 0);
  }

  rewind(socket: number, offset: number): void {
    this.#order(Op.Rewind, socket, offset, 0);
  }

  credit(socket: number, bytes: number, chunk: number): void {
    this.#order(Op.Credit, socket, bytes, chunk);
  }

  shutdown(socket: number): void {
    this.#order(Op.Shutdown, socket, 0, 0);
  }

  close(socket: number): void {
    this.#order(Op.Close, socket, 0, 0);
    this.#disown(socket);
  }

  reset(socket: number): void {
    this.#order(Op.Reset, socket, 0, 0);
    this.#disown(socket);
  }

  splice(first: number, second: number, ended: (errno: number) => void): void {
    if (this.#open[first] !== 1 || this.#open[second] !== 1) {
      // One of them failed in this very turn: what remains of the pair is of no use.
      if (this.#open[first] === 1) this.reset(first);
      if (this.#open[second] === 1) this.reset(second);
      queueMicrotask(() => ended(ENOTCONN));
      return;
    }
    this.#engine.splice(first, second);
    this.#disown(first);
    this.#disown(second);
    this.#spliced[first] = ended;
  }

  unsplice(first: number): void {
    if ((this.#spliced[first] ?? null) === null) return;
    this.#engine.unsplice(first);
    this.#splicedEnd(first, ECONNABORTED);
  }

  answers(first: number): boolean {
    return (this.#spliced[first] ?? null) !== null && this.#engine.answers(first);
  }

  get freeMemory(): number {
    return this.#control[Control.FreeSlots] / this.#engine.memory.slots;
  }

  // Datagrams

  open(family: 4 | 6, local: Endpoint | null, handler: DatagramHandler): number {
    return this.#opened(this.#engine.openDatagram(family, local), this.#datagrams, handler);
  }

  openWith(fd: number, remote: Endpoint | null, handler: DatagramHandler): number {
    return this.#opened(this.#engine.openDatagramWith(fd, remote), this.#datagrams, handler);
  }

  openPing(family: 4 | 6, local: Endpoint | null, handler: DatagramHandler): number {
    return this.#opened(this.#engine.openPing(family, local), this.#datagrams, handler);
  }

  sendTo(
    socket: number,
    offset: number,
    length: number,
    segment: number,
    remote: Endpoint,
    source: Endpoint | null,
    path = 0,
  ): void {
    if (this.#open[socket] !== 1) return;
    if (this.#control[Control.CommandCount] >= this.#datagramsUntil) {
      this.dropped++;
      return;
    }
    const at = this.#control[Control.CommandCount] * ADDRESS_STRIDE;
    this.#command(Op.SendTo, socket, offset, length, segment, path);
    this.#commandAddresses.set(remote, at);
    if (source === null) this.#commandAddresses.fill(0, at + ENDPOINT_LENGTH, at + ADDRESS_STRIDE);
    else this.#commandAddresses.set(source, at + ENDPOINT_LENGTH);
  }

  sendCopyTo(socket: number, bytes: Uint8Array, remote: Endpoint, source: Endpoint | null): boolean {
    if (this.#open[socket] !== 1) return true;
    const offset = this.#spare(bytes.length);
    if (offset < 0) return false;
    this.#slab.set(bytes, offset);
    this.sendTo(socket, offset, bytes.length, 0, remote, source);
    return true;
  }

  copy(offset: number, length: number): Uint8Array {
    return this.#slab.slice(offset, offset + length);
  }

  keepAlive(socket: number): void {
    if (this.#open[socket] === 1) this.#engine.keepAlive(socket);
  }

  localEndpoint(socket: number): Endpoint {
    const out = new Uint8Array(ENDPOINT_LENGTH);
    this.#engine.localEndpoint(socket, out);
    return out;
  }

  // The rest

  #opened<Handler>(socket: number, owners: (Handler | null)[], handler: Handler): number {
    if (socket < 0) return socket;
    this.#begin(socket);
    owners[socket] = handler;
    return socket;
  }

  #begin(socket: number): void {
    for (let next = this.#streams.length; next <= socket; next++) {
      this.#streams.push(null);
      this.#datagrams.push(null);
      this.#listeners.push(null);
      this.#spliced.push(null);
    }
    this.#open[socket] = 1;
    this.#sent[socket] = 0;
  }

  #disown(socket: number): void {
    this.#open[socket] = 0;
    this.#streams[socket] = null;
    this.#datagrams[socket] = null;
    this.#listeners[socket] = null;
  }

  #failed(socket: number, errno: number, type: number, code: number, at: number): void {
    const handler = this.#streams[socket];
    if (this.#open[socket] === 1) this.close(socket);
    handler?.failed(socket, errno, type < 0 ? undefined : { type, code, addresses: this.#eventAddresses, at });
  }

  #accepted(listener: number, socket: number, at: number): void {
    this.#begin(socket);
    const handler = this.#listeners[listener];
    if (handler) handler.accepted(listener, socket, this.#eventAddresses, at);
    else this.reset(socket);
  }

  #splicedEnd(first: number, errno: number): void {
    const ended = this.#spliced[first];
    this.#spliced[first] = null;
    ended?.(errno);
  }

  /** Offset of a spare slot that holds `length` bytes, or -1. */
  #spare(length: number): number {
    if (length > SLOT_SIZE) throw new RangeError(`a copy of ${length} bytes does not fit a slot of ${SLOT_SIZE}`);
    const used = this.#control[Control.SpareUsed];
    if (used >= this.#control[Control.SpareCount]) return -1;
    this.#control[Control.SpareUsed] = used + 1;
    return this.#spares[used] * SLOT_SIZE;
  }

  /** An order without payload. */
  #order(op: Op, socket: number, a: number, b: number): void {
    if (this.#open[socket] !== 1) return;
    if (this.#waiting.length > 0 || this.#control[Control.CommandCount] >= this.#overflowFrom) {
      this.#waiting.push(op, socket, a, b);
      if (op === Op.Rewind) this.#stale.set(socket, (this.#stale.get(socket) ?? 0) + 1);
    } else {
      this.#command(op, socket, 0, 0, a, b);
    }
    if (!this.#inTurn) this.#engine.wake();
  }

  #command(op: Op, id: number, offset: number, length: number, a: number, b: number): void {
    const count = this.#control[Control.CommandCount];
    if (count >= this.#capacity)
      throw new NetnsError("INTERNAL", "more commands in one turn than the engine has room for");
    const commands = this.#commands;
    const at = count * COMMAND_STRIDE;
    commands[at] = op;
    commands[at + 1] = id;
    commands[at + 2] = offset;
    commands[at + 3] = length;
    commands[at + 4] = a;
    commands[at + 5] = b;
    this.#control[Control.CommandCount] = count + 1;
  }

  #writeWaiting(): void {
    const waiting = this.#waiting;
    let at = 0;
    while (at < waiting.length && this.#control[Control.CommandCount] < this.#overflowFrom) {
      this.#command(waiting[at], waiting[at + 1], 0, 0, waiting[at + 2], waiting[at + 3]);
      if (waiting[at] === Op.Rewind) this.#rewound.push(waiting[at + 1]);
      at += 4;
    }
    waiting.splice(0, at);
  }

  #isStale(socket: number): boolean {
    return this.#stale.size > 0 && this.#stale.has(socket);
  }

  /** The events of this turn have been handed out: the next ones come after the Rewinds that it began with. */
  #forgetRewound(): void {
    for (const socket of this.#rewound.splice(0)) {
      const left = (this.#stale.get(socket) ?? 0) - 1;
      if (left > 0) this.#stale.set(socket, left);
      else this.#stale.delete(socket);
    }
  }
}

/** errno of a pair that cannot be spliced any more, and of one that we ended. */
const ENOTCONN = 107;
const ECONNABORTED = 103;
