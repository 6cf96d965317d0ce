/**
 * A published UDP port, as the sandbox sees it: each client of the host's port is a peer of the inside endpoint.
 *
 * Theory of operation. The publisher owns the host socket and hands over what comes on it. A client is shown to the sandbox
 * under its own address and port, or, where these mean nothing inside, under an alias (the gateway's address), then with
 * its own port if that is free and another one if it is not. What the server sends to the address that it saw leaves from the host
 * address that the client had spoken to. A client is forgotten after some minutes of silence, like any peer.
 */
import { type Address, ENDPOINT_LENGTH, endpointAddress, endpointPort, familyOf } from "../wire/address.js";
import { Peer, PeerOwner, type PeerTable, type UdpParts } from "./peers.js";

/** Ports for clients under an alias, where their own is taken. */
const FIRST_PORT = 1024;
const PORTS = 65536 - FIRST_PORT;
const TRIES = 64;

export interface PublishedPortOptions {
  /** -1: not yet known; datagrams are dropped until `link` is set. */
  readonly link: number;
  readonly address: Address;
  readonly port: number;
  /** The address to show in place of a client's; null: its own. */
  readonly rewrite: (client: Address) => Address | null;
  /** Shown for clients whose address another peer of the same inside endpoint has already. */
  readonly alias: Address;
}

export class PublishedPort extends PeerOwner {
  readonly #rewrite: (client: Address) => Address | null;
  readonly #alias: Address;
  #nextPort = 0;

  constructor(parts: UdpParts, table: PeerTable, options: PublishedPortOptions) {
    super(parts, table, options.link, options.address.slice(), options.port);
    this.#rewrite = options.rewrite;
    this.#alias = options.alias;
  }

  datagram(socket: number, offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void {
    if (this.link < 0) {
      this.parts.counters.add("udp.published_not_ready");
      return;
    }
    const peer = this.table.reply(socket, this, addresses, at) ?? this.#client(socket, addresses, at);
    if (peer === null) {
      this.parts.counters.add("udp.published_no_room");
      return;
    }
    if (!sameAddress(peer, addresses, at + ENDPOINT_LENGTH)) {
      peer.source = addresses.slice(at + ENDPOINT_LENGTH, at + 2 * ENDPOINT_LENGTH);
    }
    peer.answered = true;
    this.used(peer);
    this.deliver(peer, offset, length, segment);
  }

  /** Forgets all clients. The socket is the publisher's. */
  close(): void {
    this.removePeers();
    this.link = -1;
  }

  protected empty(): void {}

  #client(socket: number, addresses: Uint8Array, at: number): Peer | null {
    const address = endpointAddress(addresses, at);
    const port = endpointPort(addresses, at);
    const remote = addresses.slice(at, at + ENDPOINT_LENGTH);
    const source = addresses.slice(at + ENDPOINT_LENGTH, at + 2 * ENDPOINT_LENGTH);
    const shown = this.#rewrite(address) ?? address;
    if (familyOf(shown) === familyOf(this.address)) {
      const peer = new Peer(this, socket, shown, port, remote, source);
      if (this.addPeer(peer)) return peer;
    }
    for (let tried = 0; tried < TRIES; tried++) {
      const other = tried === 0 ? port : FIRST_PORT + this.#nextPort;
      if (tried > 0) this.#nextPort = (this.#nextPort + 1) % PORTS;
      const peer = new Peer(this, socket, this.#alias, other, remote, source);
      if (this.addPeer(peer)) return peer;
    }
    return null;
  }
}

function sameAddress(peer: Peer, addresses: Uint8Array, at: number): boolean {
  const { source } = peer;
  if (source === null) return false;
  for (let i = 0; i < ENDPOINT_LENGTH; i++) if (source[i] !== addresses[at + i]) return false;
  return true;
}
