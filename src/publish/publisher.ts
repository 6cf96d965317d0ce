/**
 * The published ports of one member: opens them on the host, and leads what arrives to the sandbox, when that has joined.
 *
 * Until then the ports are taken but nothing is behind them: TCP connections wait (a few), datagrams are dropped and counted.
 * Ports come and go while the sandbox lives. What a port that goes leaves behind is as with docker: connections that were
 * accepted stay until they end, nobody new is accepted, and the clients of a UDP port are forgotten, since they have no end.
 * When the member leaves, everything of it ends.
 */
import { NetnsError } from "../errors.js";
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { Timers } from "../flow/timers.js";
import type { Turns } from "../flow/turns.js";
import type { Datagrams, Streams } from "../host/sockets.js";
import { native } from "../native/binding.js";
import type { PublishSpec } from "../policy/config.js";
import type { Tcp } from "../tcp/tcp.js";
import type { PublishedPort } from "../udp/published.js";
import type { Udp } from "../udp/udp.js";
import { type Address, type Endpoint, type Family, familyOf } from "../wire/address.js";
import { type DirectCaller, DirectPath, type InsideSockets } from "./direct.js";
import { type OpenPort, openAll } from "./listeners.js";
import { isLinkLocal, isLoopback, LOOPBACK_IPV4, LOOPBACK_IPV6 } from "./names.js";
import { type CarryThrough, type Targets, TcpPort } from "./tcp.js";
import { UdpPort } from "./udp.js";

export interface PublisherOptions {
  readonly streams: Streams;
  readonly datagrams: Datagrams;
  readonly tcp: Tcp;
  readonly udp: Udp;
  readonly clock: Clock;
  readonly counters: Counters;
  readonly timers: Timers;
  readonly turns: Turns;
}

/** The sandbox's place in one family. */
export interface PublishSubnet {
  readonly address: Address;
  readonly gateway: Address;
  /** True for addresses of the sandbox's own subnet: a client there could not be answered by way of the gateway. */
  readonly isInside: (address: Address) => boolean;
}

/** The sandbox behind the ports. One family at least is there. */
export interface PublishTarget {
  readonly link: number;
  readonly v4: PublishSubnet | null;
  readonly v6: PublishSubnet | null;
  readonly inside: InsideSockets;
}

/** A listener of a published TCP port that was made for another publisher of the same ports. */
export interface SharedListener {
  readonly insidePort: number;
  readonly fd: number;
}

/** Connections that a listener holds until we take them. */
const BACKLOG = 4096;

/** One socket of a published port. */
type Listening = { readonly inside: Address | null } & (
  | { readonly protocol: "tcp"; readonly port: TcpPort }
  | { readonly protocol: "udp"; readonly port: UdpPort; through: PublishedPort | null }
);

export class Publisher {
  readonly #options: PublisherOptions;
  /** By socket. */
  readonly #listening = new Map<number, Listening>();
  #ports: readonly OpenPort[] = [];
  #joined: { readonly target: PublishTarget; readonly direct: DirectPath } | null = null;
  #closed = false;
  /** By our own socket, listeners of the same port for the other publishers; -1 where one has its own already. */
  readonly #shared = new Map<number, { readonly insidePort: number; readonly fds: number[] }>();

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** What is published now. */
  get ports(): readonly OpenPort[] {
    return this.#ports;
  }

