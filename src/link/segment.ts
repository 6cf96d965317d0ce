/**
 * A port of a network's switch that is no TAP: the way to members elsewhere, such as over VXLAN.
 *
 * Frames have their virtio header first (VNET_HEADER bytes), as on every link, and lie in memory of this turn. Network.addSegment() attaches one.
 */
/** Segments at once. Their numbers among the links are from MAX_LINKS on. */
export const MAX_SEGMENTS = 8;

export interface SegmentPort {
  /**
   * Takes a frame for hardware addresses that no member has, or for a group. Its bytes are another's: they must not be changed.
   * What relays from a member are complete; what the stack itself sends may be completed until endOfTurn(), but not change its length.
   */
  frame(offset: number, length: number): void;
  /** All frames of this turn have been told; called once in each turn in which there were any. */
  endOfTurn(): void;
}

/** The switch, as a segment port sees it. */
export interface Segment {
  /** Its number among the links. */
  readonly link: number;
  /**
   * Hands in a frame from elsewhere, within a turn: at [offset, offset + length) in a slot of this turn. It may speak in the name of
   * nobody here, and is told to members only. Its virtio header is the caller's word: it must be zero where the frame came from another machine.
   */
  deliver(offset: number, length: number): void;
  /** Detaches the port. */
  remove(): void;
}
