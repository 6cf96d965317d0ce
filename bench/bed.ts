/**
 * The bed: a user and network namespace that plays the host, made by an ordinary user, so that no packet of a measurement
 * leaves it and nothing outside of it matters.
 *
 *     bed namespace (the "host")                       each tool's own namespace (the sandbox)
 *     +---------------------------------------+        +------------------------------+
 *     | lo    127.0.0.1, SERVER: iperf3 -s    |  tool  | tap0, eth0, …: iperf3 -c     |
 *     | eth0  UPLINK, default route (veth)    |========|                              |
 *     +---------------------------------------+        +------------------------------+
 *
 * SERVER is an address of the bed's loopback interface, but no loopback address: every tool treats it like any other
 * machine's, and no wire is in the way of what is measured. eth0 exists because pasta copies its addresses and routes from
 * an interface with a default route. Nothing is ever sent through it.
 *
 * The namespace is held by a shell that has every capability in it (and sets routes); whatever else is started in the bed
 * has none. The shell ends with its stdin, all others are sent SIGKILL when the bench dies: nothing is left behind.
 */
import { Running } from "./processes.js";
import { Shell } from "./shell.js";

export const SERVER = "203.0.113.1";
const UPLINK = "198.51.100.1";
const UPLINK_GATEWAY = "198.51.100.254";

const SET_UP = `set -e
ip link set lo up
ip address add ${SERVER}/32 dev lo
ip link add eth0 type veth peer name eth0-peer
ip link set eth0-peer up
ip address add ${UPLINK}/24 dev eth0
ip link set eth0 up
ip route add default via ${UPLINK_GATEWAY}
set +e`;

export class Bed {
  readonly #holder: Running;
  readonly #shell: Shell;
  readonly #started = new Set<Running>();

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
      await bed.#shell.must(SET_UP);
    } catch (cause) {
      await bed.close();
      throw new Error("the bed (a user and network namespace) could not be made", { cause });
    }
    return bed;
  }

  /** Starts a program in the bed, as the calling user and without capabilities. `stop` it with the bed's method. */
  start(name: string, argv: readonly string[]): Running {
    const enter = ["nsenter", "--preserve-credentials", "--user", "--net", `--target=${this.#holder.pid}`, "--"];
    const running = new Running(name, [...enter, "setpriv", "--pdeathsig", "KILL", "--", ...argv]);
    this.#started.add(running);
    return running;
  }

  async stop(running: Running): Promise<void> {
    await running.stop();
    this.#started.delete(running);
  }

  /** Congestion control of what the bed's own end sends to SERVER and from it; null: the host's default. */
  async setCongestion(name: string | null): Promise<void> {
    const option = name === null ? "" : ` congctl ${name}`;
    await this.#shell.must(
      `ip route change local ${SERVER} dev lo table local proto kernel scope host src ${SERVER}${option}`,
    );
  }

  /** Ends everything that was started here, then the namespace. */
  async close(): Promise<void> {
    await Promise.all([...this.#started].map((running) => this.stop(running)));
    await this.#holder.stop();
  }
}
