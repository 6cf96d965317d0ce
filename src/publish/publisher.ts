/**
 * The published ports of one network: opens them all on the host, and leads what arrives to the sandbox that joins.
 *
 * Between `open()` and `join()` the ports are taken but nothing is behind them: TCP connections wait (a few), datagrams are
 * dropped and counted.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { Timers } from "../flow/timers.js";
import type { Turns } from "../flow/turns.js";
import type { Datagrams, Streams } from "../host/sockets.js";
import type { PublishSpec } from "../policy/config.js";
import type { Tcp } from "../tcp/tcp.js";
import type { Udp } from "../udp/udp.js";
import type { Address } from "../wire/address.js";
import { DirectPath, type InsideSockets } from "./direct.js";
import { type OpenPort, openAll } from "./listeners.js";
import { LOOPBACK_IPV4, LOOPBACK_IPV6 } from "./names.js";
import { type CarryThrough, TcpPort } from "./tcp.js";
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

/** The sandbox behind the ports. */
export interface PublishTarget {
  readonly link: number;
  readonly address: Address;
  readonly gateway: Address;
  /** True for addresses of the sandbox's own subnet: a client there could not be answered by way of the gateway. */
  readonly isInside: (address: Address) => boolean;
  readonly inside: InsideSockets;
}

/** Connections that a listener holds until we take them. */
const BACKLOG = 4096;

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #tcp: TcpPort[] = [];
  readonly #udp: UdpPort[] = [];
  #direct: DirectPath | null = null;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Takes every port, or none. Throws a NetnsError (PORT_BUSY). */
  open(specs: readonly PublishSpec[]): OpenPort[] {
    const { streams, datagrams } = this.#options;
    return openAll(
      specs,
      (spec, local) => {
        if (spec.protocol === "tcp") {
          const port = new TcpPort({ ...this.#options, insidePort: spec.insidePort });
          const socket = streams.listen(local, BACKLOG, port);
          if (socket >= 0) this.#tcp.push(port);
          return socket;
        }
        const port = new UdpPort({ ...this.#options, insidePort: spec.insidePort });
        const socket = datagrams.open(local[0] === 6 ? 6 : 4, local, port);
        if (socket >= 0) this.#udp.push(port);
        return socket;
      },
      (socket) => streams.close(socket),
      (socket) => streams.localEndpoint(socket),
    );
  }

  join(target: PublishTarget): void {
    const { streams, tcp, udp } = this.#options;
    const direct = new DirectPath({ ...this.#options, inside: target.inside });
    this.#direct = direct;
    // A server inside may listen on one of these only; "localhost" is ::1 for some.
    const targets = [LOOPBACK_IPV4, target.address, LOOPBACK_IPV6];
    const rewrite = (client: Address) => (target.isInside(client) ? target.gateway : null);
    const carry: CarryThrough = (socket, client, clientPort, insidePort, refused) => {
      const begun = tcp.accept({
        socket,
        link: target.link,
        client: rewrite(client) ?? client,
        clientPort,
        server: target.address,
        serverPort: insidePort,
        refused,
        established: () => {},
      });
      if (!begun) streams.reset(socket);
    };
    for (const port of this.#tcp) port.join(direct, carry, targets);
    for (const port of this.#udp) {
      const { link, address, gateway, inside } = target;
      const through = udp.publish({ link, address, port: port.insidePort, rewrite, alias: gateway });
      port.join({ inside, targets, through });
    }
  }

  /** Connections that go the direct path now. */
  get spliced(): number {
    return this.#direct?.spliced ?? 0;
  }
}
