/**
 * Links that take frames as they are on a cable: a TAP without virtio header, whose other end knows no offloads.
 *
 * Theory of operation. Everybody writes frames to such a link as to any other, super-frames and open checksums too. They are
 * only noted; when the turn is over, and nobody changes them any more, `endOfTurn` makes frames of them that are complete: an
 * open checksum is computed in place, which leaves the frame as good for other links that it may go to, and the segments of a
 * super-frame are written to what the turn has left of its spare slots, then of the control area.
 *
 * Bounds: NOTED frames of a turn; the memory left, which is more than one turn's payload needs while nobody else uses it. What
 * finds no room, lies in its virtio header, or is longer than the MTU is dropped and counted (`plain.*`).
 */
import type { Counters } from "../flow/counters.js";
import { HEADROOM, SLOT_SIZE, VNET_HEADER } from "../native/engine.js";
import { ETHERNET_HEADER } from "../wire/ethernet.js";
import { Segmenter } from "../wire/segmentation.js";
import { writePlainVnet } from "../wire/vnet.js";

const NOTED = 8192;
const STRIDE = 3;
/** A place for many frames: what a spare slot has. */
const BATCH = SLOT_SIZE - HEADROOM;

export interface PlainLinksOptions {
  /** The engine's slab. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly counters: Counters;
  /** The largest IP packet. */
  readonly mtu: number;
  /** A place for `length` bytes, at most BATCH, until the end of this turn; -1 when there is none. */
  place(length: number): number;
  /** Writes a complete frame, behind a virtio header of zeros. */
  write(link: number, offset: number, length: number): void;
}

export class PlainLinks {
  readonly #options: PlainLinksOptions;
  readonly #segmenter: Segmenter;
  readonly #noted = new Int32Array(NOTED * STRIDE);
  #count = 0;
  /** What is left of the place for segments. */
  #room = 0;
  #roomEnd = 0;

  constructor(options: PlainLinksOptions) {
    this.#options = options;
    this.#segmenter = new Segmenter(options.bytes);
  }

  /** Takes a frame of this turn, its virtio header first, for a plain link. */
  note(link: number, offset: number, length: number): void {
    if (this.#count === NOTED) {
      this.#options.counters.add("plain.no_room");
      return;
    }
    const at = this.#count * STRIDE;
    this.#noted[at] = link;
    this.#noted[at + 1] = offset;
    this.#noted[at + 2] = length;
    this.#count++;
  }

  /** Writes all that was noted, in that order. */
  endOfTurn(): void {
    const end = this.#count * STRIDE;
    this.#room = 0;
    this.#roomEnd = 0;
    for (let at = 0; at < end; at += STRIDE) this.#send(this.#noted[at], this.#noted[at + 1], this.#noted[at + 2]);
    this.#count = 0;
  }

  #send(link: number, offset: number, length: number): void {
    const { counters, mtu, bytes, view } = this.#options;
    const segmenter = this.#segmenter;
    const frames = segmenter.read(offset, length);
    if (frames === 0) {
      counters.add("plain.bad_offload");
      return;
    }
    if (segmenter.longest > ETHERNET_HEADER + mtu) {
      counters.add("plain.too_long");
      return;
    }
    if (segmenter.complete()) {
      this.#options.write(link, offset, length);
      return;
    }
    for (let i = 0; i < frames; i++) {
      const at = this.#place(VNET_HEADER + segmenter.longest);
      if (at < 0) {
        counters.add("plain.no_room", frames - i);
        return;
      }
      writePlainVnet(view, at);
      const size = VNET_HEADER + segmenter.write(i, bytes, view, at + VNET_HEADER);
      this.#room = at + size;
      this.#options.write(link, at, size);
    }
  }

  /** Room for one frame of at most `length` bytes, or -1. It is taken when #room is moved behind it. */
  #place(length: number): number {
    if (this.#room + length <= this.#roomEnd) return this.#room;
    const place = this.#options;
    let at = place.place(BATCH);
    let size = BATCH;
    if (at < 0) {
      size = length;
      at = place.place(size);
    }
    if (at < 0) return -1;
    this.#room = at;
    this.#roomEnd = at + size;
    return at;
  }
}
