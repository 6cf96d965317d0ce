/** Who watches the frames of a network. Network.capture() attaches one. */

/** Which way a frame goes, seen from the sandbox. */
export enum Direction {
  Out = 0,
  In = 1,
}

export interface CaptureSink {
  /**
   * One frame of a link, in the order of reading or writing: those out of the sandboxes at the beginning of a turn, before anybody
   * has looked at them, those into them at its end, when nobody changes them any more. The bytes, the virtio header first, are at
   * [offset, offset + length) of the network's slab, to be read during the call only.
   * @param now the turn's time, milliseconds of the monotonic clock
   */
  frame(link: number, direction: Direction, offset: number, length: number, now: number): void;
}
