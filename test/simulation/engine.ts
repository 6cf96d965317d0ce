/**
 * A simulated engine: the contract of src/native/engine.ts without a kernel.
 *
 * Theory of operation. The memory is laid out as in the native engine. Links and sockets are objects that a test holds in
 * its hands: it pushes frames and payload, decides whether a connect succeeds and how much a socket takes, and reads
 * what was written and sent. A turn happens when the test calls turn(); time passes when it calls advance(). Commands are
 * checked as strictly as the native engine does it: a bad one throws, and so fails the test. After the commit everything in
 * the slots of the turn is overwritten, so that nobody gets by with remembering a slot.
 */
import {
  ADDRESS_STRIDE,
  COMMAND_STRIDE,
  CONTROL_AREA,
  Control,
  type Engine,
  type EngineMemory,
  EVENT_STRIDE,
  EventKind,
  HEADROOM,
  MAX_PAYLOAD,
  Op,
  Path,
  SLOT_SIZE,
  VNET_HEADER,
} from "../../src/native/engine.js";
import { ENDPOINT_LENGTH, type Endpoint, endpoint, parseAddress } from "../../src/wire/address.js";
import { SimulatedDatagram, SimulatedLink, SimulatedListener, SimulatedStream } from "./sockets.js";

export interface SimulatedOptions {
  readonly slots?: number;
  readonly maxSockets?: number;
  readonly maxEvents?: number;
  readonly maxCommands?: number;
  readonly spares?: number;
}

const EMFILE = 24;
const POISON = 0xdd;
const NOBODY = new Uint8Array(ENDPOINT_LENGTH);

type Socket = SimulatedStream | SimulatedDatagram | SimulatedListener;

export class SimulatedEngine implements Engine {
  readonly memory: EngineMemory;
  readonly maxSockets: number;
  readonly links: SimulatedLink[] = [];
  readonly sockets: (Socket | undefined)[] = [];
  /** Every socket ever opened, in order. */
  readonly opened: Socket[] = [];
  /** What openDatagram, openPing, connect and listen answer instead of a socket, if set: a negative errno. */
  refuseOpen = 0;
  woken = false;
  stopped = false;
  readonly spliced: [number, number][] = [];
  readonly #slab: Uint8Array;
  readonly #spareCount: number;
  readonly #maxEvents: number;
  readonly #maxCommands: number;
  readonly #freed: number[] = [];
  readonly #spliceEnds: { first: number; second: number; errno: number }[] = [];
  #process: (() => void) | null = null;
  #nextPort = 40000;
  /** Slots of this turn, and how far each was filled. */
  readonly #live = new Map<number, number>();
  #nextSlot = 0;
  /** What was written of the control area in this turn: the same bytes may go to several links. */
  readonly #spent: [offset: number, length: number][] = [];

  constructor(options: SimulatedOptions = {}) {
    const { slots = 64, maxSockets = 1024, maxEvents = 256, maxCommands = 8192, spares = 16 } = options;
    const slab = new ArrayBuffer(slots * SLOT_SIZE + CONTROL_AREA);
    this.maxSockets = maxSockets;
    this.#slab = new Uint8Array(slab);
    this.#spareCount = spares;
    this.#maxEvents = maxEvents;
    this.#maxCommands = maxCommands;
    this.memory = {
      slab,
      slots,
      control: new Int32Array(16),
      clock: new Float64Array(1),
      events: new Int32Array(maxEvents * EVENT_STRIDE),
      eventAddresses: new Uint8Array(maxEvents * ADDRESS_STRIDE),
      commands: new Int32Array(maxCommands * COMMAND_STRIDE),
      commandAddresses: new Uint8Array(maxCommands * ADDRESS_STRIDE),
      spares: new Int32Array(spares),
      backlog: new Int32Array(maxSockets),
    };
    this.memory.control[Control.Deadline] = -1;
    this.memory.control[Control.FreeSlots] = slots;
  }

  // The test's side

  get now(): number {
    return this.memory.clock[0];
  }

  /** Lets time pass, without a turn. */
  advance(milliseconds: number): void {
    this.memory.clock[0] += milliseconds;
  }

  link(link: number): SimulatedLink {
    return this.links[link];
  }

  /** The open datagram sockets, in the order of their opening. */
  get datagrams(): SimulatedDatagram[] {
    return this.opened.filter((socket): socket is SimulatedDatagram => socket.kind === "datagram" && !socket.closed);
  }

