/** Who watches a network's frames, and how they are told: by walking the records of a turn, so that it costs nothing when nobody does. */
import { type CaptureSink, Direction } from "../link/capture.js";
import {
  COMMAND_STRIDE,
  Control,
  type EngineMemory,
  EVENT_STRIDE,
  EventKind,
  Op,
  SLOT_SIZE,
} from "../native/engine.js";

export class Captures {
  readonly #memory: EngineMemory;
  #sinks: readonly CaptureSink[] = [];

  constructor(memory: EngineMemory) {
    this.#memory = memory;
  }

  get any(): boolean {
    return this.#sinks.length > 0;
  }

  /** Tells `sink` from now on. Returns what ends that. */
  add(sink: CaptureSink): () => void {
    this.#sinks = [...this.#sinks, sink];
    return () => {
      this.#sinks = this.#sinks.filter((each) => each !== sink);
    };
  }

  /** The frames that were read in this turn: before anybody takes one, since whoever does may write into its slot. */
  tellOut(now: number): void {
    const { events, control } = this.#memory;
    const end = control[Control.EventCount] * EVENT_STRIDE;
    for (let at = 0; at < end; at += EVENT_STRIDE) {
      if (events[at] !== EventKind.Frame) continue;
      for (const sink of this.#sinks) {
        sink.frame(events[at + 1], Direction.Out, events[at + 2] * SLOT_SIZE, events[at + 3], now);
      }
    }
  }

  /** The frames that this turn is to write: when all has been said. */
  tellIn(now: number): void {
    const { commands, control } = this.#memory;
    const end = control[Control.CommandCount] * COMMAND_STRIDE;
    for (let at = 0; at < end; at += COMMAND_STRIDE) {
      if (commands[at] !== Op.Write) continue;
      for (const sink of this.#sinks) {
        sink.frame(commands[at + 1], Direction.In, commands[at + 2], commands[at + 3], now);
      }
    }
  }
}
