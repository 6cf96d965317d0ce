/**
 * What a detached command writes, kept in a file that does not grow beyond a bound: when it is full, its older half is dropped,
 * so that at least KEPT bytes of the end are always there. The file was opened by whoever started the command.
 */
import { closeSync, fstatSync, ftruncateSync, readSync, writeSync } from "node:fs";
import { Socket } from "node:net";

const LIMIT = 2 << 20;
const KEPT = 1 << 20;

/** Writes what comes out of a pipe to a file. Both descriptors are ours from now on. Settles when the pipe has ended and all is written. */
export function keepLog(pipe: number, file: number): Promise<void> {
  const source = new Socket({ fd: pipe, readable: true, writable: false });
  let size = fstatSync(file).size;
  source.on("data", (bytes: Buffer) => {
    try {
      if (size + bytes.length > LIMIT) size = dropOlder(file, size);
      writeSync(file, bytes, 0, bytes.length, size);
      size += bytes.length;
    } catch {
      // A full disk is no reason to end the command: the log has a gap.
    }
  });
  source.on("error", () => {});
  return new Promise((resolve) => {
    source.on("close", () => {
      try {
        closeSync(file);
      } catch {
        // As above.
      }
      resolve();
    });
  });
}

function dropOlder(file: number, size: number): number {
  const end = Buffer.alloc(Math.min(KEPT, size));
  const length = readSync(file, end, 0, end.length, size - end.length);
  // From the first whole line on.
  const line = end.indexOf("\n") + 1;
  const kept = end.subarray(line < length ? line : 0, length);
  writeSync(file, kept, 0, kept.length, 0);
  ftruncateSync(file, kept.length);
  return kept.length;
}