  get streams(): SimulatedStream[] {
    return this.opened.filter((socket): socket is SimulatedStream => socket.kind === "stream" && !socket.closed);
  }

  /** Ends a splice. */
  endSplice(first: number, errno: number): void {
    const pair = this.spliced.find(([one]) => one === first);
    if (pair === undefined) throw new Error(`socket ${first} is not spliced`);
    this.#spliceEnds.push({ first, second: pair[1], errno });
  }

  /** One turn: collect, process, commit. Returns the number of events and commands. */
  turn(): number {
    if (this.#process === null || this.stopped) throw new Error("the engine is not running");
    const { control } = this.memory;
    this.woken = false;
    this.#collect();
    control[Control.Again] = 0;
    control[Control.Last] = 1;
    this.#process();
    const done = control[Control.EventCount] + control[Control.CommandCount];
    if (!this.stopped) this.#commit();
    return done;
  }

  /** Turns until nothing happens any more. Throws when that is not so after `most` turns. */
  settle(most = 1000): void {
    for (let turns = 0; turns < most; turns++) {
      const done = this.turn();
      if (done === 0 && this.memory.control[Control.Again] === 0 && !this.woken) return;
    }
    throw new Error(`the engine did not come to rest in ${most} turns`);
  }

  // The engine's side

  addLink(_fd: number, _plain?: boolean): number {
    const free = this.links.findIndex((link) => link.removed);
    const number = free < 0 ? this.links.length : free;
    this.links[number] = new SimulatedLink();
    return number;
  }

  removeLink(link: number): void {
    const removed = this.#link(link);
    removed.down = true;
    removed.removed = true;
  }

  connect(remote: Uint8Array, local: Uint8Array | null, hops: number): number {
    const stream = new SimulatedStream(remote.slice(), local?.slice() ?? this.#anyLocal(), hops);
    stream.connecting = "pending";
    return this.#open(stream);
  }

  connectWith(_fd: number, remote: Uint8Array): number {
    return this.connect(remote, null, 0);
  }

  pair(out: Int32Array): number {
    const first = this.connect(new Uint8Array(ENDPOINT_LENGTH), null, 0);
    const second = first < 0 ? first : this.connect(new Uint8Array(ENDPOINT_LENGTH), null, 0);
    if (second < 0) return second;
    const [one, other] = [this.#stream(first), this.#stream(second)];
    one.establish();
    other.establish();
    one.other = other;
    other.other = one;
    out.set([first, second]);
    return 0;
  }

  listen(local: Uint8Array, _backlog: number): number {
    return this.#open(new SimulatedListener(this.#bound(local)));
  }

  listenWith(_fd: number): number {
    return this.#open(new SimulatedListener(this.#anyLocal()));
  }

  openDatagram(_family: 4 | 6, local: Uint8Array | null): number {
    return this.#open(new SimulatedDatagram(this.#bound(local), false));
  }

  openDatagramWith(_fd: number, _remote: Uint8Array | null): number {
    return this.#open(new SimulatedDatagram(this.#anyLocal(), false));
  }

  openPing(_family: 4 | 6, local: Uint8Array | null): number {
    return this.#open(new SimulatedDatagram(local?.slice() ?? this.#anyLocal(), true));
  }

  localEndpoint(socket: number, out: Uint8Array): number {
    const found = this.sockets[socket];
    if (found === undefined) return -9;
    out.set(found.local);
    return 0;
  }

  keepAlive(socket: number): number {
    this.#stream(socket);
    return 0;
  }

  splice(first: number, second: number): void {
    this.#stream(first);
    this.#stream(second);
    this.spliced.push([first, second]);
  }

  unsplice(first: number): void {
    const at = this.spliced.findIndex(([one]) => one === first);
    if (at < 0) return;
    for (const socket of this.spliced.splice(at, 1).flat()) {
      this.#stream(socket).wasReset = true;
      this.#free(socket);
    }
  }

  answers(first: number): boolean {
    const pair = this.spliced.find(([one]) => one === first);
    return pair !== undefined && !this.#stream(pair[1]).finished;
  }

  start(process: () => void, _failed: (error: Error) => void): void {
    this.#process = process;
  }

  trim(): void {}

  wake(): void {
    this.woken = true;
  }

  stop(): void {
    this.stopped = true;
  }

  counters(): Record<string, number> {
    return {};
  }

  // Collect

  #collect(): void {
    const { control, spares, slots } = this.memory;
    for (let i = 0; i < this.#spareCount; i++) spares[i] = slots - 1 - i;
    control[Control.SpareCount] = this.#spareCount;
    control[Control.SpareUsed] = 0;
    control[Control.EventCount] = 0;
    this.#live.clear();
    this.#nextSlot = 0;
    this.links.forEach((link, id) => {
      if (link.down && !link.reported && !link.removed) this.#event(EventKind.LinkDown, id);
      link.reported = link.down;
      if (link.down) return;
      while (link.incoming.length > 0 && this.#room()) {
        const frame = link.incoming.shift() ?? new Uint8Array(0);
        const slot = this.#fill(frame, 0);
        this.#event(EventKind.Frame, id, slot, frame.length);
      }
    });
    for (let id = 0; id < this.sockets.length; id++) {
      const socket = this.sockets[id];
      if (socket?.kind === "stream") this.#collectStream(id, socket);
      else if (socket?.kind === "datagram") this.#collectDatagrams(id, socket);
      else if (socket?.kind === "listener") this.#collectAccepted(id, socket);
    }
    for (const { first, second, errno } of this.#spliceEnds.splice(0)) {
      this.#event(EventKind.Spliced, first, 0, 0, second, errno);
      this.#free(first);
      this.#free(second);
    }
    control[Control.FreeSlots] = slots - this.#spareCount - this.#nextSlot;
  }

  #collectStream(id: number, stream: SimulatedStream): void {
    if (stream.closed || this.spliced.some((pair) => pair.includes(id))) return;
    if (stream.connecting === "done" && !stream.connected) {
      stream.connected = true;
      this.#event(EventKind.Connected, id);
    }
    this.#flush(id, stream);
    if (stream.closePending) return;
    if (stream.drained) {
      stream.drained = false;
      this.#event(EventKind.Drained, id);
    }
    if (stream.error !== 0) {
      const { type = -1, code = 0, from = NOBODY } = stream.report ?? {};
      const at = this.memory.control[Control.EventCount] * ADDRESS_STRIDE;
      this.memory.eventAddresses.fill(0, at, at + ENDPOINT_LENGTH);
      this.memory.eventAddresses.set(from, at + ENDPOINT_LENGTH);
      this.#event(EventKind.Failed, id, 0, 0, stream.error, type, code);
      stream.error = 0;
      return;
    }
    if (!stream.connected) return;
    while (stream.credit > 0 && stream.peeked < stream.stream.length && this.#room()) {
      const left = stream.stream.length - stream.peeked;
      const length = Math.min(left, stream.credit, stream.chunk, MAX_PAYLOAD);
      const slot = this.#fill(stream.stream.subarray(stream.peeked, stream.peeked + length), HEADROOM);
      stream.peeked += length;
      stream.credit -= length;
      this.#event(EventKind.Data, id, slot, length);
    }
    if (stream.finished && !stream.endReported && stream.peeked === stream.stream.length) {
      stream.endReported = true;
      this.#event(EventKind.End, id);
    }
  }

  #collectDatagrams(id: number, socket: SimulatedDatagram): void {
    while (socket.waiting.length > 0 && this.#room()) {
      const next = socket.waiting.shift();
      if (next === undefined) return;
      const slot = this.#fill(next.bytes, HEADROOM);
      const { failure } = next;
      const at = this.memory.control[Control.EventCount] * ADDRESS_STRIDE;
      this.memory.eventAddresses.set(next.from, at);
      this.memory.eventAddresses.set(next.to, at + ENDPOINT_LENGTH);
      if (failure === null) this.#event(EventKind.Datagram, id, slot, next.bytes.length, next.segment);
      else {
        const { errno, type, code, info } = failure;
        this.#event(EventKind.DatagramFailed, id, slot, next.bytes.length, errno, type, code, info);
      }
    }
  }

  #collectAccepted(id: number, listener: SimulatedListener): void {
    while (listener.waiting.length > 0 && this.#room()) {
      const next = listener.waiting.shift();
      if (next === undefined) return;
      const stream = new SimulatedStream(next.client, next.local);
      stream.connected = true;
      const at = this.memory.control[Control.EventCount] * ADDRESS_STRIDE;
      this.memory.eventAddresses.set(next.client, at);
      this.memory.eventAddresses.fill(0, at + ENDPOINT_LENGTH, at + ADDRESS_STRIDE);
      this.#event(EventKind.Accepted, id, 0, 0, this.#open(stream));
    }
  }

