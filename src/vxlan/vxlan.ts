/**
 * A port of the switch that leads to networks on other machines, over UDP: VXLAN (RFC 7348), as the kernel's vxlan devices and
 * Open vSwitch speak it.
 *
 * Theory of operation. A frame that the switch hands over is encapsulated for the remote behind which its destination was
 * learned; what goes to a group, or to nobody that was heard of, is sent to every remote (head-end replication). What a remote
 * sends is handed to the switch, which gives it to members and to our gateway and never to another remote (split horizon):
 * so remotes have to know each other, each all, and no frame goes round.
 *
 *     out:   | VXLAN 8 | Ethernet frame | VXLAN 8 | Ethernet frame | ...    copied; one datagram each, equally long but the last
 *     in:    | VXLAN 8 | Ethernet frame | ...                               in place, as the engine put it into a slot
 *                └ virtio header 12: it begins 4 bytes before
 *
 * Super-frames are cut into segments and leave with one system call. Of a burst that came in together, the datagrams
 * are moved 4 bytes apart, from the last to the first, so that each has room for its virtio header without touching the one before.
 *
 * Trust. A remote is believed by its address, as the RFC has it: whoever can send in its name is on the network. Where that matters the
 * way between the machines has to be protected. In whose name its frames may speak, the switch decides.
 *
 * MTU: an inner packet and 50 bytes (70 over IPv6) fit the way's MTU, or the host fragments. The members' has to be chosen so.
 *
 * Bounds: NOTED frames of a turn; the turn's spare slots; MOST_REMOTES; the learned addresses (learned.ts). Each drop is counted (`vxlan.*`).
 * Left out: multicast groups in place of a list of remotes; source ports that vary with the flow.
 */
import { NetnsError } from "../errors.js";
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { Turns } from "../flow/turns.js";
import type { DatagramHandler, Datagrams } from "../host/sockets.js";
import type { Output } from "../link/output.js";
import type { Segment, SegmentPort } from "../link/segment.js";
import { HEADROOM, Path, SLOT_SIZE, VNET_HEADER } from "../native/engine.js";
import {
  type Endpoint,
  endpoint,
  endpointFamily,
  equalAddress,
  type Family,
  formatAddress,
  parseAddress,
} from "../wire/address.js";
import { ETHERNET_HEADER, isGroupMac, macHigh, macLow } from "../wire/ethernet.js";
import { writeVnetOf } from "../wire/open-checksum.js";
import { Segmenter } from "../wire/segmentation.js";
import { VXLAN_HEADER, vxlanIdentifier, writeVxlan } from "../wire/vxlan.js";
import { Learned } from "./learned.js";

export const MOST_REMOTES = 64;
const NOTED = 8192;
const STRIDE = 2;
/** A place of Output.large(). */
const ROOM = SLOT_SIZE - HEADROOM;
/** The most bytes that leave with one call: what an IPv4 packet holds. */
const LONGEST_RUN = 65_507;
/** Where an endpoint's address is. */
const ADDRESS = 8;
const SOURCE_MAC = 6;

export interface VxlanOptions {
  /** VXLAN network identifier, 24 bits. */
  readonly vni: number;
  /** UDP port that we listen on, and send from; 0: any free one. */
  readonly port: number;
  /** 1 to MOST_REMOTES. */
  readonly remotes: readonly Endpoint[];
  /** The largest inner IP packet. */
  readonly mtu: number;
}

/** What of a network it needs; Network has it. */
export interface VxlanHost {
  readonly parts: {
    readonly output: Output;
    readonly datagrams: Datagrams;
    readonly clock: Clock;
    readonly counters: Counters;
    readonly turns: Turns;
  };
  addSegment(port: SegmentPort): Segment;
}

