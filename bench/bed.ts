/**
 * The bed: a user and network namespace that plays the host, made by an ordinary user, so that no packet of a measurement
 * leaves it and nothing outside of it matters.
 *
 *     the other machine         bed namespace (the "host")                    each tool's own namespace (the sandbox)
 *     +--------------+          +-----------------------------------+         +--------------------------+
 *     | eth0 MACHINE |==========| eth0 UPLINK, default route (veth) |  tool   | tap0, eth0, …            |
 *     +--------------+          | lo   127.0.0.1, SERVER            |=========|                          |
 *                               +-----------------------------------+         +--------------------------+
 *
 * SERVER is an address of the bed's loopback interface, but no loopback address: every tool treats it like any other
 * machine's, and no wire is in the way of what is measured. The other machine is a client of published ports, which the tools
 * treat differently from one on the host's loopback. The default route exists because pasta copies its addresses and routes
 * from an interface that has one. Nothing is ever sent through it.
 *
 * The namespaces are held by a shell that has every capability in the bed (and sets routes); whatever else is started in the
 * bed has none. The shell ends with its stdin, all others are sent SIGKILL when the bench dies: nothing is left behind, but for
 * a directory of temporary files when the bench itself was sent SIGKILL.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Running } from "./processes.js";
import { awaitListener, Shell } from "./shell.js";

export const SERVER = "203.0.113.1";
/** The bed's own address towards the other machine: published ports are reached at it. */
export const UPLINK = "198.51.100.1";
const MACHINE = "198.51.100.2";
const UPLINK_NETWORK = "198.51.100.0/24";
const UPLINK_GATEWAY = "198.51.100.254";

/** Prints the id of a process in the other machine's namespace. */
const SET_UP = `set -e
ip link set lo up
ip address add ${SERVER}/32 dev lo
unshare --net setpriv --pdeathsig KILL sleep infinity >/dev/null 2>&1 &
machine=$!
while [ "$(readlink /proc/$machine/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add eth0 type veth peer name eth0 netns $machine
ip address add ${UPLINK}/24 dev eth0
ip link set eth0 up
ip route add default via ${UPLINK_GATEWAY}
nsenter --net --target $machine ip address add ${MACHINE}/24 dev eth0
nsenter --net --target $machine ip link set eth0 up
set +e
echo $machine`;

/** Routes over which the bed's own connections and those of the other machine go; `ip route change` takes them. */
const BED_ROUTES = [
  `local ${SERVER} dev lo table local proto kernel scope host src ${SERVER}`,
  "local 127.0.0.1 dev lo table local proto kernel scope host src 127.0.0.1",
  `${UPLINK_NETWORK} dev eth0 proto kernel scope link src ${UPLINK}`,
];
const MACHINE_ROUTE = `${UPLINK_NETWORK} dev eth0 proto kernel scope link src ${MACHINE}`;

/** Where in the bed a program is started. */
export type Side = "host" | "machine";

export class Bed {
  /** For what programs need to keep in files; removed with the bed. */
  readonly directory = mkdtempSync(join(tmpdir(), "netns-bench-"));
  readonly #holder: Running;
  readonly #shell: Shell;
  readonly #started = new Set<Running>();
  #machine = 0;

  private constructor(holder: Running) {
    this.#holder = holder;
    this.#shell = new Shell(holder);
  }

  /** Rejects where this host does not let an ordinary user make namespaces. */
  static async create(): Promise<Bed> {
    const bed = new Bed(
      new Running("the bed", ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "sh"]),
    );
    try {
      bed.#machine = Number(await bed.#shell.must(SET_UP));
    } catch (cause) {
      await bed.close();
      throw new Error("the bed (a user and network namespace) could not be made", { cause });
    }
    return bed;
  }

  /** Starts a program in the bed, as the calling user and without capabilities. `stop` it with the bed's method. */
  start(name: string, argv: readonly string[], side: Side = "host"): Running {
    const target = side === "host" ? this.#holder.pid : this.#machine;
    const enter = ["nsenter", "--preserve-credentials", "--user", "--net", `--target=${target}`, "--"];
    const running = new Running(name, [...enter, "setpriv", "--pdeathsig", "KILL", "--", ...argv]);
    this.#started.add(running);
    return running;
  }

  async stop(running: Running): Promise<void> {
    await running.stop();
    this.#started.delete(running);
  }

  /** Runs a program to its end and returns what it printed, whatever its exit status. Rejects when that is nothing, or after `ms`. */
  async capture(name: string, argv: readonly string[], ms: number, side: Side = "host"): Promise<string> {
    const running = this.start(name, argv, side);
    try {
      const text = await running.output(ms);
      if (text.trim() === "") throw running.failure("printed nothing");
      return text;
    } finally {
      await this.stop(running);
    }
  }

  /** Starts a server and calls `use` once it listens on a TCP port in the bed; then ends it. */
  async serving<T>(name: string, argv: readonly string[], port: number, use: () => Promise<T>): Promise<T> {
    const server = this.start(name, argv);
    try {
      await awaitListener(this.#shell, port, () => server.failure("does not listen"));
      return await use();
    } finally {
      await this.stop(server);
    }
  }

  /** Congestion control of what the bed and the other machine send to each other and to themselves; null: the host's default. */
  async setCongestion(name: string | null): Promise<void> {
    const option = name === null ? "" : ` congctl ${name}`;
    for (const route of BED_ROUTES) await this.#shell.must(`ip route change ${route}${option}`);
    await this.#shell.must(`nsenter --net --target ${this.#machine} ip route change ${MACHINE_ROUTE}${option}`);
  }

  /** Ends everything that was started here, then the namespaces. */
  async close(): Promise<void> {
    await Promise.all([...this.#started].map((running) => this.stop(running)));
    await this.#holder.stop();
    // Again where something of podman's, which outlives it for a moment, still writes there.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}
