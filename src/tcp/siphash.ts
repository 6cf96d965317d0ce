/**
 * SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash that costs less than a call of a library. Only its lower 32 bits.
 *
 * The four 64-bit words of its state are held as pairs of 32-bit ones, the lower first.
 *
 * @param key 128 bits as 4 words, the lowest first
 * @param words the message, an even number of words, little-endian pairs
 */
export function sipHash(key: Int32Array, words: Int32Array): number {
  let a = key[0] ^ 0x70736575;
  let aHigh = key[1] ^ 0x736f6d65;
  let b = key[2] ^ 0x6e646f6d;
  let bHigh = key[3] ^ 0x646f7261;
  let c = key[0] ^ 0x6e657261;
  let cHigh = key[1] ^ 0x6c796765;
  let d = key[2] ^ 0x79746573;
  let dHigh = key[3] ^ 0x74656462;
  const length = words.length;
  for (let at = 0; at <= length + 2; at += 2) {
    // The message, then its length in bytes, then nothing, for the four rounds at the end.
    const last = at > length;
    const low = at < length ? words[at] : 0;
    const high = at < length ? words[at + 1] : last ? 0 : length << 26;
    d ^= low;
    dHigh ^= high;
    if (last) c ^= 0xff;
    for (let round = last ? 4 : 2; round > 0; round--) {
      let sum = (a + b) | 0;
      aHigh = (aHigh + bHigh + carry(sum, b)) | 0;
      a = sum;
      let turned = (b << 13) | (bHigh >>> 19);
      bHigh = ((bHigh << 13) | (b >>> 19)) ^ aHigh;
      b = turned ^ a;
      turned = aHigh;
      aHigh = a;
      a = turned;

      sum = (c + d) | 0;
      cHigh = (cHigh + dHigh + carry(sum, d)) | 0;
      c = sum;
      turned = (d << 16) | (dHigh >>> 16);
      dHigh = ((dHigh << 16) | (d >>> 16)) ^ cHigh;
      d = turned ^ c;

      sum = (a + d) | 0;
      aHigh = (aHigh + dHigh + carry(sum, d)) | 0;
      a = sum;
      turned = (d << 21) | (dHigh >>> 11);
      dHigh = ((dHigh << 21) | (d >>> 11)) ^ aHigh;
      d = turned ^ a;

      sum = (c + b) | 0;
      cHigh = (cHigh + bHigh + carry(sum, b)) | 0;
      c = sum;
      turned = (b << 17) | (bHigh >>> 15);
      bHigh = ((bHigh << 17) | (b >>> 15)) ^ cHigh;
      b = turned ^ c;
      turned = cHigh;
      cHigh = c;
      c = turned;
    }
    a ^= low;
    aHigh ^= high;
  }
  return a ^ b ^ c ^ d;
}

/** The carry of the lower words' sum. */
function carry(sum: number, part: number): number {
  return sum >>> 0 < part >>> 0 ? 1 : 0;
}
