/**
 * A capture: frames of a network's links, as a pcapng stream.
 *
 * Theory of operation. The network tells each frame as it passes (link/capture). One that the filter wants is copied, its
 * checksum completed (the kernels on both sides of a TAP leave that to each other), into one of two buffers; the other one is
 * being written meanwhile, and when that is done they change places. So a reader that is slow, or stands still, costs frames
 * of the capture, which are counted, and never those of the network.
 *
 * Super-frames are split into the segments that a cable would have carried, where that is asked for. Else TCP's stay whole,
 * as a capture on the TAP itself shows them: fewer, longer packets, and less to do. Those of UDP are always split, since several
 * datagrams in one are none that anybody sent.
 *
 * Each member is an interface of the capture with its name, from its first frame on. A frame's time is that of the turn in which
 * it was read or written. At the end stand, for each interface, how many frames were seen, wanted, and lost.
 *
 * Bounds: two buffers; INTERFACES interfaces, the frames of more are lost. A super-frame of which there is no room is lost whole.
 */
import type { CaptureSink, Direction } from "../link/capture.js";
import { VNET_HEADER } from "../native/engine.js";
import { Segmenter } from "../wire/segmentation.js";
import type { CaptureFilter } from "./filter.js";
import {
  interfaceDescription,
  interfaceStatistics,
  PACKET_BYTES,
  packetBlock,
  sectionHeader,
  writePacketBlock,
} from "./pcapng.js";

/** Where a capture goes. */
export interface CaptureOutput {
  /** Writes all of it; `done` is called once, later, and until then the bytes stay as they are. No two writes at once. */
  write(bytes: Uint8Array, done: (error: Error | null) => void): void;
  /** Why something of it is lost after all; null: nothing is. */
  close(): Error | null;
}

export interface RecorderOptions {
  /** The network's slab. */
  readonly slab: ArrayBuffer;
  readonly output: CaptureOutput;
  /** Whose frames a link's are; null: not to be captured. Asked for each frame. */
  readonly nameOf: (link: number) => string | null;
  /** What is to be added to the monotonic clock's milliseconds for those since 1970. */
  readonly epoch: number;
  /** Default: everything. */
  readonly filter?: CaptureFilter | null;
  /** Default: false. */
  readonly split?: boolean;
  /** The most bytes of a packet that are kept; 0, the default: all. */
  readonly snapLength?: number;
  /** Ends after so many packets; 0, the default: never by itself. */
  readonly count?: number;
  /** Bytes of each of the buffers. Default: 16 MiB, which stay untouched while the reader keeps up. */
  readonly buffer?: number;
}

/** How it went. */
export interface CaptureSummary {
  /** Frames that were seen, those that the filter wanted, packets that were written, and frames that were lost. */
  readonly seen: number;
  readonly accepted: number;
  readonly written: number;
  readonly dropped: number;
  /** Why the output failed; null: it did not. */
  readonly error: Error | null;
}

interface Interface {
  readonly number: number;
  seen: number;
  accepted: number;
  dropped: number;
}

const BUFFER = 16 << 20;
const INTERFACES = 1024;
/** Bytes of the statistics of one. */
const STATISTICS = interfaceStatistics(0, { start: 0n, end: 0n, seen: 0, accepted: 0, dropped: 0 }).length;
const APPLICATION = "netns-rootless";

export class Recorder implements CaptureSink {
  /** Settles when the last byte is written, or could not be; never rejects. */
  readonly ended: Promise<CaptureSummary>;
  readonly #options: RecorderOptions;
  readonly #view: DataView;
  readonly #segmenter: Segmenter;
  readonly #snapLength: number;
  readonly #interfaces = new Map<string, Interface>();
  #bytes: Uint8Array;
  #into: DataView;
  #used = 0;
  #other: Uint8Array;
  #writing = false;
  #flushing = false;
  /** Nothing more is taken; the statistics are in the buffer; all is done. */
  #finished = false;
  #closing = false;
  #isOver = false;
  #written = 0;
  /** Frames lost because their interface could not be described. */
  #unnamed = 0;
  #error: Error | null = null;
  #settle: (summary: CaptureSummary) => void = () => {};
  readonly #epoch: number;
  readonly #start: bigint;
  /** The last time of the monotonic clock, and what it is in a packet's block. */
  #now: number;
  #time: bigint;
  #timeHigh = 0;
  #timeLow = 0;

  /** @param now milliseconds of the monotonic clock */
  constructor(options: RecorderOptions, now: number) {
    const { slab, buffer = BUFFER } = options;
    this.#options = options;
    this.#epoch = options.epoch;
    this.#snapLength = options.snapLength || Number.MAX_SAFE_INTEGER;
    this.#view = new DataView(slab);
    this.#segmenter = new Segmenter(new Uint8Array(slab));
    this.#bytes = new Uint8Array(buffer);
    this.#other = new Uint8Array(buffer);
    this.#into = new DataView(this.#bytes.buffer);
    this.#start = nanoseconds(now, this.#epoch);
    this.#now = now;
    this.#time = this.#start;
    this.#setTime(now);
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.#append(sectionHeader(APPLICATION));
    this.#flushSoon();
  }

