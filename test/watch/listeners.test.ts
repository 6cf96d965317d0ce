/** Real sandboxes: what the kernel inside tells of the sockets that listen there. */
import test from "ava";
import { native } from "../../src/native/binding.js";
import { type LaunchOptions, launch, type Sandbox } from "../../src/sandbox/sandbox.js";
import { Listeners } from "../../src/watch/listeners.js";
import { formatAddress } from "../../src/wire/address.js";

function options(program: string): LaunchOptions {
  return {
    network: {
      ifname: "tap0",
      mac: null,
      mtu: 1500,
      v4: { address: "10.0.2.100", prefix: 24, gateway: "10.0.2.2" },
      v6: { address: "fd00::100", prefix: 64, gateway: "fd00::2" },
      congestion: [],
      queues: 1,
    },
    command: ["python3", "-c", program],
    env: process.env,
    root: false,
    hostname: null,
    resolvConf: null,
    hosts: null,
  };
}

/** Starts a program inside; `told` waits until the sockets that listen are these. */
async function running(program: string) {
  const sandbox = await launch(options(program));
  const fd = await sandbox.diagnosticSocket();
  const listeners = new Listeners(fd, native());
  const read = () => {
    const sockets = listeners.read();
    return sockets?.map(({ address, port }) => `${formatAddress(address)} ${port}`).sort() ?? null;
  };
  const told = async (...expected: string[]) => {
    for (const end = Date.now() + 10_000; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
      const sockets = read();
      if (JSON.stringify(sockets) === JSON.stringify(expected.sort()) || Date.now() > end) return sockets;
    }
  };
  const end = async () => {
    native().closeFd(fd);
    for (const tap of sandbox.taps) native().closeFd(tap);
    await sandbox.release();
  };
  return { sandbox, read, told, end };
}

const LISTENS = `
import socket, time
def listen(address, port, kind=socket.IPPROTO_TCP):
  family = socket.AF_INET6 if ":" in address else socket.AF_INET
  one = socket.socket(family, socket.SOCK_STREAM, kind)
  one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  one.bind((address, port))
  one.listen()
  return one
`;

test("every TCP socket that listens is told, of both families, and no other", async (t) => {
  const { sandbox, read, told, end } = await running(`${LISTENS}
held = [listen("0.0.0.0", 80), listen("127.0.0.1", 8080), listen("10.0.2.100", 81), listen("::", 443), listen("::1", 8080), listen("fd00::100", 82)]
held.append(socket.create_connection(("127.0.0.1", 8080)))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 53))
bound = socket.socket()
bound.bind(("0.0.0.0", 9999))
time.sleep(60)
`);
  t.deepEqual(read(), []);
  sandbox.start();
  const expected = ["0.0.0.0 80", "127.0.0.1 8080", "10.0.2.100 81", ":: 443", "::1 8080", "fd00::100 82"];
  t.deepEqual(await told(...expected), expected.sort());
  await end();
});

test("more sockets than fit one packet, and the end of them", async (t) => {
  const { sandbox, told, end } = await running(`${LISTENS}
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
held = [listen("::" if port % 2 else "0.0.0.0", port) for port in range(2000, 2900)]
signal.sigwait([signal.SIGUSR1])
held = held[:1]
time.sleep(60)
`);
  sandbox.start();
  const all = Array.from({ length: 900 }, (_, i) => `${i % 2 === 1 ? "::" : "0.0.0.0"} ${2000 + i}`);
  t.deepEqual(await told(...all), all.sort());
  sandbox.signal("SIGUSR1", false);
  t.deepEqual(await told("0.0.0.0 2000"), ["0.0.0.0 2000"]);
  await end();
});

test("when the sandbox has ended, none is given any more", async (t) => {
  const sandbox: Sandbox = await launch(options("pass"));
  for (const tap of sandbox.taps) native().closeFd(tap);
  await sandbox.release();
  await t.throwsAsync(sandbox.diagnosticSocket(), { code: "NAMESPACE" });
});
