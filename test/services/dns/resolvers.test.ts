import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import test from "ava";
import fc from "fast-check";
import { parseServers, Resolvers, resolvConfFile } from "../../../src/services/resolvers.js";
import { endpoint, formatEndpoint, parseAddress } from "../../../src/wire/address.js";

function servers(text: string): string[] {
  return parseServers(text, (name) => (name === "eth0" ? 2 : 0)).map((each) => formatEndpoint(each));
}

test("servers in their order, three at most, as libc has it", (t) => {
  t.deepEqual(servers("nameserver 192.0.2.1\nnameserver 2001:db8::1\n"), ["192.0.2.1:53", "[2001:db8::1]:53"]);
  t.is(servers("nameserver 192.0.2.1\n".repeat(5)).length, 3);
});

test("comments, blanks, other keywords and nonsense are passed over", (t) => {
  const text = [
    "# nameserver 192.0.2.1",
    ";nameserver 192.0.2.2",
    "  nameserver\t192.0.2.3  # first",
    "nameserver",
    "nameserver none.example",
    "nameserver 300.0.0.1",
    "nameservers 192.0.2.4",
    "search example.org",
    "options ndots:2",
    "nameserver 192.0.2.5\r",
  ].join("\n");
  t.deepEqual(servers(text), ["192.0.2.3:53", "192.0.2.5:53"]);
});

test("a link-local server keeps its interface", (t) => {
  const [named] = parseServers("nameserver fe80::1%eth0", (name) => (name === "eth0" ? 2 : 0));
  const [numbered] = parseServers("nameserver fe80::1%7", () => 0);
  t.is(named[4], 2);
  t.is(numbered[4], 7);
  t.is(formatEndpoint(named), "[fe80::1]:53");
});

test("any text gives at most three servers and never throws", (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          fc.string().map((word) => `nameserver ${word}`),
        ),
      ),
      (lines) => {
        t.true(servers(lines.join("\n")).length <= 3);
      },
    ),
  );
});

class Scene {
  readonly folder = mkdtempSync(path.join(tmpdir(), "resolvers-"));
  readonly file = path.join(this.folder, "resolv.conf");
  now = 0;

  resolvers(upstreams: string[] | null = null): Resolvers {
    return new Resolvers({
      upstreams: upstreams?.map((address) => endpoint(parseAddress(address), 53)) ?? null,
      clock: { now: () => this.now },
      file: resolvConfFile(this.file),
    });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

function named(resolvers: Resolvers): string[] {
  return resolvers.servers().map((each) => formatEndpoint(each));
}

test("another file is seen within a second, whatever way it came: written, renamed over, linked, gone, back", (t) => {
  const scene = new Scene();
  t.teardown(() => scene.remove());
  const resolvers = scene.resolvers();
  const later = () => {
    scene.now += 1000;
    return named(resolvers);
  };
  t.deepEqual(named(resolvers), ["127.0.0.1:53"], "no file: what libc does");
  writeFileSync(scene.file, "nameserver 192.0.2.1\n");
  t.deepEqual(named(resolvers), ["127.0.0.1:53"], "not looked at again within the second");
  t.deepEqual(later(), ["192.0.2.1:53"]);
  writeFileSync(scene.file, "nameserver 192.0.2.22\n");
  t.deepEqual(later(), ["192.0.2.22:53"]);
  writeFileSync(`${scene.file}.new`, "nameserver 192.0.2.33\n");
  renameSync(`${scene.file}.new`, scene.file);
  t.deepEqual(later(), ["192.0.2.33:53"]);
  rmSync(scene.file);
  t.deepEqual(later(), ["192.0.2.33:53"], "gone for a moment: what was known holds");
  writeFileSync(`${scene.file}.target`, "nameserver 192.0.2.44\n");
  symlinkSync(`${scene.file}.target`, scene.file);
  t.deepEqual(later(), ["192.0.2.44:53"]);
  writeFileSync(`${scene.file}.target`, "search example.org\n");
  t.deepEqual(later(), ["127.0.0.1:53"], "a file without servers: what libc does");
});

test("a file that cannot be read is no failure", (t) => {
  const file = {
    stamp: () => "1",
    read: () => {
      throw new Error("EACCES");
    },
  };
  t.deepEqual(named(new Resolvers({ upstreams: null, clock: { now: () => 0 }, file })), ["127.0.0.1:53"]);
});

test("given upstreams replace the host's", (t) => {
  const scene = new Scene();
  t.teardown(() => scene.remove());
  writeFileSync(scene.file, "nameserver 192.0.2.1\n");
  t.deepEqual(named(scene.resolvers(["192.0.2.9", "2001:db8::9"])), ["192.0.2.9:53", "[2001:db8::9]:53"]);
});
