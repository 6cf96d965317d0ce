/** The addon's part for small things: system calls that Node has not, or loads much for (native/engine/system.cc, execute.cc). */

/** What prepareTap() found. */
export enum TapFeature {
  /** A virtio header stands before each frame; without it, the link is a plain one. */
  Header = 1,
  /** The kernel takes UDP super-frames. */
  Uso = 2,
}

export interface SystemBinding {
  /** close(2), for descriptors above 2. */
  closeFd(fd: number): void;
  /**
   * waitpid(2): blocks until a child has ended that Node does not know of. Returns its exit code, or -n where signal n ended it;
   * 0 where there is no such child.
   */
  waitForChild(pid: number): number;
  /**
   * Makes a TAP of somebody else's ready to be a link: a virtio header of VNET_HEADER bytes and all offloads, where it has such
   * a header. Returns bits of TapFeature, or -errno; EINVAL: it is no TAP. That it was made with IFF_NO_PI cannot be seen.
   */
  prepareTap(fd: number): number;
  /** Number of an interface of this name; 0: there is none. Without the netlink socket of os.networkInterfaces(). */
  interfaceIndex(name: string): number;
  /** True where nobody reads any more what is written to a pipe or socket. Does not block. */
  hasReaderGone(fd: number): boolean;
  /** getrandom(2): as node:crypto has it, which takes some milliseconds to load. */
  fillRandom(bytes: Uint8Array): void;
  /** Sends one packet on a socket that is connected and above 2. Returns 0 or -errno; never blocks. */
  sendPacket(fd: number, bytes: Uint8Array): number;
  /**
   * Takes one packet from a socket above 2. Returns its length or -errno: -EAGAIN where there is none now, -EMSGSIZE where it was
   * longer than `into`, and is lost. Never blocks.
   */
  receivePacket(fd: number, into: Uint8Array): number;
  /**
   * Calls back once, when a descriptor hangs up or fails (poll(2)'s POLLHUP and POLLERR): the other end of a pipe or socket was
   * closed. Keeps the event loop alive until then; the descriptor stays the caller's. Returns 0, or -errno: EBADF where it is not
   * open, EPERM for a file, which never hangs up.
   */
  watchHangup(fd: number, hungUp: () => void): number;
  /**
   * From now on V8's compiler, that of all threads, takes a function that ran for some thousand bytes of its code, where it usually
   * waits until there were tens of thousands. Does nothing where this is not to be had.
   */
  compileSooner(): void;
  /** Collects all garbage of this thread's heap now, some milliseconds in a heap like ours, and makes the heap as small as it can be. */
  collectGarbage(): void;
  /**
   * Lets go of the pages of all programs and libraries of this process that are as in their files: they come back from the page cache, one
   * by one, when they are used. Where Node has put its code elsewhere (`--use-largepages`), that stays.
   */
  forgetCode(): void;
  /**
   * flock(2), exclusive; closing the descriptor unlocks. Returns 0 or -errno, -EAGAIN where another one has the lock.
   * @param wait try for some 4 ms, in which nothing else happens here; who wants to wait longer tries again after a pause
   */
  lockFile(fd: number, wait: boolean): number;
  /**
   * execve(2): this process becomes another program, with our standard input, output and error, and nothing else of ours: no other
   * descriptor, no thread, no signal that is ignored or blocked. Returns -errno where it cannot; then all goes on.
   * @param args what comes behind its name, which is the path
   * @param env `NAME=value`
   */
  execute(path: string, args: readonly string[], env: readonly string[]): number;
  /**
   * Gives up, for good and for all threads, what a running network does not need (native/engine/confine.cc). Returns 0, or -errno where
   * the kernel does not let us; then nothing has changed.
   */
  confine(): number;
  /** Whether confine() can work here: 0 or -errno. */
  canConfine(): number;
  /**
   * Sends a message to a broker (src/host/broker.ts) and waits for its answer. Returns that, or -errno; -ETIMEDOUT after `milliseconds`.
   */
  askBroker(channel: number, question: Uint8Array, milliseconds: number): Uint8Array | number;
}
