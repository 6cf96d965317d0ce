/**
 * The server's end: listens at a path, lets in only this user, and hands each request to the operation of its name.
 *
 * Descriptors that come with a request are the operation's if it has a parameter for them, and closed otherwise.
 *
 * Bounds: MAX_CONNECTIONS at once; one more is closed. An operation may take as long as it wants; a connection has at most
 * MAX_REQUESTS under way.
 */
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import { Connection, type ConnectionHandler } from "./connection.js";
import { settledWithin } from "./parallel.js";

const MAX_CONNECTIONS = 512;
const MAX_REQUESTS = 64;
/** How long the answers that are under way may take when all ends. */
const LAST_ANSWERS_MS = 1000;

/** A client, as an operation sees it. */
export interface Peer {
  /** Sends something before the answer. */
  part(part: unknown): void;
  event(event: string, fields: Readonly<Record<string, unknown>>): void;
  /** Packets that it has not read yet. */
  readonly waiting: number;
  /** Settles when the connection has ended. */
  readonly gone: Promise<void>;
  readonly isGone: boolean;
}

/**
 * Does what a request wants and returns the answer (any JSON). Throws a NetnsError to say why not.
 * @param fds came with it, and are the operation's
 */
export type Operation = (
  fields: Readonly<Record<string, unknown>>,
  peer: Peer,
  fds: readonly number[],
) => Promise<unknown> | unknown;

export type Operations = ReadonlyMap<string, Operation>;

export class Listener {
  readonly #operations: Operations;
  readonly #connections = new Set<Connection>();
  readonly #underWay = new Set<Promise<void>>();
  #listening: { close(): void } | null = null;
  #count: () => void;

  /** @param changed is called whenever a connection has come or gone */
  constructor(operations: Operations, changed: () => void = () => {}) {
    this.#operations = operations;
    this.#count = changed;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Returns 0 or -errno: EADDRINUSE where something is at that path. */
  listen(path: string): number {
    const user = process.geteuid?.() ?? 0;
    const listening = native().listenChannel(path, (fd, uid) => {
      if (uid === user && this.#connections.size < MAX_CONNECTIONS) this.serve(fd);
      else native().closeFd(fd);
    });
    if (typeof listening === "number") return listening;
    this.#listening = listening;
    return 0;
  }

  /** Serves a connection that was made otherwise; the descriptor is ours from now on. */
  serve(fd: number): void {
    let end = () => {};
    const gone = new Promise<void>((resolve) => {
      end = resolve;
    });
    let requests = 0;
    const handler: ConnectionHandler = {
      received: (message, fds) => {
        const { id, op } = message;
        if (typeof id !== "number" || typeof op !== "string" || requests >= MAX_REQUESTS) {
          for (const each of fds) native().closeFd(each);
          connection.close();
          return;
        }
        requests++;
        const peer: Peer = {
          part: (part) => connection.send({ id, part }),
          event: (event, fields) => connection.send({ ...fields, event }),
          get waiting() {
            return connection.waiting;
          },
          gone,
          get isGone() {
            return connection.isClosed;
          },
        };
        const done = this.#carryOut(op, message, peer, fds).then((answer) => {
          requests--;
          answerWith(connection, id, answer);
          this.#underWay.delete(done);
        });
        this.#underWay.add(done);
      },
      closed: () => {
        this.#connections.delete(connection);
        end();
        this.#count();
      },
    };
    let connection: Connection;
    try {
      connection = new Connection(fd, handler);
    } catch {
      native().closeFd(fd); // the kernel lets us watch no more descriptors: this client is lost, the next one may not be
      return;
    }
    this.#connections.add(connection);
  }

  /** No more connections; those that are there go on until close(). */
  stopListening(): void {
    this.#listening?.close();
    this.#listening = null;
  }

  /** Ends all connections; what was asked is answered before, if it does not take long. */
  async close(): Promise<void> {
    this.stopListening();
    await settledWithin(LAST_ANSWERS_MS, Promise.all(this.#underWay));
    for (const connection of [...this.#connections]) connection.close();
  }

  async #carryOut(
    op: string,
    fields: Readonly<Record<string, unknown>>,
    peer: Peer,
    fds: readonly number[],
  ): Promise<object> {
    const operation = this.#operations.get(op);
    if (operation === undefined || operation.length < 3) for (const fd of fds) native().closeFd(fd);
    try {
      if (operation === undefined) {
        throw new NetnsError(
          "USAGE",
          `the server of the network does not know ${op}: it is of another version, end it first`,
        );
      }
      return { ok: (await operation(fields, peer, fds)) ?? null };
    } catch (error) {
      return failure(error);
    }
  }
}

/** An answer that is too long for a packet is no reason to end: it is told that it was. */
function answerWith(connection: Connection, id: number, answer: object): void {
  try {
    connection.send({ id, ...answer });
  } catch (error) {
    connection.send({ id, ...failure(error) });
  }
}

function failure(error: unknown): object {
  if (error instanceof NetnsError) return { error: { code: error.code, message: error.message.slice(0, 4000) } };
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { error: { code: "INTERNAL", message: `the server of the network failed: ${message}`.slice(0, 4000) } };
}
