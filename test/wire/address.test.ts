/** IP addresses as text, against RFC 5952's examples and against Python's `ipaddress`. */
import { execFileSync } from "node:child_process";
import test from "ava";
import { formatAddress, parseAddress } from "../../src/wire/address.js";

test("RFC 5952: the one way to write an address, and the others that are read", (t) => {
  const written = {
    "2001:db8::1": ["2001:db8:0:0:0:0:0:1", "2001:0db8::0001", "2001:db8::0:1", "2001:DB8::1", "2001:db8:0000::1"],
    "2001:db8:0:1:1:1:1:1": ["2001:db8::1:1:1:1:1"],
    "2001:0:0:1::1": ["2001:0:0:1:0:0:0:1"],
    "2001:db8::1:0:0:1": ["2001:db8:0:0:1:0:0:1"],
    "::": ["0:0:0:0:0:0:0:0", "0::", "::0"],
    "::1": ["0:0:0:0:0:0:0:1", "0::1"],
    "fd00::": ["fd00:0:0:0:0:0:0:0", "FD00::"],
    "64:ff9b::c000:221": ["64:ff9b::192.0.2.33"],
    "192.0.2.33": ["::ffff:192.0.2.33", "::ffff:c000:221"],
  };
  for (const [text, others] of Object.entries(written)) {
    for (const each of [text, ...others]) t.is(formatAddress(parseAddress(each)), text, each);
  }
});

test("what is no address is refused", (t) => {
  const refused = [
    "",
    ":",
    ":::",
    "1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1::2::3",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
  ];
  const odd = [
    "fd00::12345",
    "fd00::g",
    "fd00::1 ",
    " ::1",
    "fd00::+1",
    "fd00::0x1",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    "fd00:::1",
  ];
  const four = ["1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.-1", "01.2.3.4", "1.2.3.4 ", "1.2.3.0x4", "::1.2.3.256"];
  for (const text of [...refused, ...odd, ...four])
    t.throws(() => parseAddress(text), { instanceOf: RangeError }, text);
});

const PYTHON = `
import ipaddress, random
random.seed(7)
for _ in range(3000):
    groups = [random.choice([0, 0, 0, 1, random.getrandbits(16)]) for _ in range(8)]
    address = ipaddress.IPv6Address(b"".join(g.to_bytes(2, "big") for g in groups))
    if address.ipv4_mapped is None: print(address.packed.hex(), address.compressed, address.exploded)
`;

test("any address is written as Python writes it, and read as it reads it", (t) => {
  const lines = execFileSync("python3", ["-c", PYTHON], { encoding: "utf8" }).trim().split("\n");
  t.true(lines.length > 2900);
  for (const line of lines) {
    const [hex, compressed, exploded] = line.split(" ");
    const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
    t.is(formatAddress(bytes), compressed);
    t.deepEqual(parseAddress(compressed), bytes);
    t.deepEqual(parseAddress(exploded), bytes);
  }
});