  /**
   * Takes every port, or none. Throws a NetnsError (PORT_BUSY).
   * @param publishers how many share the TCP ports, this one included: the others get theirs by listenersFor() and adopt()
   */
  open(specs: readonly PublishSpec[], publishers = 1): OpenPort[] {
    if (this.#closed) throw new NetnsError("NAMESPACE", "no port can be published: the sandbox has ended");
    const { streams } = this.#options;
    const opened = openAll(specs, {
      open: (spec, local) =>
        spec.protocol === "tcp" ? this.#openTcp(spec, local, publishers) : this.#openUdp(spec, local),
      close: (socket) => this.#close(socket),
      local: (socket) => streams.localEndpoint(socket),
    });
    this.#ports = [...this.#ports, ...opened];
    for (const { sockets } of opened) for (const socket of sockets) this.#lead(socket);
    return opened;
  }

  /** Publishes one port no more. False where it is not one of `ports`. */
  remove(port: OpenPort): boolean {
    if (!this.#ports.includes(port)) return false;
    this.#ports = this.#ports.filter((each) => each !== port);
    for (const socket of port.sockets) this.#close(socket);
    return true;
  }

  #openTcp({ insidePort, inside }: PublishSpec, local: Endpoint, publishers: number): number {
    const { streams } = this.#options;
    const port = new TcpPort({ ...this.#options, insidePort });
    const socket =
      publishers === 1 ? streams.listen(local, BACKLOG, port) : this.#listenShared(local, port, publishers);
    if (socket >= 0) this.#listening.set(socket, { protocol: "tcp", port, inside: inside ?? null });
    return socket;
  }

  #openUdp({ insidePort, inside }: PublishSpec, local: Endpoint): number {
    const family = familyOf(local, 8);
    const port = new UdpPort({ ...this.#options, family, insidePort });
    const socket = this.#options.datagrams.open(family, local, port);
    if (socket >= 0) this.#listening.set(socket, { protocol: "udp", port, through: null, inside: inside ?? null });
    return socket;
  }

  #close(socket: number): void {
    const listening = this.#listening.get(socket);
    if (listening === undefined) return;
    this.#listening.delete(socket);
    listening.port.close();
    if (listening.protocol === "udp" && listening.through !== null) this.#options.udp.unpublish(listening.through);
    this.#closeShared(socket);
    this.#options.streams.close(socket);
  }

  /** The listeners that open() made for another publisher, 1 to publishers - 1. They are the caller's. */
  listenersFor(publisher: number): SharedListener[] {
    return Array.from(this.#shared.values(), ({ insidePort, fds }) => {
      const fd = fds[publisher];
      fds[publisher] = -1;
      return { insidePort, fd };
    });
  }

  /** Serves listeners that another publisher made. */
  adopt(listeners: readonly SharedListener[]): void {
    for (const { insidePort, fd } of listeners) {
      const port = new TcpPort({ ...this.#options, insidePort });
      const socket = this.#options.streams.listenWith(fd, port);
      if (socket >= 0) this.#listening.set(socket, { protocol: "tcp", port, inside: null });
      else this.#options.counters.add("publish.listener_refused");
    }
  }

  /** Ends all ports and all connections on the direct path. Within a turn, after its events. */
  close(): void {
    this.#closed = true;
    this.#ports = [];
    for (const socket of [...this.#listening.keys()]) this.#close(socket);
    this.#joined?.direct.close();
  }

  /** The engine has ended, and all sockets with it: closes what nobody asked for. */
  engineEnded(): void {
    this.#closed = true;
    for (const socket of [...this.#shared.keys()]) this.#closeShared(socket);
  }

  #closeShared(socket: number): void {
    for (const fd of this.#shared.get(socket)?.fds ?? []) if (fd >= 0) native().closeFd(fd);
    this.#shared.delete(socket);
  }

  #listenShared(local: Endpoint, port: TcpPort, publishers: number): number {
    const fds = native().openListeners(local, BACKLOG, publishers);
    if (typeof fds === "number") return fds;
    const [own, ...others] = fds;
    const socket = this.#options.streams.listenWith(own, port);
    if (socket >= 0) this.#shared.set(socket, { insidePort: port.insidePort, fds: [-1, ...others] });
    else for (const fd of others) native().closeFd(fd);
    return socket;
  }

  /** The sandbox is there: what waits, and what comes, is led to it. */
  join(target: PublishTarget): void {
    this.#joined = { target, direct: new DirectPath({ ...this.#options, inside: target.inside }) };
    for (const socket of this.#listening.keys()) this.#lead(socket);
  }

  /** Connects a client of the host to a port of the sandbox that need not be published, by the direct path; see there. */
  connect(client: number, family: Family, port: number, caller: DirectCaller): void {
    if (this.#joined === null || this.#closed) {
      caller.refused(client, 0);
      return;
    }
    this.#joined.direct.connect(client, directTargets(this.#joined.target)[family], port, caller);
  }

  #lead(socket: number): void {
    const listening = this.#listening.get(socket);
    if (listening === undefined || this.#joined === null) return;
    const { target, direct } = this.#joined;
    const { inside } = listening;
    const targets = directTargets(target);
    if (listening.protocol === "tcp") {
      const carry: CarryThrough = (socket, client, clientPort, insidePort, refused) => {
        const open = inside === null ? ways(target, client) : wayTo(inside, target, client);
        this.#carry(target.link, open, { socket, clientPort, insidePort, refused });
      };
      listening.port.join(inside === null ? direct : null, carry, targets);
      return;
    }
    const { family, insidePort } = listening.port;
    const subnet = (family === 4 ? target.v4 : target.v6) ?? target.v4 ?? target.v6;
    if (subnet === null) return;
    const { gateway } = subnet;
    const address = inside ?? subnet.address;
    const rewrite = (client: Address) => (isForeign(client, subnet) ? null : gateway);
    const through = this.#options.udp.publish({
      link: target.link,
      address,
      port: insidePort,
      rewrite,
      alias: gateway,
    });
    listening.through = through;
    listening.port.join({
      direct: inside === null ? { inside: target.inside, targets: targets[family] } : null,
      through,
    });
  }

  /** Knocks at the first of the ways; where that is refused, at the next. */
  #carry(link: number, [way, ...others]: readonly Way[], connection: Carried): void {
    const { streams, tcp } = this.#options;
    const { socket, clientPort, insidePort, refused } = connection;
    if (way === undefined) {
      refused(socket);
      return;
    }
    const begun = tcp.accept({
      socket,
      link,
      client: way.client,
      clientPort,
      server: way.server,
      serverPort: insidePort,
      refused: (socket) => {
        // Its end may have been reported, to be heard by whoever serves it: reading from the beginning has it reported again.
        streams.rewind(socket, 0);
        this.#carry(link, others, { ...connection, socket });
      },
      established: () => {},
    });
    if (begun) return;
    // Clients of one port number may meet under the gateway's address: that one goes another way.
    if (way.alias) this.#carry(link, others, connection);
    else streams.reset(socket);
  }

  /** Connections that go the direct path now. */
  get spliced(): number {
    return this.#joined?.direct.spliced ?? 0;
  }

  /** True while a server inside may still have something for a client on the direct path. */
  get answering(): boolean {
    return this.#joined?.direct.answering ?? false;
  }
}

/** A connection that is to be carried into the sandbox. `refused` gets the socket back when no way led there. */
interface Carried {
  readonly socket: number;
  readonly clientPort: number;
  readonly insidePort: number;
  readonly refused: (socket: number) => void;
}

/** An address of the sandbox to knock at, and the one that the client has there. */
interface Way {
  readonly server: Address;
  readonly client: Address;
  /** Whether that is the gateway's, in place of its own. */
  readonly alias: boolean;
}

/** The ways for a client from elsewhere: its own family first, where it keeps its address. */
function ways({ v4, v6 }: PublishTarget, client: Address): Way[] {
  const order = familyOf(client) === 4 ? [v4, v6] : [v6, v4];
  return order
    .filter((subnet) => subnet !== null)
    .map((subnet) => {
      const alias = !isForeign(client, subnet);
      return { server: subnet.address, client: alias ? subnet.gateway : client, alias };
    });
}

/** The way to one address and no other. */
function wayTo(server: Address, { v4, v6 }: PublishTarget, client: Address): Way[] {
  const subnet = familyOf(server) === 4 ? v4 : v6;
  if (subnet === null) return [];
  const alias = !isForeign(client, subnet);
  return [{ server, client: alias ? subnet.gateway : client, alias }];
}

/** Whether a client's address can be shown inside: one of that family, and of another link. */
function isForeign(client: Address, { address, isInside }: PublishSubnet): boolean {
  return familyOf(client) === familyOf(address) && !isInside(client) && !isLinkLocal(client) && !isLoopback(client);
}

/** A server inside may listen on one of these only; "localhost" is ::1 for some. */
function directTargets({ v4, v6 }: PublishTarget): Targets {
  const own = (loopback: Address, subnet: PublishSubnet | null): Address[] =>
    subnet === null ? [loopback] : [loopback, subnet.address];
  const four = own(LOOPBACK_IPV4, v4);
  const six = own(LOOPBACK_IPV6, v6);
  return { 4: [...four, ...six], 6: [...six, ...four] };
}
