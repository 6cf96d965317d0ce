/**
 * The flow of one inside endpoint: one host socket for all of its destinations, so that every remote sees it under the
 * same address and port (endpoint-independent mapping, RFC 4787 4.1). It ends with its last peer.
 */
import { type Address, type Endpoint, type Family, familyOf } from "../wire/address.js";
import { Protocol } from "../wire/ipv4.js";
import { type Peer, PeerOwner, type PeerTable, type UdpParts } from "./peers.js";
import { RecencyList, type Recent } from "./recency.js";

/** The outside endpoint under which a flow itself is in the flow table: no datagram has port 0. */
const NOBODY = { 4: Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0), 6: new Uint8Array(16) };

export class Flow extends PeerOwner implements Recent<Flow> {
  readonly id: number;
  readonly family: Family;
  socket = -1;
  older: Flow | null = null;
  newer: Flow | null = null;
  readonly #set: FlowSet;

  constructor(
    set: FlowSet,
    parts: UdpParts,
    table: PeerTable,
    id: number,
    link: number,
    address: Address,
    port: number,
    family: Family,
  ) {
    super(parts, table, link, address, port);
    this.#set = set;
    this.id = id;
    this.family = family;
  }

  datagram(socket: number, offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void {
    const peer = this.table.reply(socket, this, addresses, at);
    if (peer === undefined) {
      this.parts.counters.add("udp.unexpected_source");
      return;
    }
    peer.answered = true;
    this.used(peer);
    this.deliver(peer, offset, length, segment);
  }

  /** Either way. */
  override used(peer: Peer): void {
    super.used(peer);
    this.#set.recent.touch(this);
  }

  protected empty(): void {
    this.#set.close(this);
  }
}

/** All flows, in the order of use. */
export class FlowSet {
  readonly recent = new RecencyList<Flow>();
  readonly #parts: UdpParts;
  readonly #table: PeerTable;
  readonly #byId: (Flow | undefined)[] = [];

  constructor(parts: UdpParts, table: PeerTable) {
    this.#parts = parts;
    this.#table = table;
  }

  find(link: number, address: Address, port: number): Flow | undefined {
    const family = familyOf(address);
    const id = this.#parts.flows.find(Protocol.Udp, link, family, address, port, NOBODY[family], 0);
    return id < 0 ? undefined : this.#byId[id];
  }

  /**
   * Opens a flow with a socket of `family`; the longest idle one goes if there are too many.
   * @returns the flow, or -errno, or 0 where the flow table is full
   */
  open(link: number, address: Address, port: number, family: Family, local: Endpoint | null): Flow | number {
    const { limits, counters, flows, datagrams } = this.#parts;
    if (this.recent.size >= limits.flows && this.recent.oldest !== null) {
      counters.add("udp.flow_limit");
      this.close(this.recent.oldest);
    }
    const inside = familyOf(address);
    const id = flows.insert(Protocol.Udp, link, inside, address, port, NOBODY[inside], 0);
    if (id < 0) return 0;
    const flow = new Flow(this, this.#parts, this.#table, id, link, address.slice(), port, family);
    const socket = datagrams.open(family, local, flow);
    if (socket < 0) {
      flows.remove(id);
      return socket;
    }
    flow.socket = socket;
    this.#byId[id] = flow;
    this.recent.add(flow);
    return flow;
  }

  close(flow: Flow): void {
    flow.removePeers();
    this.recent.remove(flow);
    this.#byId[flow.id] = undefined;
    this.#parts.flows.remove(flow.id);
    this.#parts.datagrams.close(flow.socket);
  }

  closeLink(link: number): void {
    for (let flow = this.recent.oldest; flow !== null; ) {
      const newer: Flow | null = flow.newer;
      if (flow.link === link) this.close(flow);
      flow = newer;
    }
  }
}
