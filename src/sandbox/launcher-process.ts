/**
 * One launcher, from its start to its end, as a Sandbox.
 *
 * Theory of operation. The launcher is a child process with our terminal, our process group and a channel as its
 * descriptor 3. A prepared one, which waits for it, is told its configuration. It says Ready (with the TAP) or Failed; after Start it says Exited when the command has ended, and ends
 * itself on Release, or when the channel closes because we are gone; if somebody stopped it, both continue it. After its own end nothing of the sandbox is left but descriptors that were handed out.
 *
 *     starting --Ready--> up --Exited--> ended --release()--> gone
 *        └------------ Failed, or the launcher dies ----------^     (`exited` rejects, unless Exited came before)
 *
 * Sockets made inside are asked for in batches, and what is left of a batch is a stock for the next callers, so that a burst
 * of connections waits for one round trip and not for one each. The stock is bounded by one batch and grows only for a kind
 * of socket that somebody asked for.
 */
import { constants } from "node:os";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import type { Channel, ChannelBinding } from "../native/channel.js";
import { preparedLauncher, spawnLauncher } from "./launcher-child.js";
import {
  decodeReply,
  encodeRequest,
  failureOf,
  type LauncherFailure,
  type Message,
  Offload,
  Reply,
  Request,
  SocketType,
} from "./launcher-protocol.js";
import type { ExitStatus, PreparedLauncher, Sandbox } from "./sandbox.js";
import { SocketStock } from "./socket-stock.js";

/** A launcher that waits for its configuration. */
export interface ConfiguredLauncher extends PreparedLauncher {
  readonly configuration: Uint8Array;
}

export interface LauncherStart {
  /** Of a new launcher. */
  readonly arguments: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** `aa:bb:cc:dd:ee:ff`, as in the arguments. */
  readonly mac: string;
  /** Queues of the TAP, as in the arguments. */
  readonly queues: number;
  /** Not null: this launcher gets its configuration, and none is started. */
  readonly prepared?: ConfiguredLauncher | null;
  /** Makes the error that the caller gets of a step that failed. */
  readonly explain: (failure: LauncherFailure) => Error;
}

/** Starts a launcher and settles when its namespace is up. */
export function startLauncher(start: LauncherStart): Promise<Sandbox> {
  return new Promise((resolve, reject) => new LauncherProcess(start, resolve, reject));
}

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: Error) => void = () => undefined;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}

class LauncherProcess implements Sandbox {
  taps: readonly number[] = [];
  broker = -1;
  readonly mac: Uint8Array;
  offloads = { tso4: false, tso6: false, uso: false };
  notes: readonly string[] = [];
  init: Sandbox["init"] = null;
  output: number | null = null;

  readonly #channel: Channel;
  readonly #explain: (failure: LauncherFailure) => Error;
  readonly #queues: number;
  readonly #exited = deferred<ExitStatus>();
  readonly #gone = deferred<void>();
  readonly #stocks = new Map<string, SocketStock>();
  #ready: { resolve: (sandbox: Sandbox) => void; reject: (error: Error) => void } | null;
  #failure: Error | null = null;
  /** `exited` is settled. */
  #reported = false;
  #ended = false;

  constructor(start: LauncherStart, resolve: (sandbox: Sandbox) => void, reject: (error: Error) => void) {
    this.mac = Uint8Array.from(start.mac.split(":"), (digits) => Number.parseInt(digits, 16));
    this.#explain = start.explain;
    this.#queues = start.queues;
    this.#ready = { resolve, reject };
    this.exited.catch(() => undefined); // a caller who does not wait for the end is told by start-up or by nothing
    const closed = deferred<void>();
    this.#channel = openChannel(
      (bytes, fds) => this.#receive(bytes, fds),
      () => closed.resolve(),
      start.prepared?.channel,
    );
    const ended = start.prepared ? preparedLauncher(start.prepared, closed.promise) : this.#spawn(start);
    if (start.prepared) this.#channel.send(start.prepared.configuration);
    ended.then(
      // Node may see the end before the last packets; the channel closes when they have been read.
      (how) => closed.promise.then(() => this.#end(how)),
      (error) => this.#end(error),
    );
  }

