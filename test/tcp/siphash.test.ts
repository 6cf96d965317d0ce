import test from "ava";
import { sipHash } from "../../src/tcp/siphash.js";

function words(bytes: number): Int32Array {
  return new Int32Array(Uint8Array.from({ length: bytes }, (_, index) => index).buffer);
}

// The key 00 01 … 0f and messages 00 01 … of the reference implementation (vectors.h, vectors_sip64): their first four bytes.
const KNOWN = new Map([
  [0, 0x31_0e_0e_dd],
  [8, 0x62_24_93_9a],
  [16, 0xdb_9b_c2_57],
  [40, 0xd0_a7_04_53],
]);

test("SipHash-2-4 of the reference's messages", (t) => {
  for (const [bytes, first] of KNOWN) {
    const view = new DataView(new ArrayBuffer(4));
    view.setInt32(0, sipHash(words(16), words(bytes)), true);
    t.is(view.getUint32(0).toString(16), first.toString(16), `${bytes} bytes`);
  }
});
