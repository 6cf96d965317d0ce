/**
 * One network: where all parts are put together.
 *
 * Theory of operation. A network owns one engine, and on it the stack, the protocols, the services and the published
 * ports. `open()` binds the published ports first, so that a busy one is told before anything else has started; `join()`
 * takes a sandbox's TAP as a link; from then on `#turn` runs once for each burst of events:
 *
 *     the events (frames go up the stack, socket events to their flows)  →  what waited for a turn
 *     →  timers that are due  →  TCP's end of turn (ACKs, windows)  →  when to be called next
 *
 * `drain()` waits until what the sandbox sent has left for the host's sockets, `close()` ends everything at once. An
 * exception out of a turn is a bug of ours: it ends the network and rejects `failed`.
 */
import { NetnsError } from "../errors.js";
import type { Clock, Random } from "../flow/clock.js";
import { Counters } from "../flow/counters.js";
import { FlowTable } from "../flow/table.js";
import { Timers } from "../flow/timers.js";
import type { Turns } from "../flow/turns.js";
import { HostSockets } from "../host/host-sockets.js";
import { Icmp } from "../icmp/icmp.js";
import { createEngine, native } from "../native/binding.js";
import { Control, type Engine } from "../native/engine.js";
import type { HostLoopback, Log, PublishSpec } from "../policy/config.js";
import { LoggedPolicy } from "../policy/logged-policy.js";
import { NatPolicy } from "../policy/nat-policy.js";
import type { OpenPort } from "../publish/listeners.js";
import { Publisher, type SharedListener } from "../publish/publisher.js";
import type { Sandbox } from "../sandbox/sandbox.js";
import { DhcpServer } from "../services/dhcp.js";
import { Dhcpv6Server } from "../services/dhcpv6.js";
import { DnsService } from "../services/dns-service.js";
import type { OwnName } from "../services/own-names.js";
import { Router } from "../services/router-advertisement.js";
import { Egress } from "../stack/egress.js";
import { Reassembly } from "../stack/fragments.js";
import { Ingress } from "../stack/ingress.js";
import { Neighbours } from "../stack/neighbours.js";
import { Tcp } from "../tcp/tcp.js";
import { Udp } from "../udp/udp.js";
import { type Address, type Endpoint, parseAddress } from "../wire/address.js";
import { linkLocalAddress } from "../wire/ipv6.js";
import { Handover } from "./handover.js";
import { Rest } from "./rest.js";

/** The IPv6 side of a sandbox's network: what cidr, gateway, dns and sandbox are for IPv4. */
export interface NetworkConfigV6 {
  /** First address and prefix length (0 to 128) of the sandbox's subnet. */
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** The sandbox's own address; the kernel inside may form more of the same prefix. */
  readonly sandbox: Address;
}

export interface NetworkConfig {
  /** First address and prefix length of the sandbox's subnet. */
  readonly cidr: { readonly network: Address; readonly prefix: number };
  /** The largest IP packet on the link, bytes. */
  readonly mtu: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** The sandbox's own address. */
  readonly sandbox: Address;
  /** False: the sandbox has no IPv4, and nothing of it is dialled. */
  readonly ipv4: boolean;
  /** null: the sandbox has no IPv6. */
  readonly v6: NetworkConfigV6 | null;
  /** Resolvers to ask; null: the host's, from /etc/resolv.conf. */
  readonly upstreams: readonly Endpoint[] | null;
  /** False: nothing answers at the DNS address. */
  readonly serveDns: boolean;
  /** Domains that DHCP clients inside are told to search. */
  readonly search: readonly string[];
  readonly hostLoopback: HostLoopback;
  /** Addresses to send from, one for each family; null: the host's choice. */
  readonly outboundAddress: Address | null;
  readonly outboundAddress6: Address | null;
  readonly publish: readonly PublishSpec[];
  /** The sandbox's own name. */
  readonly hostname: string;
  /** TCP congestion control towards peers on the host itself, the first of these that we may use; empty: the host's default. */
  readonly congestion: readonly string[];
  /** How many threads carry it, 1 to 16; more than one: see ShardedNetwork. */
  readonly shards: number;
  readonly log: Log;
  /** Called when a load has ended and nothing much has come for a while: the moment for what would disturb at other times. */
  readonly rested?: () => void;
}

/** What a network wants of a sandbox that joins it: its first TAP queue is the network's. */
export type Joining = Pick<Sandbox, "taps" | "mac" | "socket" | "discard"> & {
  readonly offloads: { readonly uso: boolean };
};