export class Vxlan implements SegmentPort, DatagramHandler {
  readonly #options: VxlanOptions;
  readonly #parts: VxlanHost["parts"];
  readonly #learned: Learned;
  readonly #segmenter: Segmenter;
  readonly #sockets = new Map<Family, number>();
  readonly #segment: Segment;
  /** Offset and length of each frame that waits for the end of the turn. */
  readonly #noted = new Int32Array(NOTED * STRIDE);
  #count = 0;
  /** What is left of this turn's place for datagrams. */
  #room = 0;
  #roomEnd = 0;

  /** Opens the port. Throws a NetnsError: PORT_BUSY where the UDP port is another's. */
  constructor(host: VxlanHost, options: VxlanOptions) {
    const { parts } = host;
    this.#options = options;
    this.#parts = parts;
    this.#learned = new Learned(parts.clock, parts.counters);
    this.#segmenter = new Segmenter(parts.output.bytes);
    try {
      for (const remote of options.remotes) this.#open(endpointFamily(remote) === 6 ? 6 : 4);
      this.#segment = host.addSegment(this);
    } catch (error) {
      this.#closeSockets();
      throw error;
    }
  }

  /** Where it listens, for each family of the remotes. */
  get local(): readonly Endpoint[] {
    return [...this.#sockets.values()].map((socket) => this.#parts.datagrams.localEndpoint(socket));
  }

  close(): void {
    this.#segment.remove();
    this.#parts.turns.enter(() => this.#closeSockets());
  }

  // Out

  frame(offset: number, length: number): void {
    if (this.#count === NOTED) {
      this.#parts.counters.add("vxlan.no_room");
      return;
    }
    this.#noted[this.#count * STRIDE] = offset;
    this.#noted[this.#count * STRIDE + 1] = length;
    this.#count++;
  }

  endOfTurn(): void {
    const end = this.#count * STRIDE;
    this.#room = 0;
    this.#roomEnd = 0;
    for (let at = 0; at < end; at += STRIDE) this.#encapsulate(this.#noted[at], this.#noted[at + 1]);
    this.#count = 0;
  }

  #encapsulate(offset: number, length: number): void {
    const { output, counters } = this.#parts;
    const { view } = output;
    const segmenter = this.#segmenter;
    const frames = segmenter.read(offset, length);
    if (frames === 0) {
      counters.add("vxlan.bad_offload");
      return;
    }
    const size = VXLAN_HEADER + segmenter.longest;
    if (segmenter.longest > ETHERNET_HEADER + this.#options.mtu || size > LONGEST_RUN) {
      counters.add("vxlan.too_long");
      return;
    }
    const ethernet = offset + VNET_HEADER;
    const remote = isGroupMac(view, ethernet)
      ? -1
      : this.#learned.find(macHigh(view, ethernet), macLow(view, ethernet));
    // The segments of one frame lie behind each other, as many as leave together.
    const most = Math.min(frames, Math.floor(LONGEST_RUN / size));
    for (let first = 0; first < frames; first += most) {
      const count = Math.min(most, frames - first);
      const at = this.#place(size * count);
      if (at < 0) {
        counters.add("vxlan.no_room", frames - first);
        return;
      }
      let end = at;
      for (let i = first; i < first + count; i++) {
        writeVxlan(view, end, this.#options.vni);
        end += VXLAN_HEADER + segmenter.write(i, output.bytes, view, end + VXLAN_HEADER);
      }
      this.#room = end;
      this.#send(remote, at, end - at, count > 1 ? size : 0);
    }
  }

  /** To one remote, or to all of them (-1): the same bytes. */
  #send(remote: number, offset: number, length: number, segment: number): void {
    const { remotes } = this.#options;
    for (let i = 0; i < remotes.length; i++) {
      if (remote >= 0 && i !== remote) continue;
      const socket = this.#sockets.get(endpointFamily(remotes[i]) === 6 ? 6 : 4);
      if (socket === undefined) continue;
      this.#parts.datagrams.sendTo(socket, offset, length, segment, remotes[i], null, Path.Split);
    }
  }

