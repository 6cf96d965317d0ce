/**
 * A network of several shards: as many loops, each a whole network on its own queue of the sandbox's TAP, on as many cores.
 *
 * Theory of operation. Shard 0 runs on this thread, the others in worker threads (worker.ts). They share nothing but what is
 * handed over (handover.ts tells which frames, and why it is right). TCP connections of published ports are dealt out by the
 * kernel to a listener of each; UDP, ICMP, DNS and DHCP are shard 0's alone. The limits of a network are each shard's.
 *
 *     open   pairs between all, shard 0 with the published ports, the threads with their listeners
 *            settles when all are there
 *     join   a queue of the TAP for each
 *     drain  first the others, then shard 0, since what they hand over leaves by it
 *     close  shard 0 at once; the others say their counters and end
 *
 * One that fails, for whatever reason, ends all: `failed` rejects.
 */
import path from "node:path";
import { Worker } from "node:worker_threads";
import { NetnsError } from "../errors.js";
import { native } from "../native/binding.js";
import type { OpenPort } from "../publish/listeners.js";
import type { Publisher } from "../publish/publisher.js";
import type { Sandbox } from "../sandbox/sandbox.js";
import type { SoloConfig } from "./config.js";
import type { Lease } from "./leases.js";
import type { Member } from "./member.js";
import { soloNames } from "./names.js";
import { Network } from "./network.js";
import type { FromShard, ShardStart, ToShard } from "./shard-messages.js";
import type { OpenNetwork } from "./solo.js";

