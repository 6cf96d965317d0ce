/**
 * A published UDP port.
 *
 * Theory of operation. Datagrams of other machines go through the TAP with their sender's address (udp/ does that, see
 * `PublishedPort`). Datagrams of clients on the host's own loopback go the direct way: each such client gets a datagram
 * socket made inside the namespace, connected to the server there, so that a server on the namespace's loopback is
 * reached too, and each client has a source port of its own by which the answers find back.
 *
 * A refused datagram comes back as an error on the inside socket, some time later. As long as a client has had no answer,
 * a copy of its last datagram is kept, and a refusal moves the client on to the next of the targets (loopback, then the
 * sandbox's own address, then both of the other family) and sends the copy there.
 *
 * Others are led to the sandbox's address of their own family, or where it has none to the other one, and there is no second
 * try: a server that wants clients of both families listens on both, or on the host's side there is a port for each.
 *
 * Bounds: MAX_CLIENTS per port, the longest idle goes first; a client goes after IDLE_MS without a datagram either way;
 * while its socket is being made, one datagram is kept (the last), the others are dropped and counted.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { Timer, type TimerOwner, type Timers } from "../flow/timers.js";
import type { Turns } from "../flow/turns.js";
import type { DatagramHandler, Datagrams } from "../host/sockets.js";
import {
  type Address,
  ENDPOINT_LENGTH,
  type Endpoint,
  endpoint,
  endpointAddress,
  endpointPort,
  equalAddress,
  type Family,
  familyOf,
  isIPv4,
} from "../wire/address.js";
import type { InsideSockets } from "./direct.js";
import { isLoopback } from "./names.js";

const MAX_CLIENTS = 1024;
const IDLE_MS = 60_000;
const ECONNREFUSED = 111;
/** Where an endpoint's address is. */
const ADDRESS = 8;

export interface UdpPortOptions {
  readonly datagrams: Datagrams;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly timers: Timers;
  readonly turns: Turns;
  /** Of the host's socket, and so of its clients. */
  readonly family: Family;
  readonly insidePort: number;
}

/** The way for loopback clients. */
export interface DirectTarget {
  readonly inside: InsideSockets;
  /** Addresses inside to try, in this order. */
  readonly targets: readonly Address[];
}

/** What is behind the port once a sandbox has joined. */
export interface UdpTarget {
  /** For loopback clients; null: they go the way of all others. */
  readonly direct: DirectTarget | null;
  /** Takes the datagrams of everybody else, and sends their answers. */
  readonly through: DatagramHandler;
}

export class UdpPort implements DatagramHandler, TimerOwner {
  readonly #options: UdpPortOptions;
  readonly #clients = new Map<number, Client>();
  readonly #timer = new Timer(this);
  #target: UdpTarget | null = null;

  constructor(options: UdpPortOptions) {
    this.#options = options;
  }

  /** No longer published: its loopback clients are forgotten. */
  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
    this.#options.timers.cancel(this.#timer);
    this.#target = null;
  }

  get family(): Family {
    return this.#options.family;
  }

  get insidePort(): number {
    return this.#options.insidePort;
  }

  join(target: UdpTarget): void {
    this.#target = target;
  }

  datagram(socket: number, offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void {
    const { clock, counters, timers } = this.#options;
    if (this.#target === null) {
      counters.add("publish.udp_nobody_there");
      return;
    }
    const { direct } = this.#target;
    if (direct === null || !isLoopback(addresses.subarray(at + 8, at + 24))) {
      this.#target.through.datagram(socket, offset, length, segment, addresses, at);
      return;
    }
    const key = clientKey(addresses, at);
    let client = this.#clients.get(key);
    if (client === undefined) {
      this.#makeRoom();
      client = new Client(
        this.#options,
        direct,
        socket,
        addresses.slice(at, at + 24),
        addresses.slice(at + 24, at + 48),
        () => this.#used(key),
      );
      this.#clients.set(key, client);
    }
    this.#used(key);
    if (!this.#timer.armed) timers.arm(this.#timer, clock.now(), IDLE_MS);
    client.toServer(offset, length, segment, addresses, at + ENDPOINT_LENGTH);
  }

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
  ): void {
    // Answers that a loopback client no longer wants: the server inside spoke to a socket of its own namespace, and hears nothing.
    if (this.#target?.direct && isLoopback(addresses.subarray(at + 8, at + 24))) return;
    this.#target?.through.datagramFailed(socket, errno, type, code, info, offset, length, addresses, at);
  }

  /** Gives up clients that have been silent for IDLE_MS. */
  expired(timer: Timer): void {
    const { clock, timers } = this.#options;
    const now = clock.now();
    for (const [key, client] of this.#clients) {
      if (client.lastUsed > now - IDLE_MS) {
        timers.arm(timer, now, client.lastUsed + IDLE_MS - now);
        return;
      }
      client.close();
      this.#clients.delete(key);
    }
  }

  /** A datagram of a client goes, or one for it came. The map's order is the order of use: the first is the longest idle. */
  #used(key: number): void {
    const client = this.#clients.get(key);
    if (client === undefined) return;
    client.lastUsed = this.#options.clock.now();
    this.#clients.delete(key);
    this.#clients.set(key, client);
  }

  #makeRoom(): void {
    if (this.#clients.size < MAX_CLIENTS) return;
    for (const [key, client] of this.#clients) {
      client.close();
      this.#clients.delete(key);
      this.#options.counters.add("publish.udp_clients_limit");
      return;
    }
  }
}

