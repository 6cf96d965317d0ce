/**
 * The addon's part for talking to other processes of ours: packets and descriptors over SOCK_SEQPACKET sockets
 * (native/engine/channel.cc), and such sockets at a path (native/engine/listener.cc).
 */
export interface Channel {
  /** The other end, for a child process; -1 where it was there before. Close it here once the child has it: only then its end is seen. */
  readonly peer: number;
  /**
   * Sends one packet, which must not be empty, of at most 65,536 bytes; never blocks.
   * @param fds at most 32 descriptors that go with it; they stay the caller's too
   * @returns 0 or -errno: -EAGAIN where the peer does not read what is under way already, and nothing was sent; -EMSGSIZE;
   *   -EBADF, -ETOOMANYREFS because of the descriptors; -EPIPE where the channel has ended
   */
  send(bytes: Uint8Array, fds?: readonly number[]): number;
  /** Calls `callback` once, soon, when there is room to send again. A later call takes the place of an earlier one; the end of the channel drops it. */
  whenWritable(callback: () => void): void;
  /** Ends the channel; nothing is reported any more. May be called again. */
  close(): void;
}

/** A socket at a path that others may connect to. It keeps the event loop alive until it is closed. */
export interface ChannelListener {
  /** Ends it; nobody is accepted any more. The file stays. May be called again. */
  close(): void;
}

/** Who the other end of a socket is, as the kernel says: at the time when it connected, or began to listen. */
export interface PeerCredentials {
  /** 0 where it is not of a PID namespace that this process sees. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

export interface ChannelBinding {
  /**
   * Opens a channel, which keeps the event loop alive until it is closed. Throws an Error (with `code`) where that is not possible;
   * `own` is the caller's then.
   * @param message each packet, at most 65,536 bytes, with the descriptors that came with it, which are the callee's
   * @param closed once, when the peer has ended, or has sent a longer packet; the channel is closed then
   * @param own a SOCK_SEQPACKET socket whose other end somebody has already; it is the channel's from now on. Default: a new pair
   */
  openChannel(message: (bytes: Uint8Array, fds: number[]) => void, closed: () => void, own?: number): Channel;
  /**
   * Listens at a path of at most 107 bytes, where it makes a file of mode 0600.
   * @param accepted each connection: a non-blocking descriptor, the callee's (for `own`), and the user and process that connected
   * @returns -errno where it cannot: -EADDRINUSE where there is a file already, whoever left it; -ENAMETOOLONG
   */
  listenChannel(path: string, accepted: (fd: number, uid: number, pid: number) => void): ChannelListener | number;
  /**
   * Connects to such a path. Returns a non-blocking descriptor (for `own`), or -errno: -ENOENT; -ECONNREFUSED where nobody listens
   * any more; -EAGAIN where too many wait to be accepted.
   */
  connectChannel(path: string): number;
  /** Who is at the other end of a Unix socket; -errno where it is none. */
  peerCredentials(fd: number): PeerCredentials | number;
}
