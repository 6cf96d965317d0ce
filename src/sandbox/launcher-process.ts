/**
 * One launcher, from its start to its end, as a Sandbox.
 *
 * Theory of operation. The launcher is a child process with our terminal, our process group and a channel as its
 * descriptor 3. It says Ready (with the TAP) or Failed; after Start it says Exited when the command has ended, and ends
 * itself on Release, or when the channel closes because we are gone. Its own end is the child's `exit` event: nothing of the
 * sandbox is left then but descriptors that were handed out.
 *
 *     starting --Ready--> up --Exited--> ended --release()--> gone
 *        └------------ Failed, or the launcher dies ----------^     (`exited` rejects, unless Exited came before)
 *
 * Sockets made inside are asked for in batches, and what is left of a batch is a stock for the next callers, so that a burst
 * of connections waits for one round trip and not for one each. The stock is bounded by one batch and grows only for a kind
 * of socket that somebody asked for.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import { NetnsError } from "../errors.js";
import { launcherPath, native } from "../native/binding.js";
import type { Channel } from "../native/channel.js";
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
import type { ExitStatus, Sandbox } from "./sandbox.js";
import { SocketStock } from "./socket-stock.js";

export interface LauncherStart {
  readonly arguments: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** `aa:bb:cc:dd:ee:ff`, as in the arguments. */
  readonly mac: string;
  /** Queues of the TAP, as in the arguments. */
  readonly queues: number;
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
  readonly mac: Uint8Array;
  offloads = { tso4: false, tso6: false, uso: false };
  notes: readonly string[] = [];

  readonly #channel: Channel;
  readonly #child: ChildProcess;
  readonly #explain: (failure: LauncherFailure) => Error;
  readonly #queues: number;
  readonly #exited = deferred<ExitStatus>();
  readonly #gone = deferred<void>();
  readonly #stocks = new Map<string, SocketStock>();
  #ready: { resolve: (sandbox: Sandbox) => void; reject: (error: Error) => void } | null;
  #failure: Error | null = null;
  #ended = false;

  constructor(start: LauncherStart, resolve: (sandbox: Sandbox) => void, reject: (error: Error) => void) {
    this.mac = Uint8Array.from(start.mac.split(":"), (digits) => Number.parseInt(digits, 16));
    this.#explain = start.explain;
    this.#queues = start.queues;
    this.#ready = { resolve, reject };
    this.exited.catch(() => undefined); // a caller who does not wait for the end is told by start-up or by nothing
    const closed = deferred<void>();
    this.#channel = native().openChannel(
      (bytes, fds) => this.#receive(bytes, fds),
      () => closed.resolve(),
    );
    try {
      this.#child = spawn(launcherPath(), [...start.arguments], {
        env: start.env,
        stdio: ["inherit", "inherit", "inherit", this.#channel.peer],
      });
    } catch (error) {
      this.#channel.close();
      throw spawnError(error);
    } finally {
      native().closeFd(this.#channel.peer);
    }
    this.#child.once("error", (error) => this.#end(spawnError(error)));
    this.#child.once("exit", (code, signal) => {
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
      const error = new NetnsError("INTERNAL", `the sandbox's supervisor ended unexpectedly (${how})`);
      // Node may see the end before the last packets; the channel closes when they have been read.
      closed.promise.then(() => this.#end(error));
    });
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

  discard(socket: number): void {
    native().closeFd(socket);
  }

  signal(signal: NodeJS.Signals, fromTerminal: boolean): void {
    this.#send(Request.Signal, constants.signals[signal], fromTerminal ? 1 : 0);
  }

  release(): Promise<void> {
    this.#send(Request.Release);
    this.#child.kill("SIGCONT"); // it may have been stopped, and could not answer then
    return this.#gone.promise;
  }

  #send(kind: Request, a = 0, b = 0, c = 0): void {
    this.#channel.send(encodeRequest(kind, a, b, c)); // a launcher that is gone has been noticed otherwise
  }

  #stock(family: number, type: number): SocketStock {
    const key = `${family}/${type}`;
    let stock = this.#stocks.get(key);
    if (!stock) {
      stock = new SocketStock((count) => this.#send(Request.Sockets, family, type, count), native().closeFd);
      this.#stocks.set(key, stock);
    }
    return stock;
  }

  #receive(bytes: Uint8Array, fds: number[]): void {
    const message = decodeReply(bytes);
    if (message?.kind === Reply.Ready && this.#ready) this.#becomeReady(message, fds);
    else if (message?.kind === Reply.Sockets) this.#stock(message.a, message.b).put(fds, message.c);
    else if (message?.kind === Reply.Exited) this.#exited.resolve(exitStatus(message));
    else if (message?.kind === Reply.Failed) this.#failure ??= this.#explain(failureOf(message));
  }

  #becomeReady(message: Message, fds: number[]): void {
    if (fds.length < this.#queues) {
      for (const fd of fds) native().closeFd(fd);
      this.#failure = new NetnsError(
        "HOST_LACKS",
        "no file descriptor is left for the TAP: raise the limit (ulimit -n)",
      );
      this.#send(Request.Release);
      return;
    }
    this.taps = fds;
    this.offloads = {
      tso4: (message.a & Offload.Tso4) !== 0,
      tso6: (message.a & Offload.Tso6) !== 0,
      uso: (message.a & Offload.Uso) !== 0,
    };
    this.notes = message.text.split("\n").filter((line) => line !== "");
    this.#ready?.resolve(this);
    this.#ready = null;
  }

  /** Nothing of the launcher is left. `error` counts where nothing better was said before. */
  #end(error: Error): void {
    this.#ended = true;
    this.#failure ??= error;
    this.#channel.close();
    this.#ready?.reject(this.#failure);
    this.#ready = null;
    this.#exited.reject(this.#failure); // of no effect after Exited
    for (const stock of this.#stocks.values()) stock.close(new NetnsError("NAMESPACE", "the sandbox has ended"));
    this.#gone.resolve();
  }
}

function exitStatus({ a: code, b: signal }: Message): ExitStatus {
  return { code: code < 0 ? null : code, signal: signal < 0 ? null : signal };
}

function spawnError(error: unknown): NetnsError {
  const code = error instanceof Error && "code" in error ? error.code : "";
  if (code === "E2BIG") {
    return new NetnsError("USAGE", "the command line and environment are too long for this system: shorten them", {
      cause: error,
    });
  }
  if (code === "EAGAIN")
    return new NetnsError(
      "HOST_LACKS",
      "this user may start no more processes (EAGAIN): end some, or raise the limit (ulimit -u)",
      { cause: error },
    );
  if (code === "EMFILE" || code === "ENFILE") {
    const text = `too many open files (${code}): raise the limit (ulimit -n 1024)`;
    return new NetnsError("HOST_LACKS", text, { cause: error });
  }
  const text = `cannot start ${launcherPath()} (${code}): build it with npm ci, or install the package again`;
  return new NetnsError("NATIVE", text, { cause: error });
}
