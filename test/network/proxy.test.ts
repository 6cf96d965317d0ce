/** A network with real sandboxes, and curl as a client of its proxy. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { Network } from "../../src/network/network.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import { type InsideSubnet, launch } from "../../src/sandbox/sandbox.js";
import { type Address, endpoint, endpointPort, formatAddress, parseAddress } from "../../src/wire/address.js";
import { eventually } from "../bed/bed.js";

const run = promisify(execFile);

/** A web server that tells its name, at one address and port, and then sleeps as long as somebody may want it. */
const SERVER = (name: string, address: string, port: number) => `
import http.server, socket
class Handler(http.server.BaseHTTPRequestHandler):
  def do_GET(self):
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"${name} " + self.headers["host"].encode())
  def do_POST(self):
    self.send_response(200)
    self.end_headers()
    self.wfile.write(self.rfile.read(int(self.headers["content-length"])))
  def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
  address_family = socket.AF_INET6 if ":" in "${address}" else socket.AF_INET
Server(("${address}", ${port}), Handler).serve_forever()
`;

async function networkOf(t: ExecutionContext, programs: Record<string, string>) {
  const network = await Network.open({
    cidr: { network: parseAddress("10.0.2.0"), prefix: 24 },
    mtu: 1500,
    gateway: parseAddress("10.0.2.2"),
    dns: parseAddress("10.0.2.3"),
    sandbox: parseAddress("10.0.2.100"),
    ipv4: true,
    v6: {
      network: parseAddress("fd00::"),
      prefix: 64,
      gateway: parseAddress("fd00::2"),
      dns: parseAddress("fd00::3"),
      sandbox: parseAddress("fd00::100"),
    },
    name: "tables",
    solo: false,
    upstreams: [],
    serveDns: true,
    search: [],
    hostLoopback: "closed",
    outboundAddress: null,
    outboundAddress6: null,
    congestion: [],
    log: SILENT_LOG,
  });
  t.teardown(() => network.close());
  for (const [name, program] of Object.entries(programs)) {
    const lease = network.lease();
    const subnet = (address: Address | null, prefix: number, gateway: string): InsideSubnet | null =>
      address && { address: formatAddress(address), prefix, gateway };
    const v4 = subnet(lease.v4, 24, "10.0.2.2");
    const v6 = subnet(lease.v6, 64, "fd00::2");
    const sandbox = await launch({
      network: { ifname: "tap0", mac: null, mtu: 1500, v4, v6, congestion: [], queues: 1 },
      command: ["python3", "-c", program],
      env: process.env,
      root: false,
      hostname: null,
      resolvConf: null,
      hosts: null,
    });
    t.teardown(() => sandbox.release());
    const member = await network.join(sandbox, { name, lease });
    const listens = new Promise<void>((resolve) => {
      const stop = member.listening.watch((ports) => {
        if (ports.size === 0) return;
        stop();
        resolve();
      });
    });
    sandbox.start();
    await listens;
  }
  const open = () => network.openProxy(endpoint(parseAddress("127.0.0.1"), 0));
  const proxy = open();
  const port = endpointPort(proxy.local);
  /** What curl says of a URL, by way of the proxy: the body, or its exit code. */
  const curl = async (url: string, ...options: string[]) => {
    const all = ["-sS", "--max-time", "10", "--noproxy", "", "--socks5-hostname", `127.0.0.1:${port}`, ...options, url];
    try {
      return (await run("curl", all, { maxBuffer: 1 << 26 })).stdout;
    } catch (error) {
      return (error as { code: number; stderr: string }).code;
    }
  };
  return { network, proxy, port, open, curl };
}

/** curl's exit code where a proxy could not, or would not, connect it. */
const CURLE_PROXY = 97;
const CURLE_COULDNT_CONNECT = 7;

