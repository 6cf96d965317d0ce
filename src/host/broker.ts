/**
 * A broker opens files for a process that has confined itself and may open none: native/launcher/broker.c, in the supervisor of a
 * sandbox or in a process of its own.
 *
 * Theory of operation. It is asked by numbers of a short list, never by a path. An answer comes within microseconds, and the loop
 * waits for it; a broker that is stopped or gone costs PATIENCE_MS, and the question fails. The other half of the messages is
 * native/launcher/protocol.h, and both must agree.
 */
import { getSystemErrorName } from "node:util";
import { native } from "../native/binding.js";

/** Bytes before the text: kind, a, b (errno), and our number of the question. */
const HEADER = 16;
const PATIENCE_MS = 50;

enum Kind {
  /** a: File; the answer's text is what is in it, 64 KiB at most. */
  File = 1,
  /** Removes the sockets that it was started with. */
  Remove = 2,
}

enum File {
  ResolvConf = 1,
}

export class Broker {
  readonly #channel: number;
  #asked = 0;

  /** @param channel a socket to it; stays the caller's */
  constructor(channel: number) {
    this.#channel = channel;
  }

  /** The text of the host's /etc/resolv.conf. Throws where it cannot be read. */
  resolvConf(): string {
    return Buffer.from(this.#ask(Kind.File, File.ResolvConf)).toString();
  }

  /** Removes now what it would remove at our end (sandbox/broker-process.ts). A broker that does not answer does it later. */
  removeSockets(): void {
    try {
      this.#ask(Kind.Remove, 0);
    } catch {
      // It is stopped: then it does so when it goes on, and where it is gone somebody else finds the dead sockets.
    }
  }

  #ask(kind: Kind, a: number): Uint8Array {
    this.#asked = (this.#asked + 1) | 0;
    const question = new Uint8Array(Int32Array.of(kind, a, 0, this.#asked).buffer);
    const answer = native().askBroker(this.#channel, question, PATIENCE_MS);
    if (typeof answer === "number") throw new Error(`no answer (${getSystemErrorName(answer)})`);
    const [, , errno = 0] = new Int32Array(answer.slice(0, HEADER).buffer);
    if (errno !== 0) throw new Error(getSystemErrorName(-errno));
    return answer.subarray(HEADER);
  }
}
