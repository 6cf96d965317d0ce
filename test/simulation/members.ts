/** A network of members on a simulated engine: each member a wire that a test holds. */
import type { NetworkConfig } from "../../src/network/config.js";
import type { LeaseWish } from "../../src/network/leases.js";
import type { Member } from "../../src/network/member.js";
import { Network } from "../../src/network/network.js";
import type { PublishSpec } from "../../src/policy/config.js";
import { SILENT_LOG } from "../../src/policy/config.js";
import { formatAddress, parseAddress } from "../../src/wire/address.js";
import { SimulatedEngine } from "./engine.js";
import { type Parsed, parse } from "./frames.js";
import type { SimulatedLink } from "./sockets.js";

export const CONFIG: NetworkConfig = {
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
  name: "lab",
  solo: false,
  upstreams: [],
  serveDns: true,
  search: [],
  hostLoopback: "closed",
  outboundAddress: null,
  outboundAddress6: null,
  congestion: [],
  log: SILENT_LOG,
};

export interface JoinWishes extends LeaseWish {
  readonly isolate?: boolean;
  readonly mac?: readonly number[];
  readonly publish?: readonly PublishSpec[];
}

/** A member, and its end of the wire. */
export class Host {
  readonly member: Member;
  readonly mac: readonly number[];
  readonly v4: string;
  readonly v6: string;
  /** What was asked of its launcher: sockets inside. */
  readonly asked: { resolve: (fd: number) => void; reject: (error: Error) => void }[];
  readonly #rig: Members;
  readonly #wire: SimulatedLink;

  constructor(rig: Members, member: Member, asked: Host["asked"]) {
    this.#rig = rig;
    this.member = member;
    this.asked = asked;
    this.mac = [...member.mac];
    this.v4 = member.lease.v4 === null ? "" : formatAddress(member.lease.v4);
    this.v6 = member.lease.v6 === null ? "" : formatAddress(member.lease.v6);
    this.#wire = rig.engine.link(member.link);
  }

  get macText(): string {
    return this.mac.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
  }

  /** Frames out of it; everything that follows from them happens. */
  say(...frames: Uint8Array[]): void {
    this.#wire.incoming.push(...frames);
    this.#rig.engine.settle();
  }

  /** The same, when something happens next. */
  queue(...frames: Uint8Array[]): void {
    this.#wire.incoming.push(...frames);
  }

  /** Frames that came into it since the last call. */
  raw(): Uint8Array[] {
    return this.#wire.take();
  }

  heard(): Parsed[] {
    return this.raw().map(parse);
  }

  /** Its interface is removed inside. */
  unplug(): void {
    this.#wire.down = true;
    this.#rig.engine.settle();
  }
}

export class Members {
  readonly engine: SimulatedEngine;
  readonly network: Network;
  #nextMac = 1;

  constructor(config: Partial<NetworkConfig> = {}) {
    this.engine = new SimulatedEngine({ slots: 128, maxSockets: 512 });
    this.network = Network.openOn(this.engine, { ...CONFIG, ...config });
  }

  async join(name: string | null, wishes: JoinWishes = {}): Promise<Host> {
    const { isolate = false, mac = [2, 0, 0, 0, 0, this.#nextMac++], publish = [], ...wish } = wishes;
    const asked: Host["asked"] = [];
    const joining = this.network.join(
      {
        taps: [-1],
        mac: Uint8Array.from(mac),
        offloads: { uso: true },
        socket: () => new Promise<number>((resolve, reject) => asked.push({ resolve, reject })),
        discard: () => {},
      },
      { name, lease: this.network.lease(wish), ports: this.network.openPorts(publish), isolate },
    );
    joining.catch(() => {});
    this.engine.settle();
    return new Host(this, await joining, asked);
  }

  /** Members with these names, which have heard nothing yet. */
  async hosts(...names: string[]): Promise<Host[]> {
    const hosts: Host[] = [];
    for (const name of names) hosts.push(await this.join(name));
    for (const host of hosts) host.raw();
    return hosts;
  }

  async leave(host: Host): Promise<void> {
    const leaving = host.member.leave();
    this.engine.settle();
    await leaving;
  }

  count(name: string): number {
    return this.network.counters()[name] ?? 0;
  }

  /** Counters that say that something was dropped, or went another way than it wanted. */
  drops(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.network.counters()).filter(([name]) => name.startsWith("switch.")));
  }
}