test.serial("curl reaches members by their names and addresses, on whatever address they listen", async (t) => {
  const { curl } = await networkOf(t, {
    red: SERVER("red", "0.0.0.0", 8080),
    blue: SERVER("blue", "127.0.0.1", 8080),
    green: SERVER("green", "::1", 80),
  });
  t.is(await curl("http://red:8080/"), "red red:8080");
  t.is(await curl("http://red.tables.internal:8080/"), "red red.tables.internal:8080");
  t.is(await curl("http://RED:8080/"), "red RED:8080");
  t.is(await curl("http://10.0.2.100:8080/"), "red 10.0.2.100:8080");
  t.is(await curl("http://[fd00::100]:8080/"), "red [fd00::100]:8080");
  t.is(await curl("http://blue:8080/"), "blue blue:8080");
  t.is(await curl("http://10.0.2.101:8080/"), "blue 10.0.2.101:8080");
  t.is(await curl("http://green/"), "green green");
});

test.serial(
  "nobody else is reached: not the host, not the gateway, not a name outside, not who has left",
  async (t) => {
    const { curl, network } = await networkOf(t, { red: SERVER("red", "0.0.0.0", 8080) });
    for (const host of [
      "127.0.0.1",
      "[::1]",
      "localhost",
      "host.internal",
      "10.0.2.2",
      "10.0.2.3",
      "10.0.2.101",
      "www.example.com",
    ]) {
      t.is(await curl(`http://${host}:8080/`), CURLE_PROXY, host);
    }
    t.is(network.counters()["proxy.not_allowed"], 8);
    t.is(await curl("http://red:9999/"), CURLE_PROXY, "it does not listen there");
    const [red] = network.members();
    await red.leave();
    t.is(await curl("http://red:8080/"), CURLE_PROXY);
  },
);

test.serial("many connections at once, and large ones, every byte the same", async (t) => {
  const { curl, network } = await networkOf(t, { red: SERVER("red", "0.0.0.0", 8080) });
  const answers = await Promise.all(Array.from({ length: 40 }, () => curl("http://red:8080/")));
  t.deepEqual(new Set(answers), new Set(["red red:8080"]));
  const file = path.join(mkdtempSync(path.join(tmpdir(), "proxy-")), "body");
  t.teardown(() => rmSync(path.dirname(file), { recursive: true }));
  const body = randomBytes(4 << 20).toString("hex");
  writeFileSync(file, body);
  t.true((await curl("http://red:8080/", "--data-binary", `@${file}`)) === body);
  t.is(network.counters()["proxy.connected"], 41);
});

/** Sends to whoever comes, without end. */
const ENDLESS = `
import socket
server = socket.create_server(("", 8080))
while True:
  one, _ = server.accept()
  one.recv(4096)
  one.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
  try:
    while True: one.sendall(bytes(100000))
  except OSError: pass
`;

test.serial("a connection ends when its member leaves", async (t) => {
  const { curl, network } = await networkOf(t, { red: ENDLESS });
  const transfer = curl("http://red:8080/", "-o", "/dev/null");
  // The answer is on its way: so the request has been sent.
  await eventually(5000, "nothing is transferred", () => (network.counters()["splice.bytes"] ?? 0) > 100_000);
  await network.members()[0].leave();
  const CURLE_RECV_ERROR = 56;
  t.is(await transfer, CURLE_RECV_ERROR);
});

test.serial("a proxy that is closed is there no more, and its place is free; one that is taken is told", async (t) => {
  const { curl, proxy, network } = await networkOf(t, { red: SERVER("red", "0.0.0.0", 8080) });
  t.throws(() => network.openProxy(proxy.local), { message: /^cannot listen at 127\.0\.0\.1:\d+: the port is in use/ });
  proxy.close();
  await eventually(10_000, "still open", async () => (await curl("http://red:8080/")) === CURLE_COULDNT_CONNECT);
  t.notThrows(() => network.openProxy(proxy.local));
  t.is(await curl("http://red:8080/"), "red red:8080");
});
