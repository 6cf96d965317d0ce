import type { Random } from "../flow/clock.js";
import { native } from "../native/binding.js";

/** Random numbers from the kernel, a page of them at a time. */
export function cryptographicRandom(): Random {
  const pool = new Uint32Array(256);
  const bytes = new Uint8Array(pool.buffer);
  let used = pool.length;
  return {
    uint32() {
      if (used === pool.length) {
        native().fillRandom(bytes);
        used = 0;
      }
      return pool[used++];
    },
  };
}
