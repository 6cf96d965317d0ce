/**
 * An engine that moves nothing: it has the memory of the contract in src/native/engine.ts, hands the stack the events that
 * are put there, and forgets its commands after each turn. So what a turn costs is the stack alone.
 */
import {
  ADDRESS_STRIDE,
  COMMAND_STRIDE,
  CONTROL_AREA,
  Control,
  type Engine,
  type EngineMemory,
  EVENT_STRIDE,
  type EventKind,
  Op,
  SLOT_SIZE,
} from "../../src/native/engine.js";

/** Events of one turn, each with a slot of its own. */
export const BURST = 64;
const SPARES = 32;
const COMMANDS = 4096;
const SOCKETS = 1024;

export class StillEngine implements Engine {
  readonly maxSockets = SOCKETS;
  readonly memory: EngineMemory = {
    slab: new ArrayBuffer((BURST + SPARES) * SLOT_SIZE + CONTROL_AREA),
    slots: BURST + SPARES,
    control: new Int32Array(16),
    clock: new Float64Array(1),
    events: new Int32Array(BURST * EVENT_STRIDE),
    eventAddresses: new Uint8Array(BURST * ADDRESS_STRIDE),
    commands: new Int32Array(COMMANDS * COMMAND_STRIDE),
    commandAddresses: new Uint8Array(COMMANDS * ADDRESS_STRIDE),
    spares: Int32Array.from({ length: SPARES }, (_, index) => BURST + index),
    backlog: new Int32Array(SOCKETS),
  };
  readonly #free = Array.from({ length: SOCKETS }, (_, index) => SOCKETS - 1 - index); // taken from its end: 0 first
  #process: () => void = () => {};

  /** Describes the next event; its slot is the one of the same number. */
  event(kind: EventKind, id: number, length: number): void {
    const { control, events } = this.memory;
    const index = control[Control.EventCount];
    const at = index * EVENT_STRIDE;
    events[at] = kind;
    events[at + 1] = id;
    events[at + 2] = index;
    events[at + 3] = length;
    control[Control.EventCount] = index + 1;
  }

  /** One turn; returns the milliseconds that the stack took. What it ordered stays readable until the next event() and turn(). */
  turn(): number {
    const { control } = this.memory;
    control[Control.CommandCount] = 0;
    control[Control.SpareCount] = SPARES;
    control[Control.SpareUsed] = 0;
    control[Control.FreeSlots] = BURST;
    const start = performance.now();
    this.#process();
    const took = performance.now() - start;
    control[Control.EventCount] = 0;
    this.#takeBack();
    return took;
  }

  /** How many orders of one kind the last turn gave. */
  ordered(op: Op): number {
    const { control, commands } = this.memory;
    let count = 0;
    for (let i = 0; i < control[Control.CommandCount]; i++) if (commands[i * COMMAND_STRIDE] === op) count++;
    return count;
  }

  /** Where in the slab the first frame lies that the last turn wrote to the link; -1: none. */
  written(): number {
    const { control, commands } = this.memory;
    for (let i = 0; i < control[Control.CommandCount]; i++) {
      if (commands[i * COMMAND_STRIDE] === Op.Write) return commands[i * COMMAND_STRIDE + 2];
    }
    return -1;
  }

  #takeBack(): void {
    const { control, commands } = this.memory;
    for (let i = 0; i < control[Control.CommandCount]; i++) {
      const op = commands[i * COMMAND_STRIDE];
      if (op === Op.Close || op === Op.Reset) this.#free.push(commands[i * COMMAND_STRIDE + 1]);
    }
  }

  #open(): number {
    const socket = this.#free.pop();
    if (socket === undefined) throw new Error("the bench has no socket left");
    return socket;
  }

  addLink(): number {
    return 0;
  }

  removeLink(): void {}

  connect(): number {
    return this.#open();
  }

  pair(): number {
    return -1;
  }

  connectWith(): number {
    return this.#open();
  }

  listen(): number {
    return this.#open();
  }

  listenWith(): number {
    return this.#open();
  }

  openDatagram(): number {
    return this.#open();
  }

  openDatagramWith(): number {
    return this.#open();
  }

  openPing(): number {
    return this.#open();
  }

  localEndpoint(): number {
    return 0;
  }

  keepAlive(): number {
    return 0;
  }

  splice(): void {}
  unsplice(): void {}

  answers(): boolean {
    return false;
  }

  start(process: () => void): void {
    this.#process = process;
  }

  wake(): void {}
  trim(): void {}

  stop(): void {}

  counters(): Record<string, number> {
    return {};
  }
}
