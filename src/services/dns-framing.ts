/** DNS messages in a byte stream: two bytes of length before each (RFC 1035, 4.2.2). */

/** Takes a stream apart. Bounds: one message, and what was pushed at once. */
export class MessageReader {
  readonly #longest: number;
  #bytes = new Uint8Array(0);

  /** @param longest bytes that a message may have, at most 65,535 */
  constructor(longest: number) {
    this.#longest = longest;
  }

  /** Takes the next bytes, and copies them. */
  push(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.#bytes.length + bytes.length);
    joined.set(this.#bytes);
    joined.set(bytes, this.#bytes.length);
    this.#bytes = joined;
  }

  /** The next whole message, the caller's to keep; null: not yet, or never when tooLong is true. */
  next(): Uint8Array | null {
    const bytes = this.#bytes;
    if (bytes.length < 2 || this.tooLong) return null;
    const end = 2 + ((bytes[0] << 8) | bytes[1]);
    if (bytes.length < end) return null;
    this.#bytes = bytes.subarray(end);
    return bytes.subarray(2, end);
  }

  /** The next message is longer than may be: the stream is of no more use. */
  get tooLong(): boolean {
    return this.#bytes.length >= 2 && ((this.#bytes[0] << 8) | this.#bytes[1]) > this.#longest;
  }
}

/** A message as it goes into a stream. It must not have more than 65,535 bytes. */
export function framed(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(2 + message.length);
  out[0] = message.length >>> 8;
  out[1] = message.length & 0xff;
  out.set(message, 2);
  return out;
}
