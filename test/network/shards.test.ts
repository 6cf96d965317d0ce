import { EventEmitter } from "node:events";
import { readdirSync } from "node:fs";
import { connect } from "node:net";
import test, { type ExecutionContext } from "ava";
import { NetnsError } from "../../src/errors.js";
import { native } from "../../src/native/binding.js";
import type { SoloConfig } from "../../src/network/config.js";
import type { FromShard, ShardStart, ToShard } from "../../src/network/shard-messages.js";
import { ShardedNetwork, type ShardThread } from "../../src/network/shards.js";
import type { Log } from "../../src/policy/config.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import type { Sandbox } from "../../src/sandbox/sandbox.js";
import { parseAddress } from "../../src/wire/address.js";

function config(shards: number, log: Log = SILENT_LOG): SoloConfig {
  return {
    cidr: { network: parseAddress("10.0.2.0"), prefix: 24 },
    mtu: 1500,
    gateway: parseAddress("10.0.2.2"),
    dns: parseAddress("10.0.2.3"),
    sandbox: parseAddress("10.0.2.100"),
    ipv4: true,
    v6: null,
    upstreams: [],
    serveDns: true,
    hostLoopback: "closed",
    outboundAddress: null,
    outboundAddress6: null,
    publish: [{ protocol: "tcp", host: parseAddress("127.0.0.1"), hostPort: 0, insidePort: 80 }],
    hostname: "box",
    search: [],
    congestion: [],
    shards,
    log,
  };
}