/** An open network, of one shard or of several. */
export interface OpenNetwork {
  /** Published ports with the host port that each got. */
  readonly published: readonly OpenPort[];
  /** Rejects when the network failed by itself (a bug of ours); settles in no other way. */
  readonly failed: Promise<never>;
  /**
   * Takes a sandbox's TAP as a link, and leads the published ports there. Settles when the kernel inside has been told where
   * our addresses are: what it sends before waits in a short queue, and the rest is lost.
   */
  join(sandbox: Sandbox): Promise<void>;
  /**
   * Waits until everything that the sandbox has sent is with the host's kernel, at most `milliseconds`. For use when the
   * command has ended and its namespace is still held: then every socket inside has been closed.
   */
  drain(milliseconds: number): Promise<void>;
  /** Ends everything at once: flows, ports, sockets, the link. Settles when nothing of it is left. */
  close(): Promise<void>;
  /** Every counter of the stack and the engine, by name, and the number of flows that are open now. */
  counters(): Record<string, number>;
}

/** A network's place among several on one TAP (shards.ts). The descriptors are the network's. */
export interface ShardPlace {
  /** 0 to count - 1; 0 has the published ports, and all that is not TCP. */
  readonly index: number;
  readonly count: number;
  /** One end of a pair to each other shard, by its index; -1 in our own place. */
  readonly peers: readonly number[];
  /** Our listeners of the published TCP ports; shard 0 makes its own. */
  readonly listeners: readonly SharedListener[];
}

/** Our MAC address on every link: locally administered, like the addresses the same for every sandbox. */
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02);
/** Flows of all protocols together. */
const FLOW_LIMIT = 131_072;
const DRAIN_POLL_MS = 5;

/** What is joined to a network: the link of one sandbox. */
interface Member {
  readonly link: number;
  readonly sandbox: Joining;
}

export class Network implements OpenNetwork {
  readonly published: readonly OpenPort[];
  readonly failed: Promise<never>;
  readonly #config: NetworkConfig;
  readonly #engine: Engine;
  readonly #counters = new Counters();
  readonly #timers: Timers;
  readonly #rest: Rest;
  readonly #neighbours = new Neighbours();
  readonly #sockets: HostSockets;
  readonly #egress: Egress;
  readonly #ingress: Ingress;
  readonly #flows: FlowTable;
  readonly #tcp: Tcp;
  readonly #udp: Udp;
  readonly #icmp: Icmp;
  readonly #publisher: Publisher;
  readonly #place: ShardPlace | null;
  readonly #handover: Handover | null;
  /** Ends of pairs that are no links yet. */
  #peers: readonly number[];
  readonly #clock: Clock;
  readonly #turns: Turns;
  #entering: { readonly action: () => void; readonly dropped: (() => void) | undefined }[] = [];
  #member: Member | null = null;
  #closed = false;

  /** Opens a network and takes its published ports. Rejects with a NetnsError: PORT_BUSY, NATIVE. */
  static async open(config: NetworkConfig): Promise<Network> {
    return new Network(config, null);
  }

  /** The same for one of several. Throws instead of rejecting. */
  static openShard(config: NetworkConfig, place: ShardPlace): Network {
    return new Network(config, place);
  }

