/**
 * Where a capture is written: a descriptor that somebody opened, of a file, or of a pipe or socket whose reader may be slow.
 *
 * A file is written by Node's threads, which a disk never keeps for long. A reader that stands still would keep one for ever:
 * so pipes and sockets are written without blocking, through the event loop.
 */
import { closeSync, fstatSync, write } from "node:fs";
import { Socket } from "node:net";
import type { CaptureOutput } from "./recorder.js";

/** The descriptor is the output's from now on. Throws what fstat(2) does. */
export function captureOutput(fd: number): CaptureOutput {
  const kind = fstatSync(fd);
  return kind.isFIFO() || kind.isSocket() ? new StreamOutput(fd) : new FileOutput(fd);
}

class FileOutput implements CaptureOutput {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(bytes: Uint8Array, done: (error: Error | null) => void): void {
    write(this.#fd, bytes, (error, written) => {
      if (error !== null) done(error);
      else if (written < bytes.length) this.write(bytes.subarray(written), done);
      else done(null);
    });
  }

  close(): Error | null {
    try {
      closeSync(this.#fd);
      return null;
    } catch (error) {
      // Some file systems say only here that they could not keep what they took (close(2)).
      return error instanceof Error ? error : new Error(String(error));
    }
  }
}

class StreamOutput implements CaptureOutput {
  readonly #socket: Socket;

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: false, writable: true });
    this.#socket.on("error", () => {}); // the write that fails says so, too
  }

  write(bytes: Uint8Array, done: (error: Error | null) => void): void {
    this.#socket.write(bytes, (error) => done(error ?? null));
  }

  close(): null {
    this.#socket.destroy();
    return null;
  }
}
