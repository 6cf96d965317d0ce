/**
 * The contract between TypeScript and whatever moves the bytes: the native engine, or the simulated one of the tests.
 *
 * Theory of operation. An engine owns a slab of memory cut into slots, a set of links (TAP devices) and a set of
 * sockets. It runs in turns. In one turn it
 *
 *   collects   readiness, a burst of frames from the links, a burst of payload from the sockets, and describes each
 *              with one record in `events` (and, where an address belongs to it, in `eventAddresses`);
 *   calls      `process()`, once, which reads the records and writes records into `commands`;
 *   commits    the commands in order: sends payload to sockets, writes frames to links, drops acknowledged bytes.
 *
 * Nothing is copied at this boundary and nothing is allocated per record. What is rare (opening, connecting, listening,
 * splicing) is a direct method call instead, which answers at once with a socket number, or with a negative errno.
 *
 * Slots. The engine puts each frame and each payload into a slot of its own. During `process()` TypeScript may read and
 * write every slot that an event of this turn named, and the `spares` of this turn (the first SPARE_USED of them count as
 * taken). After the commit all of them go back to the engine by themselves; a slot whose payload a socket did not take
 * at once stays with the engine until it did. Nothing may be remembered of a slot from one turn to the next.
 * Behind the slots lies the room for small frames (CONTROL_AREA): TypeScript may write there as it likes, and all of it is
 * free again after each commit.
 *
 * Sockets are small numbers, used again after CLOSE or RESET, never before the commit that carried it.
 *
 * Every index, offset and length that TypeScript hands over is checked by the engine; a bad one throws out of the turn
 * (it is a bug on our side, never something that a packet can cause) and touches no memory.
 */

/** Bytes of one slot: a 64 KiB frame with every header that can stand before it, in whole pages. */
export const SLOT_SIZE = 69632;
/** Bytes before the payload in a slot that the engine filled from a socket: room for vnet (12), Ethernet (14), IP (40) and TCP (60) headers. */
export const HEADROOM = 128;
/** Bytes of the virtio-net header before each frame, in both directions (little-endian, `struct virtio_net_hdr_mrg_rxbuf`). */
export const VNET_HEADER = 12;
/** The longest payload that an engine reports in one record: what fits an IPv4 packet with its headers. */
export const MAX_PAYLOAD = 65483;
/** Bytes of the area for small frames, behind the last slot. */
export const CONTROL_AREA = 1 << 20;
/** Links at once; link numbers are below it. */
export const MAX_LINKS = 256;

/** Indexes into `control`. */
export enum Control {
  /** engine → process: records in `events`. */
  EventCount = 0,
  /** process → engine: records in `commands`. */
  CommandCount = 1,
  /** engine → process: slots in `spares`. */
  SpareCount = 2,
  /** process → engine: how many of the spares were taken, from index 0. */
  SpareUsed = 3,
  /** process → engine: milliseconds until process() must be called again even if nothing happens; -1: never. Kept from turn to turn until changed. */
  Deadline = 4,
  /** engine → process: slots that are free now: memory pressure. */
  FreeSlots = 5,
  /** process → engine: not 0: call process() again without sleeping. The engine clears it. */
  Again = 6,
  /** process → engine: not 0: call process() once more when there is nothing left to do, before sleeping. The engine clears it. */
  BeforeSleep = 7,
  /** engine → process: 1 in the turn that BeforeSleep asked for. */
  Last = 8,
}

/** Int32 words of one record in `events`: [kind, id, slot, length, a, b, c, d]. */
export const EVENT_STRIDE = 8;
/** Int32 words of one record in `commands`: [op, id, offset, length, a, b]. */
export const COMMAND_STRIDE = 6;
/**
 * Bytes of one record in `eventAddresses` and `commandAddresses` (at the index of the event or command): two endpoints,
 * first the other side's, then our own. See wire/address.ts for the layout of an endpoint.
 */