/** A sandbox whose TAP is one end of a pair for each queue, and which makes no sockets. */
function sandbox(taps: readonly number[]): Sandbox & { asked: number } {
  return {
    asked: 0,
    taps,
    broker: -1,
    mac: Uint8Array.of(2, 1, 2, 3, 4, 5),
    offloads: { tso4: true, tso6: true, uso: true },
    notes: [],
    init: null,
    output: null,
    exited: new Promise(() => {}),
    start: () => {},
    socket() {
      this.asked++;
      return Promise.reject(new Error("none"));
    },
    diagnosticSocket: () => Promise.reject(new Error("none")),
    discard: () => {},
    signal: () => {},
    release: async () => {},
  };
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;

test.serial("threads serve the published port, ask for sockets inside, and leave nothing", async (t) => {
  // What the first thread and the first engine of a process open for good is not what is looked for.
  for (const round of ["first", "second"]) {
    const before = descriptors();
    const network = await ShardedNetwork.open(config(3));
    const pairs = Array.from({ length: 3 }, () => native().openPair());
    const joining = sandbox(pairs.map(([tap]) => tap));
    network.join(joining);
    const ends = Array.from({ length: 30 }, () => {
      const client = connect(network.published[0].port, "127.0.0.1").on("error", () => {});
      return new Promise((resolve) => client.once("close", resolve));
    });
    // No socket can be made inside: every client is told so, whichever shard has it.
    await Promise.all(ends);
    t.true(joining.asked >= 30);
    await network.drain(1000);
    await network.close();
    const counters = network.counters();
    t.is(counters["streams.accepted"], 30);
    t.is(counters["publish.no_inside_socket"], 30);
    t.is(counters["flows.open"], 0);
    for (const [, end] of pairs) native().closeFd(end);
    if (round === "second") t.is(descriptors(), before);
  }
});

test.serial("a thread that cannot start is told, and ends what was opened", async (t) => {
  const started: FakeThread[] = [];
  const opening = ShardedNetwork.open(config(2), (start) => {
    const thread = new FakeThread(start, "boom");
    started.push(thread);
    return thread;
  });
  await t.throwsAsync(opening, { instanceOf: NetnsError, message: /thread of the network failed: boom/ });
  const [{ start, posted }] = started;
  t.is(posted.at(-1)?.kind, "close");
  for (const fd of [...start.place.peers, ...start.place.listeners.map(({ fd }) => fd)]) {
    if (fd >= 0) native().closeFd(fd);
  }
});

class FakeThread extends EventEmitter implements ShardThread {
  readonly start: ShardStart;
  readonly posted: ToShard[] = [];
  terminated = false;

  constructor(start: ShardStart, fault: string | null = null) {
    super();
    this.start = start;
    queueMicrotask(() => {
      if (fault === null) this.say({ kind: "up" });
      else this.emit("error", new Error(fault));
    });
  }

  postMessage(message: ToShard): void {
    this.posted.push(message);
    if (message.kind !== "close") return;
    this.say({ kind: "closed", counters: { "test.counter": 2 } });
    this.emit("exit", 0);
  }

  say(message: FromShard): void {
    this.emit("message", message);
  }

  async terminate(): Promise<void> {
    this.terminated = true;
  }
}

async function withFakes(t: ExecutionContext, log?: Log) {
  const threads: FakeThread[] = [];
  const network = await ShardedNetwork.open(config(3, log), (start) => {
    const thread = new FakeThread(start);
    threads.push(thread);
    return thread;
  });
  t.teardown(async () => {
    await network.close();
    for (const { start } of threads) {
      for (const fd of [...start.place.peers, ...start.place.listeners.map(({ fd }) => fd)]) {
        if (fd >= 0) native().closeFd(fd);
      }
    }
  });
  return { network, threads };
}

for (const [what, fail, expected] of [
  [
    "says so",
    (thread: FakeThread) => thread.say({ kind: "failed", message: "the stack failed: x" }),
    /the stack failed: x/,
  ],
  ["throws", (thread: FakeThread) => thread.emit("error", new Error("boom")), /thread of the network failed: boom/],
  ["ends", (thread: FakeThread) => thread.emit("exit", 1), /ended unexpectedly \(exit code 1\)/],
] as const) {
  test.serial(`the network fails when a thread ${what}, and ends in order`, async (t) => {
    const { network, threads } = await withFakes(t);
    fail(threads[1]);
    const error = await t.throwsAsync(network.failed, { instanceOf: NetnsError, message: expected });
    t.is(error.code, "INTERNAL");
    await network.close();
    t.is(threads[0].posted.at(-1)?.kind, "close");
  });
}

test.serial("a thread gets its place, its queue and the log's ear; its counters are added", async (t) => {
  const lines: string[] = [];
  const { network, threads } = await withFakes(t, { ...SILENT_LOG, warn: (message) => lines.push(message) });
  t.deepEqual(
    threads.map(({ start: { place } }) => [place.index, place.count, place.listeners.length]),
    [
      [1, 3, 1],
      [2, 3, 1],
    ],
  );
  threads[0].say({ kind: "log", level: "warn", message: "look", fields: undefined });
  t.deepEqual(lines, ["look"]);
  const [tap, end] = native().openPair();
  const joining = sandbox([tap, 1001, 1002]);
  network.join(joining);
  t.deepEqual(
    threads.map(({ posted }) => posted.map((message) => message.kind === "join" && message.tap)),
    [[1001], [1002]],
  );
  threads[1].say({ kind: "sockets", family: 4, type: "stream", count: 3 });
  await new Promise((resolve) => setImmediate(resolve));
  t.like(threads[1].posted.at(-1), { kind: "sockets", family: 4, type: "stream", fds: [] });
  t.is(joining.asked, 3);
  const drained = network.drain(1000);
  for (const thread of threads) thread.say({ kind: "drained" });
  await drained;
  await network.close();
  t.is(network.counters()["test.counter"], 4);
  native().closeFd(end);
});

test.serial("a port that is taken is told, and nothing is left open", async (t) => {
  const { network } = await withFakes(t);
  const [{ port }] = network.published;
  const before = descriptors();
  const publish = [{ protocol: "tcp", host: parseAddress("127.0.0.1"), hostPort: port, insidePort: 80 }] as const;
  const free = { ...publish[0], hostPort: 0 };
  await t.throwsAsync(ShardedNetwork.open({ ...config(2), publish: [free, ...publish] }), { code: "PORT_BUSY" });
  // The engine's own descriptors go when the loop has let go of its handles.
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.true(descriptors() <= before);
});
