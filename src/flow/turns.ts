/**
 * The way into a turn for what happens outside of one: the answer of a promise, a timer of Node's, a user's call.
 * Sending needs the slots of a turn (see native/engine.ts), so such code hands over what it wants to do.
 */
export interface Turns {
  /**
   * Runs `action` at the beginning of the next turn, which begins at once if the loop is idle. In the order of the calls.
   * When no turn comes any more, `dropped` runs instead: what was meant for the turn is to be given back.
   */
  enter(action: () => void, dropped?: () => void): void;
}
