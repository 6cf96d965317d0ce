/** Prefixes of addresses. */
import type { Address } from "./address.js";

/** True if the first `bits` bits of both are the same, of the 128 (an IPv4 prefix counts from 96 on). */
export function sharesPrefix(a: Address, b: Address, bits: number): boolean {
  const whole = bits >>> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (a[whole] ^ b[whole]) >>> (8 - rest) === 0;
}
