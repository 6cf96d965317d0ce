/** The whole stack on a simulated engine: what network/ puts together, without sandboxes and published ports. */
import { Counters } from "../../src/flow/counters.js";
import { FlowTable } from "../../src/flow/table.js";
import { Timers } from "../../src/flow/timers.js";
import { HostSockets } from "../../src/host/host-sockets.js";
import { Icmp } from "../../src/icmp/icmp.js";
import { Control } from "../../src/native/engine.js";
import { Handover } from "../../src/network/handover.js";
import type { HostLoopback } from "../../src/policy/config.js";
import { NatPolicy } from "../../src/policy/nat-policy.js";
import { DhcpServer } from "../../src/services/dhcp.js";
import { Dhcpv6Server } from "../../src/services/dhcpv6.js";
import { Router } from "../../src/services/router-advertisement.js";
import { Egress } from "../../src/stack/egress.js";
import { Reassembly } from "../../src/stack/fragments.js";
import { Ingress, type ProtocolInput } from "../../src/stack/ingress.js";
import { Neighbours } from "../../src/stack/neighbours.js";
import type { Limits } from "../../src/udp/peers.js";
import { type DatagramService, Udp } from "../../src/udp/udp.js";
import { parseAddress } from "../../src/wire/address.js";
import type { Reported } from "../../src/wire/reported.js";
import { SimulatedEngine, type SimulatedOptions } from "./engine.js";
import { OUR_LINK_LOCAL, OUR_MAC, type Parsed, parse, SANDBOX_MAC, SANDBOX_V6 } from "./frames.js";
import type { SimulatedLink } from "./sockets.js";

export interface SimulatedNetworkOptions {
  readonly engine?: SimulatedOptions;
  readonly mtu?: number;
  readonly uso?: boolean;
  /** The sandbox's link has no virtio header. */
  readonly plain?: boolean;
  /** False: the sandbox has no IPv6. */
  readonly ipv6?: boolean;
  readonly hostLoopback?: HostLoopback;
  readonly dns?: DatagramService | null;
  readonly limits?: Partial<Limits>;
  /** One of several networks on the queues of one TAP. */
  readonly shard?: { readonly index: number; readonly count: number };
  /** Takes TCP, after the rest has been made. */
  readonly tcp?: (
    network: SimulatedNetwork,
  ) => ProtocolInput & { endOfTurn?(last: boolean): unknown; reported?(error: Reported): boolean };
}

export class SimulatedNetwork {
  readonly engine: SimulatedEngine;
  readonly counters = new Counters();
  readonly clock: { now(): number };
  readonly timers: Timers;
  readonly flows: FlowTable;
  readonly policy: NatPolicy;
  readonly neighbours = new Neighbours();
  readonly reassembly: Reassembly;
  readonly egress: Egress;
  readonly ingress: Ingress;
  readonly sockets: HostSockets;
  readonly udp: Udp;
  readonly icmp: Icmp;
  readonly link: number;
  readonly handover: Handover | null;
  /** Links to the other shards, -1 in our own place. */
  readonly peers: readonly number[];
  #seed = 1;
  readonly random = {
    uint32: () => {
      this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
      return this.#seed;
    },
  };

