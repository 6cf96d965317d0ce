import test from "ava";
import { type ErrorCode, NetnsError } from "../../src/errors.js";
import { Leases } from "../../src/network/leases.js";
import { formatAddress, parseAddress } from "../../src/wire/address.js";

const V4 = {
  network: parseAddress("10.0.2.0"),
  prefix: 24,
  gateway: parseAddress("10.0.2.2"),
  dns: parseAddress("10.0.2.3"),
  sandbox: parseAddress("10.0.2.100"),
};
const V6 = {
  network: parseAddress("fd00::"),
  prefix: 64,
  gateway: parseAddress("fd00::2"),
  dns: parseAddress("fd00::3"),
  sandbox: parseAddress("fd00::100"),
};

function text({ v4, v6 }: { v4: Uint8Array | null; v6: Uint8Array | null }): string {
  return [v4, v6].map((address) => (address === null ? "none" : formatAddress(address))).join(" ");
}

test("the first member gets .100 and ::100, the next ones what follows; what was given back is given again", (t) => {
  const leases = new Leases(V4, V6);
  const [first, second] = [leases.lease(), leases.lease()];
  t.is(text(first), "10.0.2.100 fd00::100");
  t.is(text(second), "10.0.2.101 fd00::101");
  first.release();
  first.release();
  t.is(text(leases.lease()), "10.0.2.100 fd00::100");
  t.is(text(leases.lease()), "10.0.2.102 fd00::102");
});

test("behind the end of the subnet come those between our own and the first member's; then it is full", (t) => {
  const leases = new Leases(V4, null);
  const given = Array.from({ length: 155 + 96 }, () => text(leases.lease()));
  t.is(given[154], "10.0.2.254 none");
  t.is(given[155], "10.0.2.4 none");
  t.is(given[250], "10.0.2.99 none");
  t.is(new Set(given).size, 251);
  const error = t.throws(() => leases.lease(), {
    instanceOf: NetnsError,
    message: /no address of 10\.0\.2\.0\/24 is free/,
  });
  t.is(error.code, "NETWORK_FULL");
});

test("a wish is heard, unless another has it, or nobody can", (t) => {
  const leases = new Leases(V4, V6);
  t.is(text(leases.lease({ v4: parseAddress("10.0.2.50") })), "10.0.2.50 fd00::100");
  t.is(text(leases.lease({ v6: parseAddress("fd00::5:1") })), "10.0.2.100 fd00::5:1");
  const wrong = (wish: string, code: ErrorCode, message: RegExp) => {
    const address = parseAddress(wish);
    const error = t.throws(() => leases.lease(wish.includes(":") ? { v6: address } : { v4: address }), { message });
    t.is(error instanceof NetnsError && error.code, code);
  };
  wrong("10.0.2.50", "ADDRESS_BUSY", /another member has this address/);
  for (const own of ["10.0.2.2", "10.0.2.3", "fd00::2", "fd00::3"]) wrong(own, "USAGE", /network's own/);
  for (const nobody of ["10.0.2.0", "10.0.2.255", "10.0.3.1", "fd00::", "fd01::1"]) {
    wrong(nobody, "USAGE", /not an address for a member; expected one of (10\.0\.2\.0\/24|fd00::\/64)/);
  }
  t.throws(() => new Leases(V4, null).lease({ v6: parseAddress("fd00::9") }), { message: /no such family/ });
  t.is(text(leases.lease()), "10.0.2.101 fd00::101", "what was refused took nothing");
});
