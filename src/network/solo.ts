/** A network for one sandbox alone, opened with all that it needs, as `run`, `attach` and the API want it. */
import type { Captured } from "../capture/session.js";
import type { OpenPort } from "../publish/listeners.js";
import type { Publisher } from "../publish/publisher.js";
import type { SoloConfig } from "./config.js";
import type { Lease } from "./leases.js";
import type { Joining, Member } from "./member.js";
import { soloNames } from "./names.js";
import { Network } from "./network.js";

/** An open network for one sandbox, of one shard or of several. */
export interface OpenNetwork {
  /** Published ports with the host port that each got. */
  readonly published: readonly OpenPort[];
  /** Rejects when the network failed by itself (a bug of ours); settles in no other way. */
  readonly failed: Promise<never>;
  /** Takes the sandbox as its one member; see Network.join(). */
  join(sandbox: Joining): Promise<Member>;
  /** What a capture looks at; null: its frames pass through several threads, and there is no place to see them all. */
  readonly captured: Captured | null;
  /** See Member.drain(). */
  drain(milliseconds: number): Promise<void>;
  /** Ends everything at once: flows, ports, sockets, the link. Settles when nothing of it is left. */
  close(): Promise<void>;
  /** Every counter of the stack and the engine, by name, and the number of flows that are open now. */
  counters(): Record<string, number>;
}

export class SoloNetwork implements OpenNetwork {
  readonly network: Network;
  readonly failed: Promise<never>;
  readonly #config: SoloConfig;
  readonly #ports: Publisher;
  readonly #lease: Lease;
  #member: Member | null = null;

  /** Opens a network and takes its published ports. Rejects with a NetnsError: PORT_BUSY, NATIVE. */
  static async open(config: SoloConfig): Promise<SoloNetwork> {
    const network = await Network.open(config);
    try {
      return new SoloNetwork(network, config);
    } catch (error) {
      await network.close();
      throw error;
    }
  }

  private constructor(network: Network, config: SoloConfig) {
    this.network = network;
    this.failed = network.failed;
    this.#config = config;
    this.#lease = network.lease();
    this.#ports = network.openPorts(config.publish);
  }

  get published(): readonly OpenPort[] {
    return this.#ports.ports;
  }

  get captured(): Captured {
    return this.network;
  }

  async join(sandbox: Joining): Promise<Member> {
    const names = soloNames(this.#config.hostname, this.#lease);
    const { automatic = [] } = this.#config;
    const joined = this.network.join(sandbox, { name: null, lease: this.#lease, ports: this.#ports, automatic, names });
    this.#member = this.network.members()[0] ?? null;
    return joined;
  }

  async drain(milliseconds: number): Promise<void> {
    await this.#member?.drain(milliseconds);
  }

  close(): Promise<void> {
    return this.network.close();
  }

  counters(): Record<string, number> {
    return this.network.counters();
  }
}
