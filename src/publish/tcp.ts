/**
 * A published TCP port.
 *
 * Clients on the host's own loopback go the direct path (direct.ts). All others are carried through the TAP by the TCP
 * stack, with the address and port that they really have, so that the server's log and its access rules are right. When
 * the sandbox refuses such a connection at its address of the client's family, its other address is tried, where the
 * client then has the gateway's address, and then the direct path, since its server may listen on the namespace's loopback
 * only: the port was published, so it shall be reached. A port that leads to one address (PublishSpec.inside) leads there through
 * the TAP for everybody, and nowhere else.
 */
import type { Counters } from "../flow/counters.js";
import type { ListenHandler, StreamHandler, Streams } from "../host/sockets.js";
import { type Address, endpointAddress, endpointPort, familyOf } from "../wire/address.js";
import type { DirectPath } from "./direct.js";
import { isLoopback } from "./names.js";

/** Carries an accepted connection to the sandbox as a flow of the stack; `refused` gets the socket back if the sandbox says no. */
export type CarryThrough = (
  socket: number,
  client: Address,
  clientPort: number,
  insidePort: number,
  refused: (socket: number) => void,
) => void;

/** Addresses inside to try on the direct path, in this order, for clients of either family. */
export type Targets = Readonly<Record<4 | 6, readonly Address[]>>;

export interface TcpPortOptions {
  readonly streams: Streams;
  readonly counters: Counters;
  readonly insidePort: number;
}

/** Connections that wait for the sandbox to come up, at most. */
const MAX_WAITING = 128;

export class TcpPort implements ListenHandler {
  readonly insidePort: number;
  readonly #options: TcpPortOptions;
  #joined: { direct: DirectPath | null; carry: CarryThrough; targets: Targets } | null = null;
  #waiting = new Set<Waiting>();

  constructor(options: TcpPortOptions) {
    this.#options = options;
    this.insidePort = options.insidePort;
  }

  /** No longer published: who waits for the sandbox sees a reset. */
  close(): void {
    for (const { socket } of this.#waiting) this.#options.streams.reset(socket);
    this.#waiting.clear();
  }

  /** @param direct null: nobody goes that way */
  join(direct: DirectPath | null, carry: CarryThrough, targets: Targets): void {
    this.#joined = { direct, carry, targets };
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const { socket, address, port, ended } of waiting) {
      // Reported to us, but to be heard by whoever serves it: reading from the beginning has it reported again.
      if (ended) this.#options.streams.rewind(socket, 0);
      this.#serve(socket, address, port);
    }
  }

  accepted(_listener: number, socket: number, addresses: Uint8Array, at: number): void {
    const address = endpointAddress(addresses, at);
    const port = endpointPort(addresses, at);
    if (this.#joined !== null) {
      this.#serve(socket, address, port);
    } else if (this.#waiting.size < MAX_WAITING) {
      const waiting = new Waiting(socket, address, port, () => this.#waiting.delete(waiting));
      this.#waiting.add(waiting);
      this.#options.streams.own(socket, waiting);
    } else {
      this.#options.counters.add("publish.waiting_limit");
      this.#options.streams.reset(socket);
    }
  }

  #serve(socket: number, client: Address, clientPort: number): void {
    if (this.#joined === null) return;
    const { direct, carry, targets } = this.#joined;
    const { insidePort } = this;
    const addresses = targets[familyOf(client)];
    if (direct === null)
      carry(socket, client, clientPort, insidePort, (refused) => this.#options.streams.reset(refused));
    else if (isLoopback(client)) direct.connect(socket, addresses, insidePort);
    else carry(socket, client, clientPort, insidePort, (refused) => direct.connect(refused, addresses, insidePort));
  }
}

/** A connection that waits for the sandbox. Its socket's number may be another's as soon as it has failed. */
class Waiting implements StreamHandler {
  readonly socket: number;
  readonly address: Address;
  readonly port: number;
  readonly #gone: () => void;
  ended = false;

  constructor(socket: number, address: Address, port: number, gone: () => void) {
    this.socket = socket;
    this.address = address;
    this.port = port;
    this.#gone = gone;
  }

  end(): void {
    this.ended = true;
  }

  failed(): void {
    this.#gone();
  }

  // It was accepted connected, its credit is 0, and nothing is sent: none of these can come.
  connected(): void {}
  data(): void {}
  drained(): void {}
}
