/**
 * One network: where all parts are put together.
 *
 * Theory of operation. A network owns one engine, and on it the stack, the protocols and the services; its members
 * (member.ts) are sandboxes that join by handing over their TAP, which becomes a link. A member's addresses are leased and its
 * published ports are bound before its namespace is made, so that what is taken is told before anything else has started.
 * `#turn` runs once for each burst of events:
 *
 *     the events (frames go up the stack, socket events to their flows)  →  what waited for a turn
 *     →  timers that are due  →  TCP's end of turn (ACKs, windows)  →  when to be called next
 *
 * A member ends within a turn, after its events: what it had is reset and closed by the commands of this turn, and at the
 * beginning of the next its link is removed, so that the number is nobody's while records still name it.
 * `close()` ends everything at once. An exception out of a turn is a bug of ours: it ends the network and rejects `failed`.
 *
 * Bounds: MAX_LINKS members; what the protocols bound, they bound for all members together.
 */
import { NetnsError } from "../errors.js";
import type { Clock } from "../flow/clock.js";
import { Counters } from "../flow/counters.js";
import { FlowTable } from "../flow/table.js";
import { Timers } from "../flow/timers.js";
import type { Turns } from "../flow/turns.js";
import { HostSockets } from "../host/host-sockets.js";
import type { Datagrams, Streams } from "../host/sockets.js";
import { Icmp } from "../icmp/icmp.js";
import type { CaptureSink } from "../link/capture.js";
import type { Output } from "../link/output.js";
import { MAX_SEGMENTS, type Segment, type SegmentPort } from "../link/segment.js";
import { createEngine, native } from "../native/binding.js";
import { Control, type Engine, MAX_LINKS } from "../native/engine.js";
import type { PublishSpec } from "../policy/config.js";
import { LoggedPolicy } from "../policy/logged-policy.js";
import { NatPolicy } from "../policy/nat-policy.js";
import { SocksProxy } from "../proxy/socks-proxy.js";
import { bindError } from "../publish/listeners.js";
import { Publisher, type PublishSubnet, type SharedListener } from "../publish/publisher.js";
import { DhcpServer } from "../services/dhcp.js";
import { Dhcpv6Server } from "../services/dhcpv6.js";
import { DnsService } from "../services/dns-service.js";
import { OwnNames } from "../services/own-names.js";
import { Router } from "../services/router-advertisement.js";
import { Egress } from "../stack/egress.js";
import { Reassembly } from "../stack/fragments.js";
import type { Owned } from "../stack/guard.js";
import { Ingress } from "../stack/ingress.js";
import { Neighbours } from "../stack/neighbours.js";
import { Switch } from "../stack/switch.js";
import { Tcp } from "../tcp/tcp.js";
import { Udp } from "../udp/udp.js";
import { type Address, type Endpoint, formatEndpoint } from "../wire/address.js";
import { linkLocalAddress } from "../wire/ipv6.js";
import { sharesPrefix } from "../wire/prefix.js";
import { Captures } from "./captures.js";
import type { NetworkConfig, ShardPlace } from "./config.js";
import { Handover } from "./handover.js";
import { type Lease, Leases, type LeaseWish } from "./leases.js";
import { publishListening, watchPorts } from "./listening.js";
import { type Ending, type Joining, Member, type MemberHost, type Membership } from "./member.js";
import { memberNames, networkNames, networkZone } from "./names.js";
import { type OpenProxy, proxyMembers } from "./proxy.js";
import { cryptographicRandom } from "./random.js";
import { Rest } from "./rest.js";

/** Our MAC address on every link: locally administered, like the addresses the same for every sandbox. */
const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 0x0a, 0x00, 0x02, 0x02);
/** Flows of all protocols together. */
const FLOW_LIMIT = 131_072;
const DRAIN_POLL_MS = 5;

