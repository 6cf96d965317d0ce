/** The DNS service as a network wants it: all its parts put together, for datagrams (udp/) and connections (tcp/) of the sandbox. */
import type { Datagrams, StreamHandler, Streams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import type { Address, Endpoint } from "../wire/address.js";
import { DnsForwarder } from "./dns.js";
import type { ExchangeParts } from "./dns-exchange.js";
import { DnsStreams } from "./dns-streams.js";
import { DnsTcp } from "./dns-tcp.js";
import { DnsUdp } from "./dns-udp.js";
import type { OwnNames } from "./own-names.js";
import { type ResolvConfFile, Resolvers } from "./resolvers.js";
import { Upstreams } from "./upstreams.js";

export interface DnsServiceOptions extends Omit<ExchangeParts, "upstreams"> {
  readonly output: Output;
  readonly streams: Streams;
  readonly datagrams: Datagrams;
  /** Resolvers to ask instead of the host's; null: the host's. */
  readonly upstreams: readonly Endpoint[] | null;
  /** Where the host's stand; default: /etc/resolv.conf. */
  readonly resolvConf?: ResolvConfFile | undefined;
  readonly names: OwnNames;
  /** Sends a datagram into the sandbox (Udp.respond). */
  readonly respond: (
    link: number,
    source: Address,
    sourcePort: number,
    destination: Address,
    destinationPort: number,
    bytes: Uint8Array,
  ) => void;
}

export class DnsService {
  /** Per link number, how many of them have gone: what was asked by one of these is answered to nobody. */
  readonly #gone: number[] = [];
  readonly #forwarder: DnsForwarder;
  readonly #streams: DnsStreams;
  readonly #respond: DnsServiceOptions["respond"];

  constructor(options: DnsServiceOptions) {
    const { output, streams, datagrams, timers, clock, random, counters } = options;
    const { bytes } = output;
    const resolvers = new Resolvers({ upstreams: options.upstreams, clock, file: options.resolvConf });
    const upstreams = new Upstreams(() => resolvers.servers(), clock);
    const parts = { timers, clock, random, counters, upstreams };
    this.#respond = options.respond;
    this.#forwarder = new DnsForwarder({
      ...parts,
      ownNames: options.names,
      udp: new DnsUdp({ ...parts, datagrams, output }),
      tcp: new DnsTcp({ ...parts, streams, bytes }),
    });
    this.#streams = new DnsStreams({
      ...parts,
      streams,
      bytes,
      request: (query, respond) => this.#forwarder.request("tcp", query, respond),
    });
  }

  /** Takes a datagram to port 53; see DatagramService in udp/udp. */
  request(
    link: number,
    source: Address,
    sourcePort: number,
    destination: Address,
    destinationPort: number,
    bytes: Uint8Array,
  ): void {
    const gone = this.#gone[link] ?? 0;
    const respond = (answer: Uint8Array) => {
      if ((this.#gone[link] ?? 0) !== gone) return;
      this.#respond(link, destination, destinationPort, source, sourcePort, answer);
    };
    this.#forwarder.request("udp", bytes, respond, link);
  }

  /** A link is gone; its number may be another's from now on. */
  removeLink(link: number): void {
    this.#gone[link] = (this.#gone[link] ?? 0) + 1;
  }

  /** Takes a connection to port 53; see StreamService in tcp/tcp. */
  connect(flow: StreamHandler): number {
    return this.#streams.connect(flow);
  }
}