  frame(link: number, direction: Direction, offset: number, length: number, now: number): void {
    if (this.#finished || length < VNET_HEADER) return;
    const name = this.#options.nameOf(link);
    if (name === null) return;
    const from = this.#interface(name);
    if (from === null) {
      this.#unnamed++;
      return;
    }
    from.seen++;
    const { filter } = this.#options;
    if (filter && !filter.matches(this.#view, offset + VNET_HEADER, offset + length)) return;
    from.accepted++;
    if (now !== this.#now) this.#setTime(now);
    this.#record(from, direction, offset, length);
    this.#flushSoon();
  }

  /** Ends the capture: writes what is left of it, and how it went. May be called again. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    this.#flush();
  }

  #record(from: Interface, direction: Direction, offset: number, length: number): void {
    const segmenter = this.#segmenter;
    const frames = segmenter.read(offset, length);
    if (frames > 1 && (this.#options.split || segmenter.isDatagrams)) {
      if (!this.#hasRoom(packetBlock(segmenter.longest) * frames)) {
        from.dropped++;
        return;
      }
      for (let i = 0; i < frames && !this.#finished; i++) {
        this.#packet(from, direction, segmenter.write(i, this.#bytes, this.#into, this.#used + PACKET_BYTES));
      }
      return;
    }
    if (!this.#hasRoom(packetBlock(length))) {
      from.dropped++;
      return;
    }
    // A virtio header that lies leaves the frame as it is: so its sender made it.
    this.#packet(from, direction, segmenter.writeWhole(this.#bytes, this.#into, this.#used + PACKET_BYTES));
  }

  /** Closes the block of a packet of `length` bytes that stand in their place. */
  #packet(from: Interface, direction: Direction, length: number): void {
    const captured = Math.min(length, this.#snapLength);
    const { number } = from;
    this.#used += writePacketBlock(
      this.#into,
      this.#used,
      number,
      this.#timeHigh,
      this.#timeLow,
      captured,
      length,
      direction,
    );
    this.#written++;
    if (this.#written === this.#options.count) this.finish();
  }

  /** True where the buffer holds so many bytes more, beside what the end of the capture needs. */
  #hasRoom(length: number): boolean {
    return this.#used + length <= this.#bytes.length - STATISTICS * this.#interfaces.size;
  }

  /** Null where there is no room to describe it: its frame is lost then. */
  #interface(name: string): Interface | null {
    const known = this.#interfaces.get(name);
    if (known) return known;
    const { filter, snapLength = 0 } = this.#options;
    const description = interfaceDescription(name, snapLength, filter?.text ?? "");
    if (this.#interfaces.size >= INTERFACES || !this.#hasRoom(description.length + STATISTICS)) return null;
    const made = { number: this.#interfaces.size, seen: 0, accepted: 0, dropped: 0 };
    this.#interfaces.set(name, made);
    this.#append(description);
    return made;
  }

  #append(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #setTime(now: number): void {
    this.#now = now;
    this.#time = nanoseconds(now, this.#epoch);
    this.#timeHigh = Number(this.#time >> 32n);
    this.#timeLow = Number(this.#time & 0xffffffffn);
  }

  /** After this turn, so that a burst is one write; a frame that comes alone is seen at once. */
  #flushSoon(): void {
    if (this.#flushing || this.#writing || this.#finished) return;
    this.#flushing = true;
    setImmediate(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  /** Hands the buffer over, if nothing is on its way; the statistics too, when it is the last. */
  #flush(): void {
    if (this.#writing || this.#isOver) return;
    if (this.#finished && !this.#closing) {
      this.#closing = true;
      for (const each of this.#interfaces.values()) this.#append(this.#statistics(each));
    }
    if (this.#used === 0) {
      if (this.#closing) this.#end();
      return;
    }
    const full = this.#bytes;
    const length = this.#used;
    this.#bytes = this.#other;
    this.#into = new DataView(this.#bytes.buffer);
    this.#other = full;
    this.#used = 0;
    this.#writing = true;
    this.#options.output.write(full.subarray(0, length), (error) => {
      this.#writing = false;
      if (error !== null) {
        this.#error = error;
        this.#finished = true;
        this.#end();
      } else if (this.#closing || this.#finished || this.#used > 0) this.#flush();
    });
  }

  #statistics({ number, seen, accepted, dropped }: Interface): Uint8Array {
    return interfaceStatistics(number, { start: this.#start, end: this.#time, seen, accepted, dropped });
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const failure = this.#options.output.close();
    this.#error ??= failure;
    // Whoever still knows of it need not keep its buffers.
    this.#bytes = this.#other = new Uint8Array();
    this.#into = new DataView(this.#bytes.buffer);
    let [seen, accepted, dropped] = [this.#unnamed, this.#unnamed, this.#unnamed];
    for (const each of this.#interfaces.values()) {
      seen += each.seen;
      accepted += each.accepted;
      dropped += each.dropped;
    }
    this.#settle({ seen, accepted, written: this.#written, dropped, error: this.#error });
  }
}

/** Nanoseconds since 1970. A double holds milliseconds of this size to some hundred nanoseconds only. */
function nanoseconds(now: number, epoch: number): bigint {
  const [whole, wholeEpoch] = [Math.floor(now), Math.floor(epoch)];
  const rest = Math.round((now - whole + (epoch - wholeEpoch)) * 1e6);
  return BigInt(whole + wholeEpoch) * 1_000_000n + BigInt(rest);
}
