/** One connection on a rig, played by hand: what the sandbox says next, and what it hears. */
import type { FakeSocket, RigOptions, Wire } from "./rig.js";
import { ACK, FIN, Rig, SANDBOX, SANDBOX_PORT, SERVER, SERVER_PORT, SYN } from "./rig.js";

export interface OpenOptions extends RigOptions {
  /** The sandbox's first sequence number, segment size, window (not scaled) and scale (-1: none). */
  readonly iss?: number;
  readonly mss?: number;
  readonly window?: number;
  readonly scale?: number;
  /** The sandbox acknowledges selectively. */
  readonly sack?: boolean;
}

export class Conversation {
  readonly rig: Rig;
  readonly socket: FakeSocket;
  /** Next sequence number of the sandbox, and the one that it expects. */
  seq: number;
  ack: number;
  window: number;

  private constructor(rig: Rig, socket: FakeSocket, seq: number, ack: number, window: number) {
    this.rig = rig;
    this.socket = socket;
    this.seq = seq;
    this.ack = ack;
    this.window = window;
  }

  /** An outbound connection, established; nothing is left in `rig.out`. */
  static open(options: OpenOptions = {}): Conversation {
    const { iss = 5000, mss = 1460, window = 64000, scale = 7, sack = false } = options;
    const rig = new Rig(options);
    rig.turn([{ flags: SYN, seq: iss, mss, window: 64000, scale, sackPermitted: sack }]);
    const socket = rig.host.get(0);
    connect(rig, socket);
    const [answer] = rig.take();
    const conversation = new Conversation(rig, socket, (iss + 1) >>> 0, (answer.seq + 1) >>> 0, window);
    conversation.say({});
    rig.take();
    return conversation;
  }

  /** An inbound connection, established. */
  static accept(options: OpenOptions = {}): Conversation {
    const { iss = 5000, mss = 1460, window = 64000, scale = 7, sack = false } = options;
    const rig = new Rig(options);
    const socket = knock(rig).socket;
    const [syn] = rig.take();
    rig.turn([{ flags: SYN | ACK, seq: iss, ack: syn.seq + 1, mss, window: 64000, scale, sackPermitted: sack }]);
    const conversation = new Conversation(rig, socket, (iss + 1) >>> 0, (syn.seq + 1) >>> 0, window);
    conversation.say({});
    rig.take();
    return conversation;
  }

  /** A segment with the sandbox's present numbers, except for what `fields` says. */
  segment(fields: Partial<Wire>): Partial<Wire> {
    return { flags: ACK, seq: this.seq, ack: this.ack, window: this.window, ...fields };
  }

  /** Sends it in a turn of its own; its numbers move on if it was next. Returns what was answered. */
  say(fields: Partial<Wire>): Wire[] {
    const segment = this.segment(fields);
    this.rig.turn([segment]);
    if (segment.seq === this.seq) {
      this.seq = (this.seq + (segment.payload?.length ?? 0) + ((segment.flags ?? 0) & FIN)) >>> 0;
    }
    return this.rig.take();
  }

  /** What came to the sandbox, in order, taken as received: `ack` moves on. */
  hear(): Uint8Array {
    const bytes: number[] = [];
    for (const segment of this.rig.take()) {
      if (segment.seq !== this.ack) continue;
      bytes.push(...segment.payload);
      this.ack = (this.ack + segment.payload.length + (segment.flags & FIN)) >>> 0;
    }
    return Uint8Array.from(bytes);
  }

  /** The host program writes, and a turn carries it. Returns the segments. */
  write(bytes: Uint8Array): Wire[] {
    this.socket.write(bytes);
    this.rig.turn();
    return this.rig.take();
  }
}

export function connect(rig: Rig, socket: FakeSocket): void {
  socket.pending.push(() => socket.handler.connected(socket.id));
  rig.turn();
}

export function fail(rig: Rig, socket: FakeSocket, errno: number): void {
  socket.pending.push(() => {
    socket.gone = "failed";
    socket.handler.failed(socket.id, errno);
  });
  rig.turn();
}

/** Hands an accepted socket to TCP; `log` tells what became of it. */
export function knock(rig: Rig, link = 0): { socket: FakeSocket; log: string[]; taken: boolean } {
  const log: string[] = [];
  const socket = rig.host.make({ connected() {}, data() {}, end() {}, failed() {}, drained() {} });
  const taken = rig.tcp.accept({
    socket: socket.id,
    link,
    client: SERVER,
    clientPort: SERVER_PORT,
    server: SANDBOX,
    serverPort: SANDBOX_PORT,
    refused: (id) => log.push(`refused ${id}`),
    established: (id) => log.push(`established ${id}`),
  });
  rig.turn();
  return { socket, log, taken };
}
