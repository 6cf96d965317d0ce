import test from "ava";
import fc from "fast-check";
import { formatAddress } from "../../src/wire/address.js";
import { listenersRequest, readListeners } from "../../src/wire/sock-diag.js";

const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex.replace(/\s/g, ""), "hex"));

// Of a little-endian machine, as all are that we build for (x64, arm64).
// What Python's struct made of struct nlmsghdr and inet_diag_req_v2, and what Linux 6.18 answered it: an MPTCP socket on
// 0.0.0.0:9000, a TCP one on 127.0.0.1:8080; then one on [::]:443; each with the end of the answer.
const ASKED = {
  4: bytes(`480000001400010307000000 00000000 0206000000040000 ${"00".repeat(48)}`),
  6: bytes(`480000001400010307000000 00000000 0a06000000040000 ${"00".repeat(48)}`),
};
const ANSWER4 = bytes(`
  7c00000014000200070000001b4a0000020a0000232800000000000000000000000000000000000000000000000000000000000000000000000000007f00
  00000000000000000000000000008000000000000000c60e0800050008000000000008000f00000000000c00150001000000000000000600160052000000
  7c00000014000200070000001b4a0000020a00001f9000007f00000100000000000000000000000000000000000000000000000000000000000000008000
  00000000000000000000000000008000000000000000c40e0800050008000000000008000f00000000000c00150001000000000000000600160052000000`);
const ANSWER6 = bytes(`
  8400000014000200070000001b4a00000a0a000001bb00000000000000000000000000000000000000000000000000000000000000000000000000008100
  00000000000000000000000000008000000000000000c50e0800050008000000000005000b000100000008000f00000000000c0015000100000000000000
  0600160012000000`);
const DONE = bytes("1400000003000200070000001b4a000000000000");
const EBUSY = bytes("2400000002000000070000001b4a0000f0ffffff 48000000140001030700000000000000");

function read(packet: Uint8Array, sequence = 7) {
  const found: string[] = [];
  const state = readListeners(packet, sequence, ({ address, port }) => found.push(`${formatAddress(address)} ${port}`));
  return { state, found };
}

test("the request is what others make of the kernel's headers", (t) => {
  t.deepEqual(listenersRequest(4, 7), ASKED[4]);
  t.deepEqual(listenersRequest(6, 7), ASKED[6]);
});

test("what a kernel answered is understood", (t) => {
  t.deepEqual(read(ANSWER4), { state: "more", found: ["0.0.0.0 9000", "127.0.0.1 8080"] });
  t.deepEqual(read(ANSWER6), { state: "more", found: [":: 443"] });
  t.deepEqual(read(DONE), { state: "done", found: [] });
  t.deepEqual(read(Uint8Array.from([...ANSWER6, ...DONE])), { state: "done", found: [":: 443"] });
  t.deepEqual(read(EBUSY), { state: "failed", found: [] });
});

test("what belongs to another request is passed over", (t) => {
  for (const packet of [ANSWER4, DONE, EBUSY]) t.deepEqual(read(packet, 8), { state: "more", found: [] });
});

test("an answer that was cut is none", (t) => {
  for (let length = 1; length < ANSWER6.length; length++) t.is(read(ANSWER6.subarray(0, length)).state, "failed");
});

test("any bytes are read to their end without harm, and give ports only", (t) => {
  const message = fc
    .tuple(fc.uint8Array({ maxLength: 200 }), fc.nat(260), fc.constantFrom(2, 3, 20, 7))
    .map(([body, length, type]) => {
      const out = new Uint8Array(16 + body.length);
      const view = new DataView(out.buffer);
      view.setUint32(0, length, true);
      view.setUint16(4, type, true);
      out.set(body, 16);
      return out;
    });
  const packets = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc.array(message, { maxLength: 4 }).map((all) => Uint8Array.from(all.flatMap((each) => [...each]))),
  );
  fc.assert(
    fc.property(packets, (packet) => {
      readListeners(packet, 0, ({ address, port }) => {
        t.is(address.length, 16);
        t.true(port > 0 && port < 65536);
      });
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
