/**
 * Sockets towards the host: what a protocol may do with them, and who hears of what happens on them.
 *
 * `HostSockets` (host-sockets.ts) is the one implementation: it writes command records and hands each event record of a
 * turn to the handler that owns the socket. The tests have another engine below it, not another implementation.
 */
import type { Endpoint } from "../wire/address.js";

/** Called during a turn, with offsets into the engine's slab that are valid until the turn's end. */
export interface StreamHandler {
  connected(socket: number): void;
  /** `length` bytes at `offset`, in front of which HEADROOM bytes are free to write headers into. */
  data(socket: number, offset: number, length: number): void;
  end(socket: number): void;
  /** The socket is of no more use; it has been given back already. `errno` as in errno(3). */
  failed(socket: number, errno: number, report?: Report): void;
  drained(socket: number): void;
}

/** An ICMP error that ended a connect(): its type and code, and at `at + 24` of `addresses` who sent it. */
export interface Report {
  readonly type: number;
  readonly code: number;
  readonly addresses: Uint8Array;
  readonly at: number;
}

export interface DatagramHandler {
  /** `segment`: bytes of each datagram if several follow each other, else 0. `addresses` at `at`: from, to (see ADDRESS_STRIDE). */
  datagram(socket: number, offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void;
  /** `offset`, `length`: the beginning of the datagram that failed. `type` is -1 where the host itself refused. `info`: the path's MTU, if that is the matter. */
  datagramFailed(
    socket: number,
    errno: number,
    type: number,
    code: number,
    info: number,
    offset: number,
    length: number,
    addresses: Uint8Array,
    at: number,
  ): void;
}

export interface ListenHandler {
  /** `socket` wants own(), close() or reset() now. */
  accepted(listener: number, socket: number, addresses: Uint8Array, at: number): void;
}

/** The numbers that are returned are sockets (≥ 0) or -errno. */
export interface Streams {
  /** `hops`: TTL or hop limit; 0: the host's own. */
  connect(remote: Endpoint, local: Endpoint | null, handler: StreamHandler, hops?: number): number;
  connectWith(fd: number, remote: Endpoint, handler: StreamHandler): number;
  /** Two sockets that are connected with each other, for a service of ours: what one sends is the other's data. Both hear connected(). */
  pair(first: StreamHandler, second: StreamHandler): readonly [number, number] | number;
  listen(local: Endpoint, backlog: number, handler: ListenHandler): number;
  /** The same with a listener made elsewhere. */
  listenWith(fd: number, handler: ListenHandler): number;
  /** Makes `handler` the one who hears of an accepted socket. */
  own(socket: number, handler: StreamHandler): void;
  /** Payload in a slot of this turn. */
  send(socket: number, offset: number, length: number): void;
  /** Sends bytes that are not in the slab, through a spare slot. False when this turn has no spare left. */
  sendCopy(socket: number, bytes: Uint8Array): boolean;
  /** Bytes sent before this turn that the kernel has not taken yet, together with those sent in this turn. */
  backlog(socket: number): number;
  consume(socket: number, bytes: number): void;
  rewind(socket: number, offset: number): void;
  credit(socket: number, bytes: number, chunk: number): void;
  shutdown(socket: number): void;
  /** Closes when the backlog is sent; the handler hears nothing more. */
  close(socket: number): void;
  reset(socket: number): void;
  /** Has the host's kernel ask the peer from time to time whether it is still there (SO_KEEPALIVE): failed() if it is not. */
  keepAlive(socket: number): void;
  splice(first: number, second: number, ended: (errno: number) => void): void;
  /** Aborts a splice, named by its first socket: `ended` is called. Within a turn, after its events. */
  unsplice(first: number): void;
  /** True while the second socket of a splice may still have something for the first. */
  answers(first: number): boolean;
  localEndpoint(socket: number): Endpoint;
  /** Share of the slots that are free, 0 to 1: below a quarter, advertise less. */
  readonly freeMemory: number;
}

export interface Datagrams {
  open(family: 4 | 6, local: Endpoint | null, handler: DatagramHandler): number;
  openWith(fd: number, remote: Endpoint | null, handler: DatagramHandler): number;
  openPing(family: 4 | 6, local: Endpoint | null, handler: DatagramHandler): number;
  /** `source` null: the socket's own. `segment`: bytes of each datagram if [offset, offset+length) holds several, else 0. `path`: see Path in native/engine. */
  sendTo(
    socket: number,
    offset: number,
    length: number,
    segment: number,
    remote: Endpoint,
    source: Endpoint | null,
    path?: number,
  ): void;
  /** Sends bytes that are not in the slab. False when this turn has no spare slot left. */
  sendCopyTo(socket: number, bytes: Uint8Array, remote: Endpoint, source: Endpoint | null): boolean;
  /** A copy of bytes of the slab, to keep beyond this turn. */
  copy(offset: number, length: number): Uint8Array;
  close(socket: number): void;
  localEndpoint(socket: number): Endpoint;
}