  #spawn(start: LauncherStart): Promise<string> {
    const { peer } = this.#channel;
    try {
      return spawnLauncher(start.arguments, start.env, peer);
    } catch (error) {
      this.#channel.close();
      throw error;
    } finally {
      native().closeFd(peer);
    }
  }

  get exited(): Promise<ExitStatus> {
    return this.#exited.promise;
  }

  start(): void {
    this.#send(Request.Start);
  }

  socket(family: 4 | 6, type: "stream" | "datagram"): Promise<number> {
    const wanted = type === "stream" ? SocketType.Stream : SocketType.Datagram;
    if (this.#ended) return Promise.reject(new NetnsError("NAMESPACE", "the sandbox has ended"));
    return this.#stock(family, wanted).take();
  }

  diagnosticSocket(): Promise<number> {
    if (this.#ended) return Promise.reject(new NetnsError("NAMESPACE", "the sandbox has ended"));
    return this.#stock(0, SocketType.Diagnostic).take();
  }

  discard(socket: number): void {
    native().closeFd(socket);
  }

  signal(signal: NodeJS.Signals, fromTerminal: boolean): void {
    this.#send(Request.Signal, constants.signals[signal], fromTerminal ? 1 : 0);
  }

  release(): Promise<void> {
    this.#send(Request.Release);
    return this.#gone.promise;
  }

  #send(kind: Request, a = 0, b = 0, c = 0): void {
    this.#channel.send(encodeRequest(kind, a, b, c)); // a launcher that is gone has been noticed otherwise
  }

  #stock(family: number, type: number): SocketStock {
    const key = stockKey(family, type);
    let stock = this.#stocks.get(key);
    if (!stock) {
      const ask = (count: number) => this.#send(Request.Sockets, family, type, count);
      // One of these is enough for as long as a sandbox lives.
      stock = new SocketStock(ask, native().closeFd, type === SocketType.Diagnostic ? 0 : undefined);
      this.#stocks.set(key, stock);
    }
    return stock;
  }

  #receive(bytes: Uint8Array, fds: number[]): void {
    const message = decodeReply(bytes);
    if (message?.kind === Reply.Ready && this.#ready) this.#becomeReady(message, fds);
    else if (message?.kind === Reply.Sockets) this.#takeSockets(message, fds);
    else closeAll(fds); // an adopted launcher may be anything
    if (message?.kind === Reply.Exited) this.#report(exitStatus(message));
    else if (message?.kind === Reply.Failed) this.#failure ??= this.#explain(failureOf(message));
  }

  #takeSockets({ a: family, b: type, c: errno }: Message, fds: number[]): void {
    const stock = this.#stocks.get(stockKey(family, type));
    if (stock) stock.put(fds, errno);
    else closeAll(fds);
  }

  #report(status: ExitStatus): void {
    this.#reported = true;
    this.#exited.resolve(status);
  }

  #becomeReady(message: Message, fds: number[]): void {
    const hasOutput = (message.a & Offload.Output) !== 0;
    if (fds.length < this.#queues + (hasOutput ? 1 : 0)) {
      closeAll(fds);
      this.#failure = new NetnsError(
        "HOST_LACKS",
        "no file descriptor is left for the TAP: raise the limit (ulimit -n)",
      );
      this.#send(Request.Release);
      return;
    }
    this.taps = fds.slice(0, this.#queues);
    this.output = hasOutput ? fds[this.#queues] : null;
    this.broker = fds[this.#queues + (hasOutput ? 1 : 0)] ?? -1;
    this.offloads = {
      tso4: (message.a & Offload.Tso4) !== 0,
      tso6: (message.a & Offload.Tso6) !== 0,
      uso: (message.a & Offload.Uso) !== 0,
    };
    const [start = "", ...notes] = message.text.split("\n");
    this.init = message.b > 0 ? { pid: message.b, start } : null;
    this.notes = notes.filter((line) => line !== "");
    this.#ready?.resolve(this);
    this.#ready = null;
  }

  /** Nothing of the launcher is left. `cause`, how it ended or why it never was, counts where nothing better was said before. */
  #end(cause: string | Error): void {
    this.#ended = true;
    this.#channel.close();
    if (this.broker >= 0) native().closeFd(this.broker);
    this.broker = -1;
    if (this.#ready || !this.#reported) {
      const unexpected = (how: string) =>
        new NetnsError("INTERNAL", `the sandbox's supervisor ended unexpectedly (${how})`);
      const error = this.#failure ?? (typeof cause === "string" ? unexpected(cause) : cause);
      this.#ready?.reject(error);
      this.#ready = null;
      this.#exited.reject(error);
    }
    for (const stock of this.#stocks.values()) stock.close(new NetnsError("NAMESPACE", "the sandbox has ended"));
    this.#gone.resolve();
  }
}

/** As the addon's, but that `own` is taken in any case. */
function openChannel(...[message, closed, own]: Parameters<ChannelBinding["openChannel"]>): Channel {
  try {
    return native().openChannel(message, closed, own);
  } catch (cause) {
    if (own === undefined) throw cause;
    native().closeFd(own);
    throw new NetnsError("NAMESPACE", "what was handed over is no channel of a launcher", { cause });
  }
}

function stockKey(family: number, type: number): string {
  return `${family}/${type}`;
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) native().closeFd(fd);
}

function exitStatus({ a: code, b: signal }: Message): ExitStatus {
  return { code: code < 0 ? null : code, signal: signal < 0 ? null : signal };
}
