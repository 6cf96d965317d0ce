/** Files that captures are written to, and what is told of one at its end. */
import { closeSync, openSync } from "node:fs";
import type { CaptureSummary } from "../capture/recorder.js";
import type { CaptureReport } from "../control/captures.js";
import type { Client } from "../control/client.js";
import type { CaptureRequest } from "../control/messages.js";
import { NetnsError } from "../errors.js";
import type { Log } from "../policy/config.js";

/** What is told, of a capture here or at a server. */
type Told = Pick<CaptureSummary, "written" | "dropped"> & { readonly error: Error | string | null };

export interface CaptureFile {
  readonly fd: number;
  /** Where it comes to no capture, which would close it. */
  close(): void;
  /** Tells what was lost, and to the log how much was written. */
  tell(summary: Told, log: Log): void;
}

/**
 * Opens a file for a capture: what a network carries is nobody else's to read. Throws a NetnsError (USAGE).
 * @param option what named it, for people
 */
export function openCaptureFile(option: string, file: string): CaptureFile {
  let fd: number;
  try {
    fd = openSync(file, "w", 0o600);
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new NetnsError("USAGE", `${option} ${file}: cannot be written (${reason}); name a file in a folder of yours`);
  }
  return {
    fd,
    close: () => closeSync(fd),
    tell: ({ written, dropped, error }, log) => {
      if (error !== null)
        log.error(`the capture ${file} ends early: ${error instanceof Error ? error.message : error}`);
      if (dropped > 0)
        log.warn(`the capture ${file} lacks ${dropped} frames, which came faster than they were written`);
      log.info(`the capture ${file} has ${written} packets`);
    },
  };
}

/**
 * Has a server capture a sandbox that is about to join, from its first packet to its last. `begun` settles when it is under way, `ended`
 * with how it went; both reject with a NetnsError.
 */
export function requestCapture(
  client: Client,
  name: string,
  file: CaptureFile,
  { stays }: { stays: boolean },
): { readonly begun: Promise<void>; readonly ended: Promise<CaptureReport> } {
  const request: CaptureRequest = { name, awaits: true, stays, filter: null, split: false, snapLength: 0, count: 0 };
  let begin = () => {};
  const part = new Promise<void>((resolve) => {
    begin = resolve;
  });
  const ended = client.request("capture", { ...request }, [file.fd], () => begin()) as Promise<CaptureReport>; // by captures.ts
  const begun = Promise.race([part, ended.then(() => {})]);
  for (const each of [begun, ended]) each.catch(() => {}); // who waits for it hears of it
  return { begun, ended };
}
