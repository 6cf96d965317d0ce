/** Initial sequence numbers (RFC 6528): a clock of four microseconds, and a keyed hash of the flow's endpoints. */
import type { Clock, Random } from "../flow/clock.js";
import type { Address } from "../wire/address.js";
import type { TcpFlow } from "./flow.js";
import { sipHash } from "./siphash.js";

const TICKS_PER_MILLISECOND = 250;

export class InitialSequence {
  readonly #clock: Clock;
  readonly #secret: Int32Array;
  /** Inside and outside address, ports, link. */
  readonly #words = new Int32Array(10);

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#secret = Int32Array.from({ length: 4 }, () => random.uint32());
  }

  next(flow: TcpFlow): number {
    const words = this.#words;
    this.#put(0, flow.inside);
    this.#put(4, flow.outside);
    words[8] = (flow.insidePort << 16) | flow.outsidePort;
    words[9] = flow.link;
    return (sipHash(this.#secret, words) + Math.floor(this.#clock.now() * TICKS_PER_MILLISECOND)) | 0;
  }

  #put(at: number, address: Address): void {
    for (let i = 0; i < 4; i++) {
      const from = i * 4;
      this.#words[at + i] =
        (address[from] << 24) | (address[from + 1] << 16) | (address[from + 2] << 8) | address[from + 3];
    }
  }
}
