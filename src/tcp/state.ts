/** The states of RFC 9293, 3.3.2, seen from our end (the sandbox is the peer), in the order of a connection's life. */
export enum State {
  Closed = 0,
  /** Before SYN-RECEIVED: the sandbox's SYN waits until the host has connected. */
  Dialing = 1,
  SynSent = 2,
  SynReceived = 3,
  Established = 4,
  /** The host has ended its stream, we have sent FIN; it is not acknowledged / it is. */
  FinWait1 = 5,
  FinWait2 = 6,
  /** The sandbox has sent FIN; the host's stream goes on. */
  CloseWait = 7,
  Closing = 8,
  LastAck = 9,
  TimeWait = 10,
}

/** The sandbox may still send data. */
export function receiving(state: State): boolean {
  return state >= State.Established && state <= State.FinWait2;
}

/** We have data or a FIN to send, or to send again. */
export function sending(state: State): boolean {
  return state >= State.Established && state <= State.LastAck && state !== State.FinWait2;
}