  #room(): boolean {
    return (
      this.memory.control[Control.EventCount] < this.#maxEvents && this.#nextSlot < this.memory.slots - this.#spareCount
    );
  }

  #fill(bytes: Uint8Array, at: number): number {
    const slot = this.#nextSlot++;
    this.#slab.set(bytes, slot * SLOT_SIZE + at);
    this.#live.set(slot, at + bytes.length);
    return slot;
  }

  #event(kind: EventKind, id: number, slot = 0, length = 0, a = 0, b = 0, c = 0, d = 0): void {
    const { control, events } = this.memory;
    const count = control[Control.EventCount];
    if (count >= this.#maxEvents) throw new Error("too many events in one turn of the simulation");
    events.set([kind, id, slot, length, a, b, c, d], count * EVENT_STRIDE);
    control[Control.EventCount] = count + 1;
  }

  // Commit

  #commit(): void {
    const { control, commands, spares, slots } = this.memory;
    const count = control[Control.CommandCount];
    const used = control[Control.SpareUsed];
    if (count < 0 || count > this.#maxCommands) throw new RangeError(`${count} commands`);
    if (used < 0 || used > this.#spareCount) throw new RangeError(`${used} spares used`);
    for (let i = 0; i < used; i++) this.#live.set(spares[i], SLOT_SIZE);
    for (let i = 0; i < count; i++) this.#carryOut(i, commands.subarray(i * COMMAND_STRIDE, (i + 1) * COMMAND_STRIDE));
    control[Control.CommandCount] = 0;
    for (const [slot, filled] of this.#live) {
      this.#slab.fill(POISON, slot * SLOT_SIZE, slot * SLOT_SIZE + Math.min(filled + 64, SLOT_SIZE));
    }
    for (const [offset, length] of this.#spent.splice(0)) this.#slab.fill(POISON, offset, offset + length);
    for (const id of this.#freed.splice(0)) this.sockets[id] = undefined;
    control[Control.FreeSlots] = slots;
  }

  #carryOut(index: number, record: Int32Array): void {
    const [op, id, offset, length, a, b] = record;
    switch (op) {
      case Op.Write: {
        const link = this.#link(id);
        this.#check(offset, length, VNET_HEADER + 14);
        const frame = this.#slab.slice(offset, offset + length);
        if (!link.down) link.written.push(frame);
        if (offset >= this.memory.slots * SLOT_SIZE) this.#spent.push([offset, length]);
        break;
      }
      case Op.Send: {
        const stream = this.#stream(id);
        this.#check(offset, length, 1);
        if (offset >= this.memory.slots * SLOT_SIZE) throw new RangeError("Send from the control area");
        stream.backlog.push(this.#slab.slice(offset, offset + length));
        this.memory.backlog[id] += length;
        this.#flush(id, stream);
        break;
      }
      case Op.SendTo: {
        const socket = this.sockets[id];
        if (socket?.kind !== "datagram") throw new RangeError(`SendTo on socket ${id}`);
        this.#check(offset, length, 0);
        if (a < 0 || a > 65535) throw new RangeError(`SendTo with segments of ${a} bytes`);
        if (b < 0 || b >= (Path.Split | Path.Whole)) throw new RangeError(`SendTo with path ${b}`);
        const at = index * ADDRESS_STRIDE;
        const remote = this.memory.commandAddresses.slice(at, at + ENDPOINT_LENGTH);
        const source = this.memory.commandAddresses.slice(at + ENDPOINT_LENGTH, at + ADDRESS_STRIDE);
        if (remote[0] !== 4 && remote[0] !== 6) throw new RangeError("SendTo without a destination");
        if (socket.closed) break;
        socket.sent.push({ bytes: this.#slab.slice(offset, offset + length), segment: a, remote, source, path: b });
        break;
      }
      case Op.Consume: {
        const stream = this.#stream(id);
        if (a < 0 || a > stream.peeked) throw new RangeError(`Consume ${a} of ${stream.peeked} reported bytes`);
        stream.stream = stream.stream.slice(a);
        stream.peeked -= a;
        break;
      }
      case Op.Rewind: {
        const stream = this.#stream(id);
        if (a < 0 || a > stream.peeked) throw new RangeError(`Rewind to ${a} of ${stream.peeked} reported bytes`);
        stream.peeked = a;
        stream.endReported = false;
        break;
      }
      case Op.Credit: {
        const stream = this.#stream(id);
        if (a < 0 || b < 1 || b > MAX_PAYLOAD) throw new RangeError(`Credit ${a} in records of ${b}`);
        stream.credit = a;
        stream.chunk = b;
        break;
      }
      case Op.Shutdown: {
        const stream = this.#stream(id);
        stream.shutdownPending = true;
        this.#flush(id, stream);
        break;
      }
      case Op.Close: {
        const socket = this.#any(id);
        if (socket.kind === "stream") {
          socket.closePending = true;
          this.#flush(id, socket);
        } else this.#free(id);
        break;
      }
      case Op.Reset: {
        const socket = this.#any(id);
        if (socket.kind === "stream") {
          socket.wasReset = true;
          socket.other?.finish();
        }
        this.#free(id);
        break;
      }
      default:
        throw new RangeError(`unknown command ${op}`);
    }
  }

  /** Throws unless [offset, offset + length) lies in one slot of this turn, or in the control area. */
  #check(offset: number, length: number, shortest: number): void {
    const area = this.memory.slots * SLOT_SIZE;
    const fits =
      offset >= area
        ? offset + length <= area + CONTROL_AREA
        : offset >= 0 && this.#live.has(Math.floor(offset / SLOT_SIZE)) && (offset % SLOT_SIZE) + length <= SLOT_SIZE;
    if (!fits || length < shortest) throw new RangeError(`bytes ${offset} to ${offset + length} are not of this turn`);
  }

  /** Lets the host's socket take what it takes. */
  #flush(id: number, stream: SimulatedStream): void {
    const { backlog } = this.memory;
    const before = backlog[id];
    while (stream.backlog.length > 0 && stream.capacity > 0) {
      const first = stream.backlog[0];
      const taken = Math.min(first.length, stream.capacity);
      if (stream.other === null) for (let i = 0; i < taken; i++) stream.received.push(first[i]);
      else stream.other.write(first.subarray(0, taken));
      stream.capacity -= taken;
      backlog[id] -= taken;
      if (taken < first.length) stream.backlog[0] = first.subarray(taken);
      else stream.backlog.shift();
    }
    if (before !== 0 && backlog[id] < before) {
      if (backlog[id] === 0 ? stream.lastReportedBacklog > 0 : backlog[id] * 2 < stream.lastReportedBacklog) {
        stream.drained = true;
      }
    }
    stream.lastReportedBacklog = stream.drained ? backlog[id] : Math.max(stream.lastReportedBacklog, backlog[id]);
    if (backlog[id] > 0) return;
    if (stream.shutdownPending) stream.shutdown = true;
    if (stream.shutdownPending || stream.closePending) stream.other?.finish();
    if (stream.closePending && !stream.closed) this.#free(id);
  }

  // Sockets

  #open(socket: Socket): number {
    if (this.refuseOpen !== 0) return this.refuseOpen;
    let id = 0;
    while (this.sockets[id] !== undefined) id++;
    if (id >= this.maxSockets) return -EMFILE;
    this.sockets[id] = socket;
    this.opened.push(socket);
    this.memory.backlog[id] = 0;
    return id;
  }

  #free(id: number): void {
    const socket = this.#any(id);
    if (socket.closed) throw new RangeError(`socket ${id} is closed twice`);
    socket.closed = true;
    this.#freed.push(id);
    const opened = this.opened.indexOf(socket);
    if (opened >= 0 && this.opened.length > 4096) this.opened.splice(opened, 1);
  }

  #any(id: number): Socket {
    const socket = this.sockets[id];
    if (socket === undefined) throw new RangeError(`socket ${id} is not open`);
    return socket;
  }

  #stream(id: number): SimulatedStream {
    const socket = this.#any(id);
    if (socket.kind !== "stream") throw new RangeError(`socket ${id} is not a stream`);
    return socket;
  }

  #link(id: number): SimulatedLink {
    const link = this.links[id];
    if (link === undefined || link.removed) throw new RangeError(`link ${id} does not exist`);
    return link;
  }

  #anyLocal(): Endpoint {
    return endpoint(parseAddress("0.0.0.0"), this.#nextPort++);
  }

  #bound(local: Uint8Array | null): Endpoint {
    if (local === null) return this.#anyLocal();
    const out = local.slice();
    if (out[2] === 0 && out[3] === 0) out.set(this.#anyLocal().subarray(2, 4), 2);
    return out;
  }
}
