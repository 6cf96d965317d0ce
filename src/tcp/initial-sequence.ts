/** Initial sequence numbers (RFC 6528): a clock of four microseconds, and a keyed hash of the flow's endpoints. */
import { createHash } from "node:crypto";
import type { Clock, Random } from "../flow/clock.js";
import type { TcpFlow } from "./flow.js";

const TICKS_PER_MILLISECOND = 250;

export class InitialSequence {
  readonly #clock: Clock;
  readonly #secret = new Uint8Array(16);

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    const words = new Uint32Array(this.#secret.buffer);
    for (let i = 0; i < words.length; i++) words[i] = random.uint32();
  }

  next(flow: TcpFlow): number {
    const ports = Uint16Array.of(flow.insidePort, flow.outsidePort, flow.link);
    const hash = createHash("sha256")
      .update(this.#secret)
      .update(flow.inside)
      .update(flow.outside)
      .update(ports)
      .digest();
    return (hash.readInt32LE(0) + Math.floor(this.#clock.now() * TICKS_PER_MILLISECOND)) | 0;
  }
}
