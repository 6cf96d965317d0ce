/** The client's end of a control connection: requests and their answers. */
import { type ErrorCode, NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { Connection } from "./connection.js";
import type { Event } from "./messages.js";

const CODES: readonly string[] = [
  "USAGE",
  "NOT_FOUND",
  "HOST_LACKS",
  "PORT_BUSY",
  "ADDRESS_BUSY",
  "NAME_BUSY",
  "NETWORK_FULL",
  "NAMESPACE",
  "NATIVE",
  "INTERNAL",
] satisfies ErrorCode[];

interface Pending {
  readonly part: (part: unknown) => void;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Client {
  /** Settles when the connection has ended. */
  readonly ended: Promise<void>;
  readonly #connection: Connection;
  readonly #pending = new Map<number, Pending>();
  readonly #event: (event: Event) => void;
  #nextId = 1;

  /** @param fd a connected control socket; ours from now on */
  constructor(fd: number, event: (event: Event) => void = () => {}) {
    this.#event = event;
    let end = () => {};
    this.ended = new Promise((resolve) => {
      end = resolve;
    });
    this.#connection = new Connection(fd, {
      received: (message, fds) => {
        for (const each of fds) native().closeFd(each); // no server sends any
        this.#receive(message);
      },
      closed: () => {
        for (const { reject } of this.#pending.values()) reject(ENDED());
        this.#pending.clear();
        end();
      },
    });
  }

  /**
   * Asks, and settles with what the server answers. Rejects with its error, a NetnsError, or where the connection ends before.
   * @param fds go with it, and stay the caller's
   * @param part gets what comes before the answer
   */
  request(
    op: string,
    fields: Readonly<Record<string, unknown>> = {},
    fds: readonly number[] = [],
    part: (part: unknown) => void = () => {},
  ): Promise<unknown> {
    if (this.#connection.isClosed) return Promise.reject(ENDED());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { part, resolve, reject });
      try {
        this.#connection.send({ ...fields, id, op }, fds);
      } catch (error) {
        this.#pending.delete(id);
        throw error;
      }
    });
  }

  /** Whether the connection has ended, by the server or by close(). */
  get isEnded(): boolean {
    return this.#connection.isClosed;
  }

  close(): void {
    this.#connection.close();
  }

  #receive(message: Readonly<Record<string, unknown>>): void {
    if (typeof message.event === "string") {
      this.#event({ ...message, event: message.event });
      return;
    }
    const id = Number(message.id);
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    if ("part" in message) {
      pending.part(message.part);
      return;
    }
    this.#pending.delete(id);
    if ("ok" in message) pending.resolve(message.ok);
    else pending.reject(failure(message.error));
  }
}

const ENDED = () => new NetnsError("INTERNAL", "the server of the network has ended");

function failure(error: unknown): NetnsError {
  const { code = "INTERNAL", message = "the server of the network gave no reason" } =
    typeof error === "object" && error !== null ? (error as { code?: unknown; message?: unknown }) : {};
  const known = typeof code === "string" && CODES.includes(code) ? (code as ErrorCode) : "INTERNAL"; // one of CODES
  return new NetnsError(known, String(message));
}