  constructor(options: SimulatedNetworkOptions = {}) {
    const engine = new SimulatedEngine(options.engine);
    const { counters, random, neighbours } = this;
    const clock = { now: () => engine.now };
    const gateway = parseAddress("10.0.2.2");
    const dns = parseAddress("10.0.2.3");
    const network = parseAddress("10.0.2.0");
    const address = parseAddress("10.0.2.100");
    const mac = Uint8Array.from(OUR_MAC);
    const mtu = options.mtu ?? 1500;
    const v6 = {
      network: parseAddress("fd00::"),
      prefix: 64,
      gateway: parseAddress("fd00::2"),
      dns: parseAddress("fd00::3"),
      linkLocal: parseAddress(OUR_LINK_LOCAL),
      mac,
    };
    this.engine = engine;
    this.clock = clock;
    this.timers = new Timers(engine.now);
    this.flows = new FlowTable({ random, limit: 65536 });
    this.policy = new NatPolicy({
      v4: { network, prefix: 24, gateway, dns },
      v6,
      serveDns: true,
      hostLoopback: options.hostLoopback ?? "closed",
      outboundAddress: null,
      outboundAddress6: null,
    });
    this.egress = new Egress({ memory: engine.memory, neighbours, clock, counters, mtu, gateway, v6, mac });
    this.reassembly = new Reassembly({ clock, counters, timers: this.timers, output: this.egress });
    this.sockets = new HostSockets(engine, {
      frame: (link, offset, length) => (this.handover ?? this.ingress).frame(link, offset, length),
      linkDown: () => {},
    });
    const { shard } = options;
    this.handover =
      shard === undefined
        ? null
        : new Handover({
            ...shard,
            dns: { v4: dns, v6: v6.dns },
            slab: engine.memory.slab,
            egress: this.egress,
            counters,
            deliver: (link, offset, length) => this.ingress.frame(link, offset, length),
          });
    const { egress: output, sockets: datagrams, policy, flows, timers, reassembly } = this;
    const dhcp = new DhcpServer({
      addressOf: () => address,
      prefix: 24,
      gateway,
      dns: [dns],
      mtu,
      domains: ["example.net"],
      counters,
      respond: (...answer) => this.udp.respond(...answer),
    });
    const parts = { output, datagrams, policy, clock, counters, flows, timers };
    const dhcpv6 = new Dhcpv6Server({
      ...v6,
      addressOf: () => parseAddress(SANDBOX_V6),
      dns: [v6.dns],
      domains: ["example.net"],
      counters,
      respond: (...answer) => this.udp.respond(...answer),
    });
    this.udp = new Udp({ ...parts, dns: options.dns ?? null, dhcp, dhcpv6, limits: options.limits ?? {} });
    const tcp = options.tcp?.(this) ?? { input: () => counters.add("test.tcp") };
    const errors = { reported: (error: Reported) => tcp.reported?.(error) ?? false };
    this.icmp = new Icmp({ ...parts, tcp: errors, udp: this.udp, others: this.handover });
    const router = new Router({ ...parts, ...v6, mtu, dns: [v6.dns], domains: ["example.net"] });
    this.ingress = new Ingress({
      slab: engine.memory.slab,
      egress: output,
      neighbours,
      reassembly,
      counters,
      mac,
      network,
      prefix: 24,
      own: [gateway, dns],
      v6: options.ipv6 === false ? null : { ...v6, own: [v6.gateway, v6.dns, v6.linkLocal], router },
      answers: (shard?.index ?? 0) === 0,
      protocols: { tcp, udp: this.udp, icmp: this.icmp },
    });
    this.link = engine.addLink(-1);
    this.peers = Array.from({ length: shard?.count ?? 0 }, (_, i) => (i === shard?.index ? -1 : engine.addLink(-1)));
    this.handover?.join(this.link, this.peers);
    output.addLink(this.link, options.uso ?? true, options.plain);
    neighbours.seed(this.link, address, Uint8Array.from(SANDBOX_MAC));
    neighbours.seed(this.link, parseAddress(SANDBOX_V6), Uint8Array.from(SANDBOX_MAC));
    engine.start(
      () => {
        output.beginTurn();
        this.sockets.dispatch();
        timers.advance(clock.now());
        tcp.endOfTurn?.(true);
        output.endOfTurn();
        this.sockets.endOfTurn();
        engine.memory.control[Control.Deadline] = timers.nextDeadline(clock.now());
      },
      () => {},
    );
  }

  get wire(): SimulatedLink {
    return this.engine.link(this.link);
  }

  /** Sends frames out of the sandbox, and returns what comes back into it. */
  exchange(...frames: Uint8Array[]): Parsed[] {
    this.wire.incoming.push(...frames);
    this.engine.settle();
    return this.received();
  }

  /** What came into the sandbox since the last call. */
  received(): Parsed[] {
    return this.wire.take().map(parse);
  }

  /** Lets time pass, with a turn at each deadline. */
  pass(milliseconds: number): void {
    const end = this.engine.now + milliseconds;
    for (;;) {
      const next = this.timers.nextDeadline(this.engine.now);
      if (next < 0 || this.engine.now + next > end) break;
      this.engine.advance(next);
      this.engine.settle();
    }
    this.engine.advance(end - this.engine.now);
    this.engine.settle();
  }
}