/** What of a network those may use who are attached to it: a segment, a proxy. */
export interface NetworkParts {
  readonly output: Output;
  readonly streams: Streams;
  readonly datagrams: Datagrams;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly timers: Timers;
  readonly turns: Turns;
}

export class Network implements MemberHost {
  /** Rejects when the network failed by itself (a bug of ours); settles in no other way. */
  readonly failed: Promise<never>;
  /** The names that are answered inside; more may be added, and taken back. */
  readonly names: OwnNames;
  /** The engine's slab: the frames that a capture is told of lie there. */
  readonly slab: ArrayBuffer;
  readonly parts: NetworkParts;
  readonly #config: NetworkConfig;
  readonly #engine: Engine;
  readonly #counters = new Counters();
  readonly #timers: Timers;
  readonly #rest: Rest;
  readonly #neighbours = new Neighbours();
  readonly #sockets: HostSockets;
  readonly #egress: Egress;
  readonly #ingress: Ingress;
  readonly #switch: Switch | null;
  readonly #flows: FlowTable;
  readonly #tcp: Tcp;
  readonly #udp: Udp;
  readonly #icmp: Icmp;
  readonly #dns: DnsService | null;
  readonly #publish: () => Publisher;
  readonly #publishers = new Set<Publisher>();
  readonly #leases: Leases;
  readonly #place: ShardPlace | null;
  readonly #handover: Handover | null;
  /** Ends of pairs that are no links yet. */
  #peers: readonly number[];
  readonly #clock: Clock;
  readonly #turns: Turns;
  #entering: { readonly action: () => void; readonly dropped: (() => void) | undefined }[] = [];
  /** By link. */
  readonly #members: (Member | undefined)[] = [];
  /** Those that ended in this turn or since: their links are removed at the beginning of the next. */
  #ending: { readonly member: Member; readonly how: Ending }[] = [];
  readonly #captures: Captures;
  #closed = false;

  /** Opens a network. Rejects with a NetnsError: NATIVE. */
  static async open(config: NetworkConfig): Promise<Network> {
    return new Network(config, null, createEngine({ congestion: config.congestion }));
  }

  /** The same on an engine that was made elsewhere, and does nothing yet. */
  static openOn(engine: Engine, config: NetworkConfig): Network {
    return new Network(config, null, engine);
  }

  /** The same for one of several. Throws instead of rejecting. */
  static openShard(config: NetworkConfig, place: ShardPlace): Network {
    return new Network(config, place, createEngine({ congestion: config.congestion }));
  }