  private constructor(config: NetworkConfig, place: ShardPlace | null) {
    this.#config = config;
    this.#place = place;
    this.#peers = place?.peers ?? [];
    const engine = createEngine({ congestion: config.congestion });
    this.#engine = engine;
    const { memory } = engine;
    const clock: Clock = { now: () => memory.clock[0] };
    this.#clock = clock;
    const random = cryptographicRandom();
    const counters = this.#counters;
    const turns: Turns = {
      enter: (action, dropped) => {
        if (this.#closed) {
          dropped?.();
          return;
        }
        this.#entering.push({ action, dropped });
        engine.wake();
      },
    };
    this.#turns = turns;
    const neighbours = this.#neighbours;
    const timers = new Timers(clock.now());
    this.#timers = timers;
    this.#rest = new Rest(timers, clock.now, () => setImmediate(() => this.#giveBack()));
    const flows = new FlowTable({ random, limit: FLOW_LIMIT });
    this.#flows = flows;
    const { gateway, dns, sandbox, serveDns, outboundAddress, outboundAddress6, hostLoopback, mtu } = config;
    const { network, prefix } = config.cidr;
    const v6 = config.v6 === null ? null : { ...config.v6, mac: GATEWAY_MAC, linkLocal: linkLocalAddress(GATEWAY_MAC) };

    const rules = new NatPolicy({
      v4: config.ipv4 ? { network, prefix, gateway, dns } : null,
      v6,
      serveDns,
      hostLoopback,
      outboundAddress,
      outboundAddress6,
    });
    const policy = new LoggedPolicy(rules, config.log, clock);
    const egress = new Egress({ memory, neighbours, clock, counters, mtu, gateway, v6, mac: GATEWAY_MAC });
    const reassembly = new Reassembly({ clock, counters, timers, output: egress });
    this.#egress = egress;
    const sockets = new HostSockets(engine, {
      frame: (link, offset, length) => frames.frame(link, offset, length),
      linkDown: (link) => this.#linkDown(link),
    });
    this.#sockets = sockets;
    const deliver = (link: number, offset: number, length: number) => ingress.frame(link, offset, length);
    this.#handover = place && new Handover({ ...place, slab: memory.slab, egress, counters, deliver });

    const parts = {
      output: egress,
      streams: sockets,
      datagrams: sockets,
      policy,
      clock,
      random,
      counters,
      flows,
      timers,
    };
    const names = serveDns
      ? new DnsService({
          ...parts,
          upstreams: config.upstreams,
          names: ownNames(config),
          subnets: [config.cidr, ...(config.v6 === null ? [] : [config.v6])],
          respond: (...answer) => this.#udp.respond(...answer),
        })
      : null;
    this.#tcp = new Tcp({ ...parts, dns: names, others: this.#handover });
    this.#udp = new Udp({
      ...parts,
      dns: names,
      dhcp: new DhcpServer({
        address: sandbox,
        prefix,
        gateway,
        dns: serveDns ? [dns] : [],
        domains: serveDns ? config.search : [],
        mtu,
        counters,
        respond: (...answer) => this.#udp.respond(...answer),
      }),
      dhcpv6:
        v6 &&
        new Dhcpv6Server({
          ...v6,
          address: v6.sandbox,
          dns: serveDns ? [v6.dns] : [],
          domains: serveDns ? config.search : [],
          counters,
          respond: (...answer) => this.#udp.respond(...answer),
        }),
    });
    this.#icmp = new Icmp(parts);
    const router =
      v6 && new Router({ ...parts, ...v6, mtu, dns: serveDns ? [v6.dns] : [], domains: serveDns ? config.search : [] });
    const ingress = new Ingress({
      slab: memory.slab,
      egress,
      neighbours,
      reassembly,
      counters,
      mac: GATEWAY_MAC,
      network,
      prefix,
      own: serveDns ? [gateway, dns] : [gateway],
      v6: v6 &&
        router && { ...v6, own: serveDns ? [v6.gateway, v6.dns, v6.linkLocal] : [v6.gateway, v6.linkLocal], router },
      answers: place === null || place.index === 0,
      protocols: { tcp: this.#tcp, udp: this.#udp, icmp: this.#icmp },
    });
    this.#ingress = ingress;
    const frames = this.#handover ?? ingress;
    this.#publisher = new Publisher({ ...parts, tcp: this.#tcp, udp: this.#udp, turns });

    let fail: (error: Error) => void = () => {};
    this.failed = new Promise<never>((_, reject) => {
      fail = reject;
    });
    // Whoever does not wait for `failed` learns of it by what stops working.
    this.failed.catch(() => {});
    try {
      const isFirst = place === null || place.index === 0;
      this.published = isFirst ? this.#publisher.open(config.publish, place?.count ?? 1) : [];
      if (place) this.#publisher.adopt(place.listeners);
    } catch (error) {
      this.close();
      throw error;
    }
    engine.start(
      () => this.#turn(),
      (cause) => {
        this.close();
        fail(new NetnsError("INTERNAL", `the network stack failed: ${cause.message}`, { cause }));
      },
    );
  }

  /** The listeners of published TCP ports that were made for another shard. Asked once for each, they are the caller's. */
  listenersFor(shard: number): readonly SharedListener[] {
    return this.#publisher.listenersFor(shard);
  }

  join(sandbox: Joining): Promise<void> {
    const { ipv4, v6, sandbox: address, gateway, cidr } = this.#config;
    const link = this.#engine.addLink(sandbox.taps[0]);
    const peers = this.#peers.map((fd) => (fd < 0 ? -1 : this.#engine.addLink(fd)));
    this.#peers = [];
    this.#handover?.join(link, peers);
    this.#egress.addLink(link, sandbox.offloads.uso);
    this.#neighbours.seed(link, address, sandbox.mac);
    if (v6 !== null) this.#neighbours.seed(link, v6.sandbox, sandbox.mac);
    this.#member = { link, sandbox };
    this.#publisher.join({
      link,
      v4: ipv4 ? { address, gateway, isInside: (other) => sharesPrefix(other, cidr.network, 96 + cidr.prefix) } : null,
      v6: v6 && {
        address: v6.sandbox,
        gateway: v6.gateway,
        isInside: (other) => sharesPrefix(other, v6.network, v6.prefix),
      },
      inside: sandbox,
    });
    return new Promise((resolve) => {
      this.#turns.enter(() => {
        this.#announce(link);
        setImmediate(resolve); // by then the turn is over, and the frames are written
      }, resolve);
    });
  }

  /** Flows of the sandbox now: TCP connections, UDP endpoints and echo ids. */
  get flowCount(): number {
    return this.#flows.size;
  }

  async drain(milliseconds: number): Promise<void> {
    const end = process.uptime() + milliseconds / 1000; // performance.now() would load another part of Node
    // One turn at least: frames may have come that no turn has read yet.
    await new Promise<void>((resolve) => this.#turns.enter(resolve, resolve));
    while (!this.#closed && this.#busy()) {
      if (process.uptime() > end) {
        this.#config.log.warn(
          `gave up on ${this.#flows.size + this.#publisher.spliced} flows that did not end within ${milliseconds / 1000} s`,
        );
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#engine.stop();
    this.#publisher.close();
    for (const fd of this.#peers) if (fd >= 0) native().closeFd(fd);
    for (const { dropped } of this.#entering.splice(0)) dropped?.();
  }

  counters(): Record<string, number> {
    return {
      ...this.#counters.snapshot(),
      ...this.#handover?.snapshot(),
      ...this.#engine.counters(),
      "flows.open": this.#flows.size,
    };
  }

  #turn(): void {
    const now = this.#clock.now();
    this.#egress.beginTurn();
    this.#sockets.dispatch();
    if (this.#entering.length > 0) this.#enter();
    this.#timers.advance(now);
    const { control } = this.#engine.memory;
    this.#rest.turn(control[Control.EventCount]);
    control[Control.BeforeSleep] = this.#tcp.endOfTurn(control[Control.Last] === 1) ? 1 : 0;
    control[Control.Deadline] = this.#timers.nextDeadline(now);
    this.#sockets.endOfTurn();
  }

  /** Asks the sandbox for its addresses in the name of each of ours: the kernel inside then knows us before it needs to. */
  #announce(link: number): void {
    if (this.#place !== null && this.#place.index > 0) return;
    const { ipv4, v6, sandbox, gateway, dns, serveDns } = this.#config;
    for (const family of [...(ipv4 ? [{ sandbox, gateway, dns }] : []), ...(v6 === null ? [] : [v6])]) {
      this.#egress.ask(link, family.gateway, family.sandbox);
      if (serveDns) this.#egress.ask(link, family.dns, family.sandbox);
    }
  }

  #giveBack(): void {
    this.#config.rested?.();
    if (!this.#closed) this.#engine.trim(); // after it, since the heap of C has then been given more
  }

  #enter(): void {
    const actions = this.#entering;
    this.#entering = [];
    for (const { action } of actions) action();
  }

  #linkDown(link: number): void {
    if (this.#member?.link !== link) return;
    if ((this.#place?.index ?? 0) === 0)
      this.#config.log.warn("the interface inside was removed: the sandbox has no network any more");
    this.#member = null;
    this.#egress.removeLink(link);
    this.#ingress.removeLink(link);
    this.#tcp.abortAll();
    this.#udp.removeLink(link);
    this.#icmp.removeLink(link);
  }

  #busy(): boolean {
    if (this.#tcp.busy()) return true;
    const counters = this.#engine.counters();
    // A pair may wait for a client that never ends: what counts is the way out, and the socket inside is the second of it.
    return counters["streams.flushing"] > 0 || (this.#publisher.spliced > 0 && counters["splice.second_open"] !== 0);
  }
}

/** The names that are known inside, and asked of nobody else. RFC 6761, 6.3 wants `localhost` among them. */
function ownNames({ hostname, ipv4, gateway, sandbox, v6 }: NetworkConfig): OwnName[] {
  const families = [
    ...(ipv4 ? [{ gateway, sandbox, loopback: parseAddress("127.0.0.1") }] : []),
    ...(v6 === null ? [] : [{ gateway: v6.gateway, sandbox: v6.sandbox, loopback: parseAddress("::1") }]),
  ];
  return families.flatMap((family) => [
    { name: "host.internal", address: family.gateway },
    { name: "localhost", address: family.loopback },
    ...(hostname === "localhost" ? [] : [{ name: hostname, address: family.sandbox }]),
  ]);
}

/** Random numbers from the kernel, a page of them at a time. */
function cryptographicRandom(): Random {
  const pool = new Uint32Array(256);
  const bytes = new Uint8Array(pool.buffer);
  let used = pool.length;
  return {
    uint32() {
      if (used === pool.length) {
        native().fillRandom(bytes);
        used = 0;
      }
      return pool[used++];
    },
  };
}

/** True if the first `bits` bits of both are the same. */
function sharesPrefix(a: Address, b: Address, bits: number): boolean {
  const whole = bits >>> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = bits & 7;
  return rest === 0 || (a[whole] ^ b[whole]) >>> (8 - rest) === 0;
}
