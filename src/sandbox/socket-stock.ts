/** Sockets of one kind that were made inside and wait for use. See launcher-process.ts for why. */
import { getSystemErrorName } from "node:util";
import { NetnsError } from "../errors.js";
import { MAX_SOCKETS } from "./launcher-protocol.js";

/** How many are asked for at once, if no more are waited for, and so the most that are kept. */
const BATCH = 16;

interface Waiting {
  resolve: (fd: number) => void;
  reject: (error: Error) => void;
}

export class SocketStock {
  readonly #ask: (count: number) => void;
  readonly #closeFd: (fd: number) => void;
  readonly #batch: number;
  readonly #free: number[] = [];
  readonly #waiting: Waiting[] = [];
  /** Of the request under way; there is at most one. */
  #asked = 0;
  #closed: Error | null = null;

  /**
   * @param ask requests 1 to MAX_SOCKETS sockets; the answer comes as one put()
   * @param batch how many to keep at most; 0: none, each is asked for when it is wanted
   */
  constructor(ask: (count: number) => void, closeFd: (fd: number) => void, batch = BATCH) {
    this.#ask = ask;
    this.#closeFd = closeFd;
    this.#batch = batch;
  }

  /** A socket, now or soon. It is the caller's. */
  take(): Promise<number> {
    if (this.#closed) return Promise.reject(this.#closed);
    const fd = this.#free.pop();
    const taken = fd === undefined ? this.#wait() : Promise.resolve(fd);
    this.#fill();
    return taken;
  }

  /** The answer to a request: the sockets that could be made, and the errno of the one that could not. */
  put(fds: readonly number[], errno: number): void {
    this.#asked = 0;
    for (const fd of fds) {
      const waiting = this.#waiting.shift();
      if (waiting) waiting.resolve(fd);
      else if (this.#closed) this.#closeFd(fd);
      else this.#free.push(fd);
    }
    // None at all without an error: they were made, but this process has no room for them.
    if (fds.length === 0) this.#reject(lacking(errno === 0 ? "EMFILE" : getSystemErrorName(-errno)));
    else if (this.#waiting.length > 0) this.#fill();
  }

  close(error: Error): void {
    this.#closed = error;
    this.#reject(error);
    for (const fd of this.#free.splice(0)) this.#closeFd(fd);
  }

  #wait(): Promise<number> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  #fill(): void {
    if (this.#asked > 0 || this.#closed) return;
    if (this.#waiting.length === 0 && (this.#batch === 0 || this.#free.length > this.#batch / 4)) return;
    this.#asked = Math.min(MAX_SOCKETS, Math.max(this.#waiting.length, this.#batch - this.#free.length));
    this.#ask(this.#asked);
  }

  #reject(error: Error): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

function lacking(code: string): NetnsError {
  const fix = code === "EMFILE" || code === "ENFILE" ? ": raise the limit of open files (ulimit -n)" : "";
  return new NetnsError("HOST_LACKS", `no socket could be made inside (${code})${fix}`);
}