export const ADDRESS_STRIDE = 48;

export enum EventKind {
  /** id: link; slot, length: a frame with its vnet header, from the slot's first byte. */
  Frame = 1,
  /** id: link. The device is gone; there is nothing more to come. */
  LinkDown = 2,
  /** id: stream socket. connect() succeeded. */
  Connected = 3,
  /** id: stream socket; slot, length: payload at HEADROOM in the slot, next in the stream after what was reported before. The credit shrank by length. */
  Data = 4,
  /** id: stream socket. The peer will send no more, and all that it sent has been reported. Reported again after each Rewind once the end is reached again. */
  End = 5,
  /** id: stream socket; a: errno (a failed connect, a reset, a timeout); b: ICMP type, c: code of the report that ended a connect() with `hops`, else b is -1. Addresses: none, and who reported it. Nothing works on it any more; it still wants Close or Reset. */
  Failed = 6,
  /** id: stream socket. Its backlog, which was not 0, is 0, or fell below half of what it was when it was last reported. */
  Drained = 7,
  /** id: listener; a: the new stream socket (already Connected, its credit 0). Addresses: the client's, and none (localEndpoint() tells the one that it connected to). */
  Accepted = 8,
  /** id: datagram socket; slot, length: payload at HEADROOM; a: bytes of each datagram where several of the same source follow each other (the last may be shorter), else 0. Addresses: from, and the one that it came to. */
  Datagram = 9,
  /** id: datagram socket; slot, length: the beginning of the datagram that caused it; a: errno; b: ICMP type, c: code, d: info (next-hop MTU); b is -1 where the host itself refused (d is then the path's MTU, where that is too small). Addresses: the original destination, and who reported it (family 0: nobody). */
  DatagramFailed = 10,
  /** id: first socket, a: second socket, b: errno or 0. Both are closed already. */
  Spliced = 11,
}

export enum Op {
  /** id: link; offset, length: the frame, its vnet header first, anywhere in the slab. */
  Write = 1,
  /** id: stream socket; offset, length: payload within one slot of this turn. What the socket does not take now is kept and counted in its backlog. */
  Send = 2,
  /** id: datagram socket; offset, length: payload in the slab; a: bytes of each datagram where it holds several, else 0; b: see Path. Addresses: destination, and our own source (family 0: the socket's). */
  SendTo = 3,
  /** id: stream socket; a: bytes from the front of the stream that the sandbox acknowledged and that may be forgotten. */
  Consume = 4,
  /** id: stream socket; a: offset from the front of what was not consumed. Report the stream again from there. */
  Rewind = 5,
  /** id: stream socket; a: bytes that may be reported from now on (replaces the former value); b: at most so many in one record (≤ MAX_PAYLOAD). */
  Credit = 6,
  /** id: stream socket. shutdown(SHUT_WR) as soon as its backlog is sent. */
  Shutdown = 7,
  /** id: any socket. Close it as soon as its backlog is sent. No more events come from it. */
  Close = 8,
  /** id: any socket. Close it now, a stream with RST. No more events come from it. */
  Reset = 9,
}

/** Word `b` of Op.SendTo. */
export enum Path {
  /** These bits: TTL or hop limit; 0: the host's own. */
  Hops = 0xff,
  /** It may be fragmented, by routers too where that exists (IPv4). */
  Split = 0x100,
  /** It must not: what is too long for the path fails with EMSGSIZE and the path's MTU. Neither of both: as the socket's last one. */
  Whole = 0x200,
}

export interface EngineMemory {
  /** The slab: `slots` slots of SLOT_SIZE, then CONTROL_AREA. */
  readonly slab: ArrayBuffer;
  readonly slots: number;
  readonly control: Int32Array;
  /** Monotonic milliseconds at the start of the turn, with fractions, in [0]. */
  readonly clock: Float64Array;
  readonly events: Int32Array;
  readonly eventAddresses: Uint8Array;
  readonly commands: Int32Array;
  readonly commandAddresses: Uint8Array;
  readonly spares: Int32Array;
  /** Per socket: bytes handed over by Send that its kernel buffer has not taken yet. Only read. */
  readonly backlog: Int32Array;
}