/** As far as a worker thread is used here. */
export interface ShardThread {
  postMessage(message: ToShard): void;
  on(event: "message", listener: (message: FromShard) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

/** Made by scripts/bundle.mjs of worker.ts; this place is the same from the bundle of the program (see there). */
const ENTRY = path.join(import.meta.dirname, "../../bundle/worker.cjs");
/** How long a thread may take to end by itself. */
const CLOSE_MS = 2000;

function startThread(start: ShardStart): ShardThread {
  return new Worker(ENTRY, { workerData: start, trackUnmanagedFds: false });
}

export class ShardedNetwork implements OpenNetwork {
  readonly failed: Promise<never>;
  readonly captured = null;
  readonly #config: SoloConfig;
  readonly #first: Network;
  readonly #ports: Publisher;
  readonly #lease: Lease;
  #member: Member | null = null;
  readonly #others: readonly Shard[];
  #closing: Promise<void> | null = null;

  /**
   * @param config with 2 to 16 shards
   * @param start starts the thread of a shard
   * @throws a NetnsError: PORT_BUSY, NATIVE, HOST_LACKS, INTERNAL
   */
  static async open(config: SoloConfig, start = startThread): Promise<ShardedNetwork> {
    const network = new ShardedNetwork(config, start);
    try {
      await Promise.race([Promise.all(network.#others.map((shard) => shard.up)), network.failed]);
      return network;
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  private constructor(config: SoloConfig, start: (start: ShardStart) => ShardThread) {
    this.#config = config;
    const count = config.shards;
    const peers = openPairs(count);
    this.#first = Network.openShard(config, { index: 0, count, peers: peers[0], listeners: [] });
    this.#lease = this.#first.lease();
    try {
      this.#ports = this.#first.openPorts(config.publish, count);
    } catch (error) {
      this.#first.close();
      for (const fd of peers.slice(1).flat()) if (fd >= 0) native().closeFd(fd);
      throw error;
    }
    const { log, began: _, rested, resolvConf: __, ...rest } = config; // functions stay in their thread, and DNS is the first one's
    this.#others = peers.slice(1).map((own, i) => {
      const place = { index: i + 1, count, peers: own, listeners: this.#ports.listenersFor(i + 1) };
      return new Shard(start({ config: rest, place, collects: rested !== undefined }), log);
    });
    this.failed = Promise.race([this.#first.failed, ...this.#others.map((shard) => shard.failed)]);
    this.failed.catch(() => {});
  }

  get published(): readonly OpenPort[] {
    return this.#ports.ports;
  }

  join(sandbox: Sandbox): Promise<Member> {
    const names = soloNames(this.#config.hostname, this.#lease);
    const { automatic = [] } = this.#config;
    const joined = this.#first.join(sandbox, { name: null, lease: this.#lease, ports: this.#ports, automatic, names });
    this.#member = this.#first.members()[0] ?? null;
    this.#others.forEach((shard, i) => {
      shard.join(sandbox, sandbox.taps[i + 1]);
    });
    return joined;
  }

  async drain(milliseconds: number): Promise<void> {
    const end = process.uptime() + milliseconds / 1000;
    await Promise.all(this.#others.map((shard) => shard.drain(milliseconds)));
    await this.#member?.drain(Math.max(0, (end - process.uptime()) * 1000));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Of all shards together; of the others what they said at their end. */
  counters(): Record<string, number> {
    const sum = this.#first.counters();
    for (const { counters } of this.#others) {
      for (const [name, value] of Object.entries(counters)) sum[name] = (sum[name] ?? 0) + value;
    }
    return sum;
  }

  async #close(): Promise<void> {
    this.#first.close();
    const ended = await Promise.all(this.#others.map((shard) => shard.close()));
    if (ended.includes(false)) this.#config.log.warn("a thread of the network did not end by itself, and was stopped");
  }
}

/** One shard's thread, seen from here. */
class Shard {
  /** Rejects when the thread failed; settles in no other way. */
  readonly failed: Promise<never>;
  /** Settles when the thread is there; not at all where it failed before. */
  readonly up: Promise<void>;
  counters: Record<string, number> = {};
  readonly #thread: ShardThread;
  #sandbox: Sandbox | null = null;
  #closing = false;
  #drained = () => {};
  #ended = () => {};
  readonly #end: Promise<void>;

  constructor(thread: ShardThread, log: SoloConfig["log"]) {
    this.#thread = thread;
    let fail: (error: Error) => void = () => {};
    this.failed = new Promise<never>((_, reject) => {
      fail = reject;
    });
    this.failed.catch(() => {});
    let arrived = () => {};
    this.up = new Promise((resolve) => {
      arrived = resolve;
    });
    this.#end = new Promise((resolve) => {
      this.#ended = resolve;
    });
    thread.on("message", (message) => {
      switch (message.kind) {
        case "up":
          arrived();
          break;
        case "log":
          log[message.level](message.message, message.fields);
          break;
        case "sockets":
          this.#makeSockets(message.family, message.type, message.count);
          break;
        case "drained":
          this.#drained();
          break;
        case "failed":
          fail(new NetnsError("INTERNAL", message.message));
          break;
        case "closed":
          this.counters = message.counters;
          break;
      }
    });
    thread.on("error", (cause) => {
      fail(new NetnsError("INTERNAL", `a thread of the network failed: ${cause.message}`, { cause }));
    });
    thread.on("exit", (code) => {
      this.#drained();
      this.#ended();
      if (!this.#closing)
        fail(new NetnsError("INTERNAL", `a thread of the network ended unexpectedly (exit code ${code})`));
    });
  }

  join(sandbox: Sandbox, tap: number): void {
    this.#sandbox = sandbox;
    this.#thread.postMessage({ kind: "join", tap, mac: sandbox.mac, uso: sandbox.offloads.uso });
  }

  drain(milliseconds: number): Promise<void> {
    const drained = new Promise<void>((resolve) => {
      this.#drained = resolve;
    });
    this.#thread.postMessage({ kind: "drain", milliseconds });
    return Promise.race([drained, this.#end]);
  }

  /** False when it had to be stopped. */
  async close(): Promise<boolean> {
    this.#closing = true;
    this.#thread.postMessage({ kind: "close" });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<boolean>((resolve) => {
      timer = setTimeout(() => resolve(false), CLOSE_MS);
    });
    const ended = await Promise.race([this.#end.then(() => true), late]);
    clearTimeout(timer);
    if (!ended) await this.#thread.terminate();
    return ended;
  }

  async #makeSockets(family: 4 | 6, type: "stream" | "datagram", count: number): Promise<void> {
    const sandbox = this.#sandbox;
    if (sandbox === null) return;
    const made = await Promise.allSettled(Array.from({ length: count }, () => sandbox.socket(family, type)));
    const fds = made.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
    // None is taken for want of descriptors, which is the one reason while the sandbox lives.
    if (!this.#closing) this.#thread.postMessage({ kind: "sockets", family, type, fds, errno: 0 });
    else for (const fd of fds) sandbox.discard(fd);
  }
}

/** A pair between each two: by shard, its descriptor to each other one, and -1 in its own place. */
function openPairs(count: number): number[][] {
  const ends = Array.from({ length: count }, () => new Array<number>(count).fill(-1));
  try {
    for (let a = 0; a < count; a++) {
      for (let b = a + 1; b < count; b++) [ends[a][b], ends[b][a]] = native().openPair();
    }
  } catch (cause) {
    for (const fd of ends.flat()) if (fd >= 0) native().closeFd(fd);
    throw new NetnsError("HOST_LACKS", `too many open files for ${count} shards: raise the limit (ulimit -n)`, {
      cause,
    });
  }
  return ends;
}