  private constructor(config: NetworkConfig, place: ShardPlace | null, engine: Engine) {
    this.#config = config;
    this.#place = place;
    this.#peers = place?.peers ?? [];
    this.#engine = engine;
    const { memory } = engine;
    this.slab = memory.slab;
    this.#captures = new Captures(memory);
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
    this.#rest = new Rest(timers, clock.now, {
      began: () => this.#config.began?.(),
      rested: () => setImmediate(() => this.#giveBack()),
    });
    const flows = new FlowTable({ random, limit: FLOW_LIMIT });
    this.#flows = flows;
    const { gateway, dns, sandbox, serveDns, outboundAddress, outboundAddress6, hostLoopback, mtu } = config;
    const { network, prefix } = config.cidr;
    const zone = networkZone(config.name ?? null);
    this.#leases = new Leases(config.ipv4 ? { network, prefix, gateway, dns, sandbox } : null, config.v6);
    this.names = new OwnNames(networkNames(config), [config.cidr, ...(config.v6 === null ? [] : [config.v6])], zone);
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
    const segment = (link: number, offset: number, length: number) => this.#switch?.toSegment(link, offset, length);
    const egress = new Egress({ memory, neighbours, clock, counters, mtu, gateway, v6, mac: GATEWAY_MAC, segment });
    const reassembly = new Reassembly({ clock, counters, timers, output: egress });
    this.#egress = egress;
    const sockets = new HostSockets(engine, {
      frame: (link, offset, length) => frames.frame(link, offset, length),
      linkDown: (link) => this.#linkDown(link),
    });
    this.#sockets = sockets;
    const deliver = (link: number, offset: number, length: number) => ingress.frame(link, offset, length);
    const dnsAt = { v4: config.ipv4 && serveDns ? dns : null, v6: serveDns ? (config.v6?.dns ?? null) : null };
    this.#handover = place && new Handover({ ...place, dns: dnsAt, slab: memory.slab, egress, counters, deliver });

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
          resolvConf: config.resolvConf,
          names: this.names,
          respond: (...answer) => this.#udp.respond(...answer),
        })
      : null;
    this.#dns = names;
    this.#tcp = new Tcp({ ...parts, dns: names, others: this.#handover });
    this.#udp = new Udp({
      ...parts,
      dns: names,
      dhcp: new DhcpServer({
        addressOf: (link) => this.#members[link]?.lease.v4 ?? null,
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
          addressOf: (link) => this.#members[link]?.lease.v6 ?? null,
          dns: serveDns ? [v6.dns] : [],
          domains: serveDns ? config.search : [],
          counters,
          respond: (...answer) => this.#udp.respond(...answer),
        }),
    });
    this.#icmp = new Icmp({ ...parts, tcp: this.#tcp, udp: this.#udp, others: this.#handover });
    this.parts = { output: egress, streams: sockets, datagrams: sockets, clock, counters, timers, turns };
    const router =
      v6 && new Router({ ...parts, ...v6, mtu, dns: serveDns ? [v6.dns] : [], domains: serveDns ? config.search : [] });
    const own = serveDns ? [gateway, dns] : [gateway];
    const own6 = v6 && (serveDns ? [v6.gateway, v6.dns, v6.linkLocal] : [v6.gateway, v6.linkLocal]);
    const ingress = new Ingress({
      slab: memory.slab,
      egress,
      neighbours,
      reassembly,
      counters,
      mac: GATEWAY_MAC,
      network,
      prefix,
      own,
      v6: v6 && router && own6 && { ...v6, own: own6, router },
      answers: place === null || place.index === 0,
      protocols: { tcp: this.#tcp, udp: this.#udp, icmp: this.#icmp },
    });
    this.#ingress = ingress;
    this.#switch =
      config.solo === false
        ? new Switch({
            ...parts,
            slab: memory.slab,
            egress,
            mac: GATEWAY_MAC,
            own: [...own, ...(own6 ?? [])],
            v6,
            deliver,
          })
        : null;
    const frames = this.#handover ?? this.#switch ?? ingress;
    const publishing = { ...parts, tcp: this.#tcp, udp: this.#udp, turns };
    this.#publish = () => new Publisher(publishing);

    let fail: (error: Error) => void = () => {};
    this.failed = new Promise<never>((_, reject) => {
      fail = reject;
    });
    // Whoever does not wait for `failed` learns of it by what stops working.
    this.failed.catch(() => {});
    engine.start(
      () => this.#turn(),
      (cause) => {
        this.close();
        fail(new NetnsError("INTERNAL", `the network stack failed: ${cause.message}`, { cause }));
      },
    );
  }

  /**
   * Gives a new member its addresses: those that it wishes for, or free ones.
   * Throws a NetnsError: USAGE, ADDRESS_BUSY, NETWORK_FULL.
   */
  lease(wish: LeaseWish = {}): Lease {
    return this.#leases.lease(wish);
  }

  /**
   * Takes ports of the host for a member that is still to join: all of them, or none. Throws a NetnsError: PORT_BUSY.
   * @param publishers how many shards share the TCP ports
   */
  openPorts(specs: readonly PublishSpec[], publishers = 1): Publisher {
    const ports = this.#publish();
    ports.open(specs, publishers);
    this.#publishers.add(ports);
    return ports;
  }

  /** Serves ports that another shard opened. */
  adoptPorts(listeners: readonly SharedListener[]): Publisher {
    const ports = this.openPorts([]);
    ports.adopt(listeners);
    return ports;
  }

  /** Gives back ports whose member never came. */
  closePorts(ports: Publisher): void {
    if (this.#publishers.delete(ports) && !this.#closed) ports.close();
  }

  /** Those that are here now. */
  members(): readonly Member[] {
    return this.#members.filter((member) => member !== undefined);
  }

  /**
   * Takes a sandbox's TAP as a link, and leads its published ports there. Settles when the kernel inside has been told where
   * our addresses are: what it sends before waits in a short queue, and the rest is lost.
   *
   * Rejects with a NetnsError, and gives back TAP, ports and lease: ADDRESS_BUSY where another member has its name or hardware
   * address, NETWORK_FULL, USAGE.
   */
  async join(sandbox: Joining, membership: Membership): Promise<Member> {
    const ports = membership.ports ?? this.openPorts([]);
    const { uso, plain = false } = sandbox.offloads;
    let link = -1;
    try {
      this.#checkNewcomer(sandbox, membership);
      link = this.#engine.addLink(sandbox.taps[0], plain);
    } catch (error) {
      if (error instanceof NetnsError && sandbox.taps[0] >= 0) native().closeFd(sandbox.taps[0]); // else the engine has closed it
      this.closePorts(ports);
      membership.lease.release();
      throw error;
    }
    const peers = this.#peers.map((fd) => (fd < 0 ? -1 : this.#engine.addLink(fd)));
    this.#peers = [];
    this.#handover?.join(link, peers);
    const { name, lease, names: more = [] } = membership;
    const names = [...memberNames(name, this.#config.name ?? null, lease), ...more];
    const listening = watchPorts(sandbox, lease, this.#counters);
    const member = new Member(this, link, sandbox, membership, ports, names, listening);
    this.#members[link] = member;
    this.#egress.addLink(link, uso, plain);
    this.#switch?.addMember(link, owned(member), member.isolated);
    for (const address of [lease.v4, lease.v6]) if (address !== null) this.#neighbours.seed(link, address, member.mac);
    this.names.add(names);
    const { v4, v6 } = this.#subnets(lease);
    ports.join({ link, v4, v6, inside: sandbox });
    for (const host of membership.automatic ?? []) publishListening(member, host, this.#config.log);
    this.#turns.enter(() => {
      if (this.#members[link] === member) this.#announce(member);
    });
    await this.settle();
    return member;
  }

  /** Flows of all members now: TCP connections, UDP endpoints and echo ids. */
  get flowCount(): number {
    return this.#flows.size;
  }

  /** See Member.drain(). */
  async drain(member: Member, milliseconds: number): Promise<void> {
    const end = process.uptime() + milliseconds / 1000; // performance.now() would load another part of Node
    // One turn at least: frames may have come that no turn has read yet.
    await new Promise<void>((resolve) => this.#turns.enter(resolve, resolve));
    while (!this.#closed && !member.isGone && this.#busy(member)) {
      if (process.uptime() > end) {
        this.#config.log.warn(
          `gave up on ${this.#flows.size + member.ports.spliced} flows that did not end within ${milliseconds / 1000} s`,
        );
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
    }
  }

  /** See MemberHost. */
  settle(): Promise<void> {
    // When setImmediate comes the turn is over, and its commands are carried out.
    return new Promise((resolve) => this.#turns.enter(() => setImmediate(resolve), resolve));
  }

  /** See Member.leave(). */
  leave(member: Member): void {
    this.#turns.enter(() => this.#end(member, "left"));
  }

  /** Has every frame of every link told to `sink` from now on. Returns what ends that. */
  capture(sink: CaptureSink): () => void {
    return this.#captures.add(sink);
  }

  /**
   * Attaches a way to members elsewhere (link/segment.ts); with `parts` it has sockets and timers of its own.
   * Throws a NetnsError: USAGE where the network is for one sandbox alone, NETWORK_FULL.
   */
  addSegment(port: SegmentPort): Segment {
    const link = this.#switch?.addSegment(port);
    if (link === undefined)
      throw new NetnsError("USAGE", "a network for one sandbox alone has no way to others elsewhere");
    if (link < 0)
      throw new NetnsError("NETWORK_FULL", `the network has ${MAX_SEGMENTS} ways to others elsewhere already`);
    this.#egress.addLink(link, true);
    let attached = true;
    return {
      link,
      deliver: (offset, length) => {
        if (attached) this.#switch?.frame(link, offset, length);
      },
      remove: () => {
        if (!attached) return;
        attached = false;
        this.#turns.enter(() => this.#forget(link));
      },
    };
  }

  /** Opens a SOCKS 5 proxy at a place of the host that leads to the members (proxy/socks-proxy.ts). Throws a NetnsError: PORT_BUSY. */
  openProxy(local: Endpoint): OpenProxy {
    const members = proxyMembers(this);
    const parts = { clock: this.#clock, timers: this.#timers, turns: this.#turns, counters: this.#counters };
    const proxy = new SocksProxy({ ...parts, streams: this.#sockets, bytes: new Uint8Array(this.slab), members });
    const error = proxy.open(local);
    if (error < 0) throw bindError(`listen at ${formatEndpoint(local)}`, -error);
    return { local: proxy.local, close: () => this.#turns.enter(() => proxy.close()) };
  }

  /** Ends everything at once: flows, ports, sockets, links. Settles when nothing of it is left. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#engine.stop();
    for (const ports of this.#publishers) ports.engineEnded();
    for (const fd of this.#peers) if (fd >= 0) native().closeFd(fd);
    for (const { dropped } of this.#entering.splice(0)) dropped?.();
    for (const { member, how } of this.#ending.splice(0)) member.end(how);
    for (const member of this.members()) member.end("closed");
    this.#members.length = 0;
  }

  /** Every counter of the stack and the engine, by name, and the number of flows and members that are open now. */
  counters(): Record<string, number> {
    return {
      ...this.#counters.snapshot(),
      ...this.#handover?.snapshot(),
      ...this.#engine.counters(),
      "udp.turn_limit": this.#sockets.dropped,
      "flows.open": this.#flows.size,
      "members.open": this.members().length,
    };
  }

  #turn(): void {
    const now = this.#clock.now();
    this.#egress.beginTurn();
    this.#switch?.beginTurn();
    if (this.#ending.length > 0) this.#removeLinks();
    if (this.#captures.any) this.#captures.tellOut(now);
    this.#sockets.dispatch();
    if (this.#entering.length > 0) this.#enter();
    this.#timers.advance(now);
    const { control } = this.#engine.memory;
    this.#rest.turn(control[Control.EventCount]);
    control[Control.BeforeSleep] = this.#tcp.endOfTurn(control[Control.Last] === 1) ? 1 : 0;
    control[Control.Deadline] = this.#timers.nextDeadline(now);
    this.#switch?.endOfTurn();
    this.#egress.endOfTurn();
    this.#sockets.endOfTurn();
    if (this.#captures.any) this.#captures.tellIn(now);
  }

  /** Throws where it cannot be a member, with what it wants. */
  #checkNewcomer({ mac }: Joining, { name }: Membership): void {
    if (this.#closed) throw new NetnsError("NAMESPACE", "the network has ended");
    const members = this.members();
    if (this.#config.solo !== false && members.length > 0) {
      throw new NetnsError("USAGE", "this network is for one sandbox alone; make one for several: network create NAME");
    }
    // Each other shard is a link, too, but then there is one member.
    if (members.length + this.#ending.length >= MAX_LINKS) {
      throw new NetnsError(
        "NETWORK_FULL",
        `the network has ${MAX_LINKS} members already; end one, or make another network`,
      );
    }
    if (name !== null && this.names.addresses(name).length > 0) {
      throw new NetnsError("ADDRESS_BUSY", `the name ${name} is taken in this network; choose another one`);
    }
    if (members.some((member) => sameMac(member.mac, mac)) || sameMac(mac, GATEWAY_MAC)) {
      throw new NetnsError("ADDRESS_BUSY", "another member has this hardware address; choose another one, or none");
    }
  }

  /** Where a member is, for its published ports. */
  #subnets({ v4, v6 }: Lease): { v4: PublishSubnet | null; v6: PublishSubnet | null } {
    const { cidr, gateway, v6: six } = this.#config;
    const inside = (network: Address, bits: number) => (other: Address) => sharesPrefix(other, network, bits);
    return {
      v4: v4 && { address: v4, gateway, isInside: inside(cidr.network, 96 + cidr.prefix) },
      v6: v6 && six && { address: v6, gateway: six.gateway, isInside: inside(six.network, six.prefix) },
    };
  }

  /** Asks the member for its addresses in the name of each of ours: the kernel inside then knows us before it needs to. */
  #announce(member: Member): void {
    if (this.#place !== null && this.#place.index > 0) return;
    const { link, lease } = member;
    this.#switch?.announce(link, owned(member));
    const { gateway, dns, v6, serveDns } = this.#config;
    for (const [address, own] of [[lease.v4, { gateway, dns }] as const, [lease.v6, v6] as const]) {
      if (address === null || own === null) continue;
      this.#egress.ask(link, own.gateway, address);
      if (serveDns) this.#egress.ask(link, own.dns, address);
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

  /** The events of this turn may name more of the link, and of what belongs to it: it ends after them. */
  #linkDown(link: number): void {
    const member = this.#members[link];
    if (member !== undefined) this.#turns.enter(() => this.#end(member, "down"));
  }

  /** Ends all that a member has, in a turn, after its events. */
  #end(member: Member, how: Ending): void {
    const { link, name, ports } = member;
    if (this.#members[link] !== member) return;
    delete this.#members[link];
    if (how === "down") {
      this.#egress.removeLink(link);
      this.#tellDown(name);
    }
    this.#forget(link);
    ports.close();
    this.#publishers.delete(ports);
    this.names.remove(member.names);
    member.lease.release();
    this.#ending.push({ member, how });
    this.#engine.memory.control[Control.Again] = 1;
  }

  /** Ends all flows of a link, and what is known of it. */
  #forget(link: number): void {
    this.#tcp.abort(link);
    this.#udp.removeLink(link);
    this.#icmp.removeLink(link);
    this.#dns?.removeLink(link);
    this.#switch?.remove(link);
    this.#ingress.removeLink(link);
    this.#egress.removeLink(link);
  }

  #tellDown(name: string | null): void {
    if ((this.#place?.index ?? 0) > 0) return;
    const whose = name === null ? "the sandbox" : name;
    const where = name === null ? "inside" : `of ${name}`;
    this.#config.log.warn(`the interface ${where} was removed: ${whose} has no network any more`);
  }

  /** The commands that named these links have been carried out. */
  #removeLinks(): void {
    for (const { member, how } of this.#ending.splice(0)) {
      this.#engine.removeLink(member.link);
      member.end(how);
    }
  }

  #busy({ link, ports }: Member): boolean {
    // A pair may wait for a client that never ends: what counts is the way out.
    return this.#tcp.busy(link) || ports.answering;
  }
}

/** What of a member the switch has to know. */
function owned({ mac, lease: { v4, v6 } }: Member): Owned {
  return { mac, v4, v6 };
}

function sameMac(a: Uint8Array, b: Uint8Array): boolean {
  for (let i = 0; i < 6; i++) if (a[i] !== b[i]) return false;
  return true;
}
