/** What Node's own modules do too, but take milliseconds to load for (native/engine/system.cc). */
export interface SystemBinding {
  /**
   * Starts a program with our stdin, stdout and stderr and a descriptor of ours as its descriptor 3, all signals as at the
   * start of a program. Throws an Error with the `code` of what failed (`ENOENT`, `E2BIG`).
   * @param args with the program's own name first
   * @param env `NAME=value` each
   * @returns its process id, which is taken until reap()
   */
  spawn(path: string, args: readonly string[], env: readonly string[], fd: number): number;
  /** Waits for the end of a child, which must be near, since everything else waits too: its exit code, or -n where signal n ended it; 0 where the kernel does not keep it. */
  reap(pid: number): number;
  /** Fills all of it with random bytes of the kernel's. */
  fillRandom(bytes: Uint8Array): void;
}
