/** A capture of a network that is running, from its beginning to its end. */
import type { CaptureSink } from "../link/capture.js";
import type { CaptureFilter } from "./filter.js";
import { captureOutput } from "./output.js";
import { type CaptureSummary, Recorder } from "./recorder.js";

/** What of a network a capture needs. */
export interface Captured {
  readonly slab: ArrayBuffer;
  /** Network.capture(). */
  capture(sink: CaptureSink): () => void;
}

export interface CaptureWishes {
  /** Where it goes; the capture's from now on. */
  readonly fd: number;
  /** The name of the interface that a link's frames are shown at; null: they are not captured. */
  readonly nameOf: (link: number) => string | null;
  readonly filter?: CaptureFilter | null;
  readonly split?: boolean;
  /** Bytes of a packet that are kept, packets after which it ends; 0: all, never. */
  readonly snapLength?: number;
  readonly count?: number;
}

export interface RunningCapture {
  /** Settles when all is written, for whatever reason it ended. Never rejects. */
  readonly ended: Promise<CaptureSummary>;
  /** Ends it. What was captured is still written. */
  stop(): Promise<CaptureSummary>;
}

/** Throws what fstat(2) does of a descriptor that is none. */
export function startCapture(network: Captured, wishes: CaptureWishes): RunningCapture {
  const { fd, ...options } = wishes;
  const monotonic = Number(process.hrtime.bigint()) / 1e6;
  const epoch = performance.timeOrigin + performance.now() - monotonic;
  const recorder = new Recorder({ ...options, slab: network.slab, output: captureOutput(fd), epoch }, monotonic);
  const detach = network.capture(recorder);
  const ended = recorder.ended.finally(detach);
  return {
    ended,
    stop() {
      recorder.finish();
      return ended;
    },
  };
}
