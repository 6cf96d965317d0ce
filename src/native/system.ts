/** The addon's part for small things: system calls that Node has not, or loads much for (native/engine/system.cc). */
export interface SystemBinding {
  /** close(2), for descriptors above 2. */
  closeFd(fd: number): void;
  /**
   * waitpid(2): blocks until a child has ended that Node does not know of. Returns its exit code, or -n where signal n ended it;
   * 0 where there is no such child.
   */
  waitForChild(pid: number): number;
  /** getrandom(2): as node:crypto has it, which takes some milliseconds to load. */
  fillRandom(bytes: Uint8Array): void;
  /** Collects all garbage of this thread's heap now, some milliseconds in a heap like ours, and makes the heap as small as it can be. */
  collectGarbage(): void;
}
