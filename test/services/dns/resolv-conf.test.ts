import test from "ava";
import { HostResolvConf } from "../../../src/services/resolv-conf.js";
import { Resolvers } from "../../../src/services/resolvers.js";
import { formatEndpoint } from "../../../src/wire/address.js";

function setting(text: string) {
  const file = { stamp: () => text, read: () => text };
  const resolvConf = new HostResolvConf(file);
  const clock = { time: 0, now: () => clock.time };
  const resolvers = new Resolvers({ upstreams: null, clock, file: resolvConf });
  const servers = () => {
    clock.time += 2000;
    return resolvers.servers().map((server) => formatEndpoint(server));
  };
  return { resolvConf, servers };
}

test("a broker that has no time for the first question costs nobody the host's resolvers", (t) => {
  const { resolvConf, servers } = setting("nameserver 192.0.2.1\n");
  resolvConf.readThrough({
    resolvConf: () => {
      throw new Error("no answer (ETIMEDOUT)");
    },
  });
  t.deepEqual(servers(), ["192.0.2.1:53"]);
});

test("what the broker says is followed, and holds while it says nothing", (t) => {
  const { resolvConf, servers } = setting("nameserver 192.0.2.1\n");
  let text: string | null = "nameserver 192.0.2.2\n";
  resolvConf.readThrough({
    resolvConf: () => {
      if (text === null) throw new Error("no answer (ETIMEDOUT)");
      return text;
    },
  });
  t.deepEqual(servers(), ["192.0.2.2:53"]);
  text = null;
  t.deepEqual(servers(), ["192.0.2.2:53"]);
  text = "nameserver 192.0.2.3\n";
  t.deepEqual(servers(), ["192.0.2.3:53"]);
});
