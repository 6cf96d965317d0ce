/**
 * The one place that loads the addon, and that knows where the native part lies: native/build/Release, made by node-gyp, or
 * the folder that NETNS_ROOTLESS_NATIVE names (a build with sanitizers, for tests).
 */
import path from "node:path";
import { NetnsError } from "../errors.js";
import type { ChannelBinding } from "./channel.js";
import type { Engine } from "./engine.js";
import type { SystemBinding } from "./system.js";

export interface EngineOptions {
  /** Slots of the slab, 64 to 30,000. Memory is used only for those that were ever filled, 68 KiB each. Default: 832, some 57 MB. */
  readonly slots?: number;
  /** The largest number of sockets at once, at most 32,768. Default: as many as this process may have descriptors. */
  readonly maxSockets?: number;
  /** How long the loop polls at most before it sleeps when there was something to do, 0 to 1,000 µs. Default: 100. */
  readonly spinMicroseconds?: number;
  /** False: do not use SO_PEEK_OFF, as on kernels that lack it for TCP. Default: true, where the kernel has it. */
  readonly peekOffset?: boolean;
  /**
   * TCP congestion control of streams whose path does not leave this machine, the first of these that the kernel lets us have;
   * together at most 127 bytes with a comma between them. Default: none, the host's.
   */
  readonly congestion?: readonly string[];
}

/** All that the addon exports. */
export interface Addon extends ChannelBinding, SystemBinding {
  readonly Engine: new (
    options: Required<Omit<EngineOptions, "congestion">> & { readonly congestion: string },
  ) => Engine;
  /**
   * Listeners of one place (an endpoint as in wire/address.ts), for as many engines: the kernel deals the connections out by their
   * addresses and ports. 1 to 64 descriptors, or -errno: EADDRINUSE also where the place is shared by others already.
   */
  openListeners(local: Uint8Array, backlog: number, count: number): number[] | number;
  /**
   * Two ends of a link between engines: what one writes is read by the other as it is, whole and in order. What finds no room
   * (some 200 KiB) is dropped by the writer. Throws where there is no descriptor left.
   */
  openPair(): [number, number];
}

/**
 * With more, V8 thinks that 64 MB have come to hang on its objects (the slab, what is beside it in the engine's memory, the program's text),
 * and begins its life by collecting garbage, for some milliseconds.
 */
const SLOTS = 832;

const folder = process.env.NETNS_ROOTLESS_NATIVE ?? path.join(import.meta.dirname, "../../../native/build/Release");
let loaded: Addon | null = null;

/** The addon, loaded at the first call. Throws a NetnsError (NATIVE) that says what to do when that fails. */
export function native(): Addon {
  if (loaded) return loaded;
  const file = path.resolve(folder, "engine.node");
  try {
    const addon = { exports: {} };
    process.dlopen(addon, file); // what require() does with such a file, without all that finds out that it is one
    loaded = addon.exports as Addon;
    return loaded;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.split("\n")[0] : String(cause);
    const text = `cannot load the native part (${reason}): build it with \`npm ci\` in a checkout, or install the package again`;
    throw new NetnsError("NATIVE", text, { cause });
  }
}

/**
 * A new engine; it does nothing until it is started. Raises this process's soft limit of descriptors to the hard one.
 * Throws a NetnsError (NATIVE), or a RangeError for an option out of its range.
 */
export function createEngine(options: EngineOptions = {}): Engine {
  const { slots = SLOTS, maxSockets = 0, spinMicroseconds = 100, peekOffset = true, congestion = [] } = options;
  return new (native().Engine)({ slots, maxSockets, spinMicroseconds, peekOffset, congestion: congestion.join(",") });
}

/** The launcher's executable. */
export function launcherPath(): string {
  return path.resolve(folder, "launcher");
}
