/**
 * The thread of one shard but the first: a whole network on one queue of the TAP. See shards.ts, which starts it.
 *
 * What only the main thread can do (ask the launcher for sockets, tell the log) goes there by message. The thread ends after
 * "close", which it answers with its counters.
 */
import { parentPort, workerData } from "node:worker_threads";
import { native } from "../native/binding.js";
import type { Log } from "../policy/config.js";
import { SocketStock } from "../sandbox/socket-stock.js";
import type { Joining } from "./member.js";
import { Network } from "./network.js";
import type { FromShard, ShardStart, ToShard } from "./shard-messages.js";

type Kind = `${4 | 6}/${"stream" | "datagram"}`;

function runShard(port: NonNullable<typeof parentPort>, { config, place, collects }: ShardStart): void {
  const tell = (message: FromShard): void => port.postMessage(message);
  const at =
    (level: keyof Log) =>
    (message: string, fields?: Record<string, unknown>): void =>
      tell({ kind: "log", level, message, fields });
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  const rested = collects ? { rested: () => native().collectGarbage() } : {};
  const network = Network.openShard({ ...config, log, ...rested }, place);
  network.failed.catch((error: Error) => tell({ kind: "failed", message: error.message }));

  const ports = network.adoptPorts(place.listeners);
  tell({ kind: "up" });

  const stocks = new Map<Kind, SocketStock>();
  const stock = (family: 4 | 6, type: "stream" | "datagram"): SocketStock => {
    const kind: Kind = `${family}/${type}`;
    let known = stocks.get(kind);
    if (known === undefined) {
      known = new SocketStock((count) => tell({ kind: "sockets", family, type, count }), native().closeFd);
      stocks.set(kind, known);
    }
    return known;
  };
  const inside: Pick<Joining, "socket" | "discard"> = {
    socket: (family, type) => stock(family, type).take(),
    discard: (fd) => native().closeFd(fd),
  };

  port.on("message", (message: ToShard) => {
    switch (message.kind) {
      case "join":
        network.join(
          { ...inside, taps: [message.tap], mac: message.mac, offloads: { uso: message.uso } },
          { name: null, lease: network.lease(), ports },
        );
        break;
      case "sockets":
        stock(message.family, message.type).put(message.fds, message.errno);
        break;
      case "drain":
        Promise.all(network.members().map((member) => member.drain(message.milliseconds))).then(() =>
          tell({ kind: "drained" }),
        );
        break;
      case "close":
        network.close();
        for (const each of stocks.values()) each.close(new Error("the sandbox has ended"));
        tell({ kind: "closed", counters: network.counters() });
        port.close();
        break;
    }
  });
}

if (parentPort !== null) runShard(parentPort, workerData as ShardStart); // put there by shards.ts
