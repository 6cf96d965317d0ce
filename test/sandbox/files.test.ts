import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { hostResolverSettings, hosts, resolvConf } from "../../src/sandbox/files.js";

test("resolv.conf names the server, and search and options only when there are some", (t) => {
  t.is(resolvConf({ nameserver: "10.0.2.3", search: [], options: [] }), "nameserver 10.0.2.3\n");
  t.is(
    resolvConf({ nameserver: "10.0.2.3", search: ["a.example", "b.example"], options: ["ndots:2"] }),
    "nameserver 10.0.2.3\nsearch a.example b.example\noptions ndots:2\n",
  );
});

test("hosts has loopback, the sandbox's own name and the way to the host", (t) => {
  const v4 = { address: "10.0.2.100", gateway: "10.0.2.2" };
  const v6 = { address: "fd00::100", gateway: "fd00::2" };
  t.deepEqual(hosts({ hostname: "box", subnets: [v4, v6] }).split("\n"), [
    "127.0.0.1 localhost",
    "::1 localhost ip6-localhost ip6-loopback",
    "ff02::1 ip6-allnodes",
    "ff02::2 ip6-allrouters",
    "10.0.2.100 box",
    "fd00::100 box",
    "10.0.2.2 host.internal",
    "fd00::2 host.internal",
    "",
  ]);
  t.false(hosts({ hostname: "localhost", subnets: [v4] }).includes("10.0.2.100"));
  t.false(hosts({ hostname: "box", subnets: [v4] }).includes("fd00::"));
  t.false(hosts({ hostname: "box", subnets: [v6] }).includes("10.0.2."));
});

test("the host's search domains are those of the last line, as in glibc", (t) => {
  const folder = mkdtempSync(join(tmpdir(), "files-"));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "resolv.conf");
  writeFileSync(
    path,
    "# a comment\ndomain old.example\nnameserver 127.0.0.53\nsearch one.example  two.example .\noptions edns0 trust-ad\n",
  );
  t.deepEqual(hostResolverSettings(path), { search: ["one.example", "two.example"], options: ["edns0"] });
  t.deepEqual(hostResolverSettings(join(folder, "none")), { search: [], options: [] });
});