export interface Engine {
  readonly memory: EngineMemory;
  /** The largest number of sockets at once; socket numbers are below it. */
  readonly maxSockets: number;

  /**
   * Takes the descriptor of a TAP (with a vnet header of VNET_HEADER bytes) or of a pair (openPair) and returns its link number. The
   * descriptor is the engine's from now on. `plain`: frames have no vnet header there; what is read gets one of zeros, and of what
   * is written it is left away, so that a frame must be complete.
   */
  addLink(fd: number, plain?: boolean): number;
  removeLink(link: number): void;

  /** New non-blocking stream socket (TCP_NODELAY), connecting to `remote`, from `local` if given (port 0: any), with TTL `hops` (0: the host's own). Endpoints as in wire/address.ts. Returns its number or -errno. */
  connect(remote: Uint8Array, local: Uint8Array | null, hops: number): number;
  /** The same with a socket made elsewhere (inside a namespace). The descriptor is the engine's from now on, also on failure. */
  connectWith(fd: number, remote: Uint8Array): number;
  /** Two stream sockets that are connected with each other (socketpair), their numbers in `out` (2 words). Both report Connected. Returns 0 or -errno. */
  pair(out: Int32Array): number;
  /** A listener, SO_REUSEADDR. Returns its number or -errno. IPv6 listeners are v6-only. */
  listen(local: Uint8Array, backlog: number): number;
  /** The same with one of openListeners() (native/binding.ts). The descriptor is the engine's from now on, also on failure. */
  listenWith(fd: number): number;
  /** A bound datagram socket (reports the address that each datagram came to; errors by IP_RECVERR). `local` null or port 0: any. Returns its number or -errno. */
  openDatagram(family: 4 | 6, local: Uint8Array | null): number;
  /** The same with a socket made elsewhere. `remote`: connect it there. */
  openDatagramWith(fd: number, remote: Uint8Array | null): number;
  /** An ICMP echo socket (SOCK_DGRAM, IPPROTO_ICMP or ICMPV6), used with SendTo and Datagram; payload: the ICMP message from its type on, its id replaced by the kernel. Returns its number or -errno. */
  openPing(family: 4 | 6, local: Uint8Array | null): number;
  /** Writes the socket's own endpoint (getsockname) into `out` (24 bytes). Returns 0 or -errno. */
  localEndpoint(socket: number, out: Uint8Array): number;
  /** Has the kernel ask a stream's peer from time to time whether it is still there (SO_KEEPALIVE); one that is not ends it as Failed. Accepted streams have it from the start. Returns 0 or -errno. */
  keepAlive(socket: number): number;
  /** Joins two connected stream sockets in the kernel, both directions, half-close and reset carried over; ends with one Spliced event. What was reported and not consumed of either is sent again from the front. */
  splice(first: number, second: number): void;
  /** Ends a splice by its first socket: both are aborted, and no Spliced event comes. Within a turn only after its events were read. */
  unsplice(first: number): void;
  /** True while the second socket of a splice may still have something for the first. */
  answers(first: number): boolean;

  /** Starts the turns on the event loop of this thread. An exception out of `process` stops the engine and is handed to `failed`. */
  start(process: () => void, failed: (error: Error) => void): void;
  /** Makes one more turn soon (something outside of a turn has to be carried out, such as a command after a direct call). */
  wake(): void;
  /** After this turn, gives the memory of what is free back to the kernel; it is there again when it is used. */
  trim(): void;
  /** Ends all turns and closes every socket and link. May be called from within a turn. */
  stop(): void;
  /** Counters by name, bytes and calls since the start. */
  counters(): Record<string, number>;
}
