/** The addon's part for the launcher: packets and descriptors over a SOCK_SEQPACKET socket (native/engine/channel.cc). */
export interface Channel {
  /** The other end, for a child process; -1 where it was there before. Close it here once the child has it: only then its end is seen. */
  readonly peer: number;
  /** Sends one packet, which must not be empty. Returns 0 or -errno; never blocks. */
  send(bytes: Uint8Array): number;
  /** Ends the channel; nothing is reported any more. May be called again. */
  close(): void;
}

export interface ChannelBinding {
  /**
   * Opens a channel, which keeps the event loop alive until it is closed.
   * @param message each packet, at most 8,208 bytes, with the descriptors that came with it, which are the callee's
   * @param closed once, when the peer has ended; the channel is closed then
   * @param own a SOCK_SEQPACKET socket whose other end somebody has already; it is the channel's from now on. Default: a new pair
   */
  openChannel(message: (bytes: Uint8Array, fds: number[]) => void, closed: () => void, own?: number): Channel;
}
