/** The server's end of control connections, and the client's: what cannot be sent, what was not asked for, who goes. */
import { closeSync, openSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import test, { type ExecutionContext } from "ava";
import { Client } from "../../src/control/client.js";
import { Connection } from "../../src/control/connection.js";
import { Listener, type Operation } from "../../src/control/listener.js";
import { MAX_PACKET, type SandboxInfo } from "../../src/control/messages.js";
import { requestSandboxes, tellSandboxes } from "../../src/control/parts.js";
import { native } from "../../src/native/binding.js";

function connected(t: ExecutionContext, operations: Record<string, Operation>): { client: Client; listener: Listener } {
  const listener = new Listener(new Map(Object.entries(operations)));
  const [mine, theirs] = native().openPair();
  listener.serve(theirs);
  const client = new Client(mine);
  t.teardown(async () => {
    client.close();
    await listener.close();
  });
  return { client, listener };
}

/** How many descriptors of this process lead to a file. */
function openOf(file: string): number {
  const links = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ""; // the one that the directory was read by
    }
  });
  return links.filter((link) => link === file).length;
}

test("an answer that no packet holds is an error to who asked, and the server goes on", async (t) => {
  const { client } = connected(t, {
    long: () => "x".repeat(MAX_PACKET),
    parts: (_, peer) => peer.part("x".repeat(MAX_PACKET)),
    short: () => 7,
  });
  await t.throwsAsync(client.request("long"), { message: /is too long/ });
  await t.throwsAsync(client.request("parts"), { message: /is too long/ });
  t.is(await client.request("short"), 7);
});

test("a request that no packet holds is an error, and the connection goes on", async (t) => {
  const { client } = connected(t, { echo: ({ text }) => text });
  await t.throwsAsync(client.request("echo", { text: "x".repeat(MAX_PACKET) }), {
    code: "USAGE",
    message: /is too long/,
  });
  t.is(await client.request("echo", { text: "here" }), "here");
});

test("descriptors that nobody wants are closed: of operations without them, and of unknown ones", async (t) => {
  const got: number[] = [];
  const { client } = connected(t, {
    plain: () => 1,
    taking: (_, __, fds) => {
      got.push(...fds);
      return fds.length;
    },
  });
  const file = `/tmp/netns-rootless-descriptors-${process.pid}`;
  const fd = openSync(file, "w");
  t.teardown(() => {
    closeSync(fd);
    rmSync(file);
  });
  t.is(openOf(file), 1);
  t.is(await client.request("plain", {}, [fd, fd]), 1);
  await t.throwsAsync(client.request("nonsense", {}, [fd, fd]), { message: /does not know nonsense/ });
  t.is(openOf(file), 1);
  t.is(await client.request("taking", {}, [fd]), 1);
  t.is(openOf(file), 2);
  native().closeFd(got[0]);
});

test("sandboxes with any number of ports, and any number of sandboxes, arrive as they were told", async (t) => {
  const sandbox = (name: string, ports: number): SandboxInfo => ({
    name,
    network: "n".repeat(63),
    init: { pid: 4_194_304, start: "18446744073709551615" },
    addresses: ["255.255.255.255", "fd00:1111:2222:3333:4444:5555:6666:7777"],
    mac: "02:00:00:00:00:01",
    hostname: "h".repeat(64),
    isolated: false,
    ports: Array.from({ length: ports }, (_, i) => ({
      protocol: "tcp",
      address: "fd00:1111:2222:3333:4444:5555:6666:7777",
      port: i,
      insidePort: 65_535 - i,
    })),
    command: "\u0001".repeat(200), // six bytes each in JSON
    detached: true,
    since: 1_700_000_000_000,
  });
  const all = [
    sandbox("none", 0),
    sandbox("all", 65_536),
    sandbox("one", 1),
    ...Array.from({ length: 100 }, (_, i) => sandbox(`m${i}`, i * 3)),
  ];
  const { client } = connected(t, {
    info: (_, peer) => {
      tellSandboxes(peer, all);
      return "told";
    },
    nobody: (_, peer) => tellSandboxes(peer, []),
  });
  const { answer, sandboxes } = await requestSandboxes(client, "info");
  t.is(answer, "told");
  t.deepEqual(sandboxes, all);
  t.deepEqual((await requestSandboxes(client, "nobody")).sandboxes, []);
});

test("a peer that asks without reading is dropped, and costs no more than its queue", async (t) => {
  let told = 0;
  const listener = new Listener(
    new Map<string, Operation>([
      [
        "flood",
        (_, peer) => {
          while (!peer.isGone && told < 100_000) {
            told++;
            peer.part("x".repeat(1000));
          }
        },
      ],
    ]),
  );
  const [mine, theirs] = native().openPair(); // `mine` is not read
  listener.serve(theirs);
  const bytes = new TextEncoder().encode('{"id":1,"op":"flood"}');
  const channel = native().openChannel(
    () => {},
    () => {},
    mine,
  );
  t.is(channel.send(bytes), 0);
  while (listener.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  t.true(told > 1024 && told < 10_000, `${told}`);
  channel.close();
  await listener.close();
});

test("what is no request ends the connection, and closes what came with it", async (t) => {
  for (const message of [{}, { id: "1", op: "info" }, { id: 1 }, { id: 1, op: 2 }]) {
    const { listener } = connected(t, { info: () => 1 });
    const [mine, theirs] = native().openPair();
    listener.serve(theirs);
    const ended = new Promise<void>((resolve) => {
      const connection = new Connection(mine, { received: () => t.fail(), closed: resolve });
      connection.send(message);
    });
    await ended;
    t.is(listener.connections, 1, JSON.stringify(message)); // the other one
  }
});

test("one that asks for more than 64 things at once is dropped", async (t) => {
  const { client, listener } = connected(t, { wait: (_, peer) => peer.gone });
  const asked = Array.from({ length: 65 }, () => client.request("wait"));
  for (const each of asked) await t.throwsAsync(each, { message: /has ended/ });
  t.is(listener.connections, 0);
});

test("a path that is listened on: the connection's user is asked of the kernel, a second listener is refused", async (t) => {
  const path = `/tmp/netns-rootless-listener-${process.pid}.sock`;
  t.teardown(() => rmSync(path, { force: true }));
  const listener = new Listener(new Map<string, Operation>([["info", () => 5]]));
  t.is(listener.listen(path), 0);
  t.is(new Listener(new Map()).listen(path), -98);
  const client = new Client(native().connectChannel(path));
  t.is(await client.request("info"), 5);
  await listener.close();
  await client.ended;
  t.true(client.isEnded);
  await t.throwsAsync(client.request("info"), { message: /has ended/ });
  t.is(native().connectChannel(path), -111);
});