/** A number for a loopback client: 24 bits of address (0 for ::1) and 16 of port. */
function clientKey(record: Uint8Array, at: number): number {
  const address = record.subarray(at + 8, at + 24);
  const low = isIPv4(address) ? (address[13] << 16) | (address[14] << 8) | address[15] : 0;
  return low * 65536 + endpointPort(record, at);
}

/** One loopback client and its socket inside. */
class Client implements DatagramHandler {
  readonly #options: UdpPortOptions;
  readonly #behind: DirectTarget;
  readonly #hostSocket: number;
  readonly #remote: Endpoint;
  readonly #used: () => void;
  /** Answers leave from the address that the client spoke to last. */
  #local: Endpoint;
  #inside = -1;
  #asking = false;
  #closed = false;
  #answered = false;
  #target = 0;
  #last: Uint8Array | null = null;
  lastUsed = 0;

  constructor(
    options: UdpPortOptions,
    behind: DirectTarget,
    hostSocket: number,
    remote: Endpoint,
    local: Endpoint,
    used: () => void,
  ) {
    this.#options = options;
    this.#used = used;
    this.#behind = behind;
    this.#hostSocket = hostSocket;
    this.#remote = remote;
    this.#local = endpoint(endpointAddress(local), 0);
  }

  /** The client's datagrams, which it sent to the address of the endpoint at `at`. */
  toServer(offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void {
    if (!equalAddress(this.#local, addresses, ADDRESS, at + ADDRESS)) {
      this.#local = endpoint(endpointAddress(addresses.slice(at, at + ENDPOINT_LENGTH)), 0);
    }
    const { datagrams, counters } = this.#options;
    if (this.#inside >= 0) {
      if (!this.#answered && segment === 0) this.#last = datagrams.copy(offset, length);
      datagrams.sendTo(this.#inside, offset, length, segment, this.#server(), null);
      return;
    }
    if (this.#last !== null) counters.add("publish.udp_waiting_dropped");
    this.#last = datagrams.copy(offset, segment === 0 ? length : Math.min(segment, length));
    if (segment !== 0 && length > segment) counters.add("publish.udp_waiting_dropped");
    this.#open();
  }

  close(): void {
    this.#closed = true;
    if (this.#inside >= 0) this.#options.datagrams.close(this.#inside);
    this.#inside = -1;
    this.#last = null;
  }

  datagram(_socket: number, offset: number, length: number, segment: number): void {
    this.#answered = true;
    this.#last = null;
    this.#used();
    this.#options.datagrams.sendTo(this.#hostSocket, offset, length, segment, this.#remote, this.#local);
  }

  datagramFailed(_socket: number, errno: number): void {
    if (errno !== ECONNREFUSED || this.#answered || this.#closed) return;
    if (this.#inside >= 0) this.#options.datagrams.close(this.#inside);
    this.#inside = -1;
    this.#moveOn();
  }

  /** The present target does not take it: the next one is tried; after the last, the first again with the next datagram. */
  #moveOn(): void {
    this.#target++;
    if (this.#target < this.#behind.targets.length) {
      if (this.#last !== null) this.#open();
      return;
    }
    this.#options.counters.add("publish.udp_refused");
    this.#target = 0;
    this.#last = null;
  }

  #server(): Endpoint {
    return endpoint(this.#behind.targets[this.#target], this.#options.insidePort);
  }

  #open(): void {
    if (this.#asking) return;
    this.#asking = true;
    const { turns } = this.#options;
    const { inside, targets } = this.#behind;
    inside.socket(familyOf(targets[this.#target]), "datagram").then(
      (fd) =>
        turns.enter(
          () => this.#opened(fd),
          () => inside.discard(fd),
        ),
      () => turns.enter(() => this.#notOpened()),
    );
  }

  #opened(fd: number): void {
    const { datagrams } = this.#options;
    const socket = datagrams.openWith(fd, this.#server(), this);
    if (socket < 0) {
      this.#notOpened();
    } else if (this.#closed) {
      datagrams.close(socket);
    } else {
      this.#asking = false;
      this.#inside = socket;
      if (this.#last !== null) this.#send(this.#last);
    }
  }

  #notOpened(): void {
    this.#asking = false;
    this.#options.counters.add("publish.no_inside_socket");
    if (!this.#closed) this.#moveOn();
  }

  /** Sends what was kept, in a later turn if this one has no room for it. */
  #send(bytes: Uint8Array): void {
    if (this.#inside < 0) return;
    const { datagrams, turns } = this.#options;
    if (!datagrams.sendCopyTo(this.#inside, bytes, this.#server(), null)) turns.enter(() => this.#send(bytes));
  }
}
