/**
 * One end of a control connection.
 *
 * Theory of operation. Objects go out as packets in order; while the other end does not read, they wait in a queue of MAX_WAITING,
 * and one more ends the connection: whoever does not read what it asked for is not worth our memory. What comes in that is
 * no JSON object ends it, too.
 */
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import type { Channel } from "../native/channel.js";
import { MAX_PACKET } from "./messages.js";

const MAX_WAITING = 1024;
const EAGAIN = 11;
const EMSGSIZE = 90;

export interface ConnectionHandler {
  /** The descriptors are the handler's. */
  received(message: Readonly<Record<string, unknown>>, fds: readonly number[]): void;
  /** Once; nothing comes after it. */
  closed(): void;
}

export class Connection {
  readonly #channel: Channel;
  readonly #handler: ConnectionHandler;
  readonly #waiting: { bytes: Uint8Array; fds: readonly number[] }[] = [];
  #isClosed = false;

  /** @param fd a connected SOCK_SEQPACKET socket; ours from now on */
  constructor(fd: number, handler: ConnectionHandler) {
    this.#handler = handler;
    this.#channel = native().openChannel(
      (bytes, fds) => this.#receive(bytes, fds),
      () => this.#end(),
      fd,
    );
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Packets that wait for the other end to read. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Throws a NetnsError (USAGE) where the message is too long for a packet; nothing was sent then, and the connection goes on.
   * Descriptors stay the caller's and may be closed when this returns: they are sent at once, or the connection ends.
   */
  send(message: object, fds: readonly number[] = []): void {
    const bytes = new TextEncoder().encode(JSON.stringify(message));
    if (this.#isClosed) return;
    if (bytes.length > MAX_PACKET) {
      throw new NetnsError(
        "USAGE",
        `a message of ${bytes.length} bytes is too long for the server of the network: ${MAX_PACKET} at most, so give fewer or shorter options`,
      );
    }
    if (this.#waiting.length === 0) {
      const error = this.#channel.send(bytes, fds);
      if (error === 0) return;
      if (error !== -EAGAIN || fds.length > 0) {
        this.close();
        if (error === -EMSGSIZE) throw new RangeError(`a message of ${bytes.length} bytes is too long for this kernel`);
        return;
      }
      this.#channel.whenWritable(() => this.#flush());
    }
    if (this.#waiting.length === MAX_WAITING) this.close();
    else this.#waiting.push({ bytes, fds });
  }

  close(): void {
    if (this.#isClosed) return;
    this.#channel.close();
    this.#end();
  }

  #flush(): void {
    while (!this.#isClosed && this.#waiting.length > 0) {
      const error = this.#channel.send(this.#waiting[0].bytes);
      if (error === -EAGAIN) {
        this.#channel.whenWritable(() => this.#flush());
        return;
      }
      if (error !== 0) {
        this.close();
        return;
      }
      this.#waiting.shift();
    }
  }

  #receive(bytes: Uint8Array, fds: readonly number[]): void {
    if (this.#isClosed) {
      for (const fd of fds) native().closeFd(fd);
      return;
    }
    const message = parseObject(bytes);
    if (message !== null) {
      this.#handler.received(message, fds);
      return;
    }
    for (const fd of fds) native().closeFd(fd);
    this.close();
  }

  #end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#waiting.length = 0;
    this.#handler.closed();
  }
}

function parseObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>) // checked: an object
      : null;
  } catch {
    return null;
  }
}
