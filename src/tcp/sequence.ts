/**
 * Arithmetic of sequence numbers (RFC 9293, 3.4): 32-bit integers that wrap around, held as signed ones (`| 0`).
 * Two numbers compare rightly as long as they are less than 2^31 apart.
 */

/** How far `to` lies behind `from`: positive when it is later. */
export function distance(from: number, to: number): number {
  return (to - from) | 0;
}

export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export function after(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}
