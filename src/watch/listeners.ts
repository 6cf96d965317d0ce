/**
 * Asks the kernel which TCP sockets listen inside, by a socket of its own that was made there (NETLINK_SOCK_DIAG).
 *
 * The kernel answers while it is asked: when sendPacket() returns the first packet of the answer waits, and each that is taken
 * makes it write the next one. So a look blocks for nobody, and takes some microseconds. It has to be whole to count: an answer
 * that was refused, cut short, or longer than MAX_PACKETS is none, and the next look asks again.
 */
import type { SystemBinding } from "../native/system.js";
import { type ListeningSocket, listenersRequest, readListeners } from "../wire/sock-diag.js";

/** Above 8 KiB the kernel makes its packets as long as it was once asked for, and no longer. */
const PACKET = 16_384;
/** Of one family: some 40,000 sockets. */
const MAX_PACKETS = 256;

export type PacketSystem = Pick<SystemBinding, "sendPacket" | "receivePacket">;

export class Listeners {
  readonly #fd: number;
  readonly #system: PacketSystem;
  readonly #packet = new Uint8Array(PACKET);
  #sequence = 0;

  /** @param fd the socket, which stays the caller's */
  constructor(fd: number, system: PacketSystem) {
    this.#fd = fd;
    this.#system = system;
  }

  /** All sockets that listen now, of both families; null: this time it could not be learned. */
  read(): readonly ListeningSocket[] | null {
    const sockets: ListeningSocket[] = [];
    return this.#readFamily(4, sockets) && this.#readFamily(6, sockets) ? sockets : null;
  }

  #readFamily(family: 4 | 6, sockets: ListeningSocket[]): boolean {
    const { sendPacket, receivePacket } = this.#system;
    this.#sequence = (this.#sequence + 1) >>> 0;
    if (sendPacket(this.#fd, listenersRequest(family, this.#sequence)) < 0) return false;
    for (let packets = 0; packets < MAX_PACKETS; packets++) {
      const length = receivePacket(this.#fd, this.#packet);
      if (length < 0) return false;
      const packet = this.#packet.subarray(0, length);
      const state = readListeners(packet, this.#sequence, (socket) => sockets.push(socket));
      if (state !== "more") return state === "done";
    }
    return false;
  }
}