  /** Room for `length` bytes, or -1. It is taken when #room is moved behind them. */
  #place(length: number): number {
    if (this.#room + length <= this.#roomEnd) return this.#room;
    const at = length <= ROOM ? this.#parts.output.large() : -1;
    if (at < 0) return -1;
    this.#room = at;
    this.#roomEnd = at + ROOM;
    return at;
  }

  // In

  datagram(_socket: number, offset: number, length: number, segment: number, addresses: Uint8Array, at: number): void {
    const remote = this.#remoteAt(addresses, at);
    if (remote < 0) {
      this.#parts.counters.add("vxlan.unknown_remote");
      return;
    }
    if (segment === 0 || segment >= length) this.#decapsulate(remote, offset, length);
    else this.#burst(remote, offset, length, segment);
  }

  datagramFailed(): void {
    this.#parts.counters.add("vxlan.send_failed");
  }

  /** Several datagrams behind each other. */
  #burst(remote: number, offset: number, length: number, size: number): void {
    const { bytes } = this.#parts.output;
    const count = Math.ceil(length / size);
    const gap = VNET_HEADER - VXLAN_HEADER;
    const stride = size + gap;
    if ((offset % SLOT_SIZE) + length + (count - 1) * gap > SLOT_SIZE) {
      this.#parts.counters.add("vxlan.burst_too_long", count);
      return;
    }
    for (let i = count - 1; i > 0; i--) {
      bytes.copyWithin(offset + i * stride, offset + i * size, Math.min(offset + (i + 1) * size, offset + length));
    }
    for (let i = 0; i < count; i++) {
      this.#decapsulate(remote, offset + i * stride, Math.min(size, length - i * size));
    }
  }

  /** One datagram, before which there is room. */
  #decapsulate(remote: number, offset: number, length: number): void {
    const { output, counters } = this.#parts;
    const { view } = output;
    if (length < VXLAN_HEADER + ETHERNET_HEADER) {
      counters.add("vxlan.short");
      return;
    }
    const vni = vxlanIdentifier(view, offset);
    if (vni !== this.#options.vni) {
      counters.add(vni < 0 ? "vxlan.no_vni" : "vxlan.unknown_vni");
      return;
    }
    const ethernet = offset + VXLAN_HEADER;
    if (isGroupMac(view, ethernet + SOURCE_MAC)) {
      counters.add("vxlan.bad_source_mac");
      return;
    }
    this.#learned.learn(macHigh(view, ethernet + SOURCE_MAC), macLow(view, ethernet + SOURCE_MAC), remote);
    writeVnetOf(view, ethernet - VNET_HEADER, offset + length);
    this.#segment.deliver(ethernet - VNET_HEADER, VNET_HEADER + length - VXLAN_HEADER);
  }

  /** Which remote has the address at `at`; its port may be any (RFC 7348, 5). -1: none. */
  #remoteAt(addresses: Uint8Array, at: number): number {
    const { remotes } = this.#options;
    for (let i = 0; i < remotes.length; i++) if (equalAddress(remotes[i], addresses, ADDRESS, at + ADDRESS)) return i;
    return -1;
  }

  // Sockets

  #open(family: Family): void {
    if (this.#sockets.has(family)) return;
    const { port } = this.#options;
    const any = parseAddress(family === 6 ? "::" : "0.0.0.0");
    const socket = this.#parts.datagrams.open(family, endpoint(any, port), this);
    if (socket < 0) {
      throw new NetnsError(
        "PORT_BUSY",
        `VXLAN cannot have UDP port ${port} of ${formatAddress(any)} (errno ${-socket}): another program, or a vxlan device of the host, has it; choose another one on both sides with --vxlan-port`,
      );
    }
    this.#sockets.set(family, socket);
  }

  #closeSockets(): void {
    for (const socket of this.#sockets.values()) this.#parts.datagrams.close(socket);
    this.#sockets.clear();
  }
}
