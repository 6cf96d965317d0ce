/**
 * From a frame as kernels exchange it with us to frames as they are on a cable: what a network card does in hardware.
 *
 * Theory of operation. The virtio header of a frame may leave two things to its receiver: to complete the checksum of the
 * transport header (NEEDS_CSUM), and to cut one long payload into segments behind copies of the headers (GSO). `read` looks
 * at one frame and says into how many it falls; `write` makes one of them, somewhere else; `complete` does the same in place
 * where a frame falls into one only, which is most of the work that comes. The result has every checksum and no virtio header.
 *
 * As Linux does it, so that nobody sees who did it: the IPv4 identification counts up from segment to segment, TCP's sequence
 * number with the payload; FIN and PSH stay with the last segment, CWR with the first; each UDP datagram has a length and a
 * checksum of its own. The field of an open checksum holds the folded sum of the pseudo header. It is what we go on from, since
 * only the sender knows the addresses of it where a routing header is in the way.
 *
 * Trust. A process inside with a packet socket chooses all fields of its virtio header, so each is compared with what the
 * packet is. hdr_len is a hint, and only must not exceed the frame: where the headers end is read from the headers themselves.
 *
 * Bounds: MOST_SEGMENTS of one frame. No state but the frame that was read last; nothing is allocated within one memory.
 * Not done: what has a VLAN tag, a tunnel or IP fragments around its segments (it is refused), and IPv6 jumbograms.
 */
import { VNET_HEADER } from "../native/engine.js";
import { addWords, checksum, fold } from "./checksum.js";
import { ETHERNET_HEADER, EtherType, etherType } from "./ethernet.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipVersion,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Id,
  ipv4Protocol,
  ipv4TotalLength,
  MORE_FRAGMENTS,
  Protocol,
} from "./ipv4.js";
import { Chain, HeaderChain, IPV6_HEADER, ipv6PayloadLength } from "./ipv6.js";
import { UDP_CHECKSUM, UDP_HEADER } from "./udp.js";
import {
  Gso,
  VnetFlag,
  vnetChecksumOffset,
  vnetChecksumStart,
  vnetFlags,
  vnetGsoSize,
  vnetGsoType,
  vnetHeaderLength,
  writePlainVnet,
} from "./vnet.js";

/** 65,535 bytes of a connection with the smallest segments that Linux makes (TCP_MIN_SND_MSS, with timestamps). */
export const MOST_SEGMENTS = 2048;

const TCP_HEADER = 20;
const TCP_CHECKSUM = 16;
const TCP_FLAGS = 13;
const FIN_PSH = 0x09;
const CWR = 0x80;

export class Segmenter {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #chain = new HeaderChain();
  /** Frames that the one read last falls into; 0 where its virtio header does not fit it. */
  frames = 0;
  /** Bytes of the longest of them, from the Ethernet header on. */
  longest = 0;
  #ethernet = 0;
  #network = 0;
  /** Where the open checksum begins, or -1; with several segments that is the transport header. */
  #transport = -1;
  #field = 0;
  #payload = 0;
  #end = 0;
  /** Payload bytes of each segment; 0: it is no super-frame. */
  #size = 0;
  #isTcp = false;
  #isIPv4 = false;
  /** Of several segments: the sum of the pseudo header, without any length. */
  #pseudo = 0;

  /** @param bytes the memory that frames are read from */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Looks at the frame at [offset, offset + length), its virtio header first. Returns `frames`. */
  read(offset: number, length: number): number {
    const view = this.#view;
    this.frames = 0;
    this.longest = 0;
    this.#ethernet = offset + VNET_HEADER;
    this.#end = Math.max(offset + length, this.#ethernet);
    this.#size = 0;
    this.#transport = -1;
    if (length < VNET_HEADER + ETHERNET_HEADER) return 0;
    const frame = length - VNET_HEADER;
    const gso = vnetGsoType(view, offset) & ~Gso.Ecn;
    if ((vnetFlags(view, offset) & VnetFlag.NeedsChecksum) !== 0) {
      const start = vnetChecksumStart(view, offset);
      this.#field = vnetChecksumOffset(view, offset);
      if (start < ETHERNET_HEADER || start + this.#field + 2 > frame || (this.#field & 1) !== 0) return 0;
      if (vnetHeaderLength(view, offset) > frame) return 0;
      this.#transport = this.#ethernet + start;
      if (gso !== Gso.None) return this.#readSegments(gso, vnetGsoSize(view, offset));
    } else if (gso !== Gso.None) return 0; // nobody makes a super-frame without leaving its checksum open
    this.longest = frame;
    this.frames = 1;
    return 1;
  }

  /**
   * Writes frame `index` of those that were read last to `at` of `into`, which may be the memory that it was read from, but
   * not the same place. Returns its length, Ethernet header included, no more than `longest`.
   */
  write(index: number, into: Uint8Array, view: DataView, at: number): number {
    const from = this.#ethernet;
    if (this.#size > 0) return this.#writeSegment(index, into, view, at);
    const length = this.#end - from;
    this.#copy(from, this.#end, into, at);
    if (this.#transport >= 0) completeChecksum(view, at + this.#transport - from, this.#field, at + length);
    return length;
  }

  /**
   * Writes the frame that was read last as one, however many segments it has, with its checksum completed; as it is where its
   * virtio header does not fit it. Returns its length. Of a super-frame of TCP that is a packet as it could have been sent, only long.
   */
  writeWhole(into: Uint8Array, view: DataView, at: number): number {
    const from = this.#ethernet;
    this.#copy(from, this.#end, into, at);
    const end = at + this.#end - from;
    if (this.frames > 0 && this.#transport >= 0) completeChecksum(view, at + this.#transport - from, this.#field, end);
    return end - at;
  }

  /** True where the frame that was read last holds several datagrams of UDP. */
  get isDatagrams(): boolean {
    return this.#size > 0 && !this.#isTcp && this.frames > 0;
  }

  /** Completes the frame in place, virtio header included; false where it is a super-frame, which `write` is for. */
  complete(): boolean {
    if (this.frames !== 1 || this.#size > 0) return false;
    if (this.#transport >= 0) completeChecksum(this.#view, this.#transport, this.#field, this.#end);
    writePlainVnet(this.#view, this.#ethernet - VNET_HEADER);
    return true;
  }

  /** A super-frame whose open checksum lies within it. */
  #readSegments(gso: number, size: number): number {
    const view = this.#view;
    const network = this.#ethernet + ETHERNET_HEADER;
    const available = this.#end - network;
    this.#network = network;
    this.#isIPv4 = etherType(view, this.#ethernet) === EtherType.IPv4;
    let protocol = -1;
    if (this.#isIPv4) protocol = this.#readIPv4(available);
    else if (etherType(view, this.#ethernet) === EtherType.IPv6) protocol = this.#readIPv6(available);
    if (protocol < 0 || size === 0) return 0;
    this.#isTcp = protocol === Protocol.Tcp;
    if (!this.#isTcp && protocol !== Protocol.Udp) return 0;
    const tcp = this.#isIPv4 ? Gso.TcpV4 : Gso.TcpV6;
    if (gso !== (this.#isTcp ? tcp : Gso.UdpL4) || this.#field !== (this.#isTcp ? TCP_CHECKSUM : UDP_CHECKSUM))
      return 0;
    const transport = this.#transport;
    const header = this.#isTcp ? this.#readTcp() : UDP_HEADER;
    if (header < 0 || transport + header > this.#end) return 0;
    const payload = this.#end - transport - header;
    const count = Math.max(1, Math.ceil(payload / size));
    if (count > MOST_SEGMENTS) return 0;
    this.#payload = transport + header;
    this.#size = size;
    const length = this.#end - transport;
    this.#pseudo = view.getUint16(transport + this.#field) + (0xffff - fold(length));
    this.longest = this.#payload - this.#ethernet + Math.min(size, payload);
    this.frames = count;
    return count;
  }

  /** Checks an IPv4 header against the frame and where its checksum was said to begin. Returns the protocol, or -1. */
  #readIPv4(available: number): number {
    const view = this.#view;
    const at = this.#network;
    if (available < IPV4_HEADER || ipVersion(view, at) !== 4) return -1;
    const header = ipv4HeaderLength(view, at);
    const total = ipv4TotalLength(view, at);
    if (header < IPV4_HEADER || total > available || at + header !== this.#transport || total < header) return -1;
    if ((ipv4Fragment(view, at) & (MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0) return -1;
    this.#end = at + total;
    return ipv4Protocol(view, at);
  }

  #readIPv6(available: number): number {
    const view = this.#view;
    const at = this.#network;
    if (available < IPV6_HEADER || ipVersion(view, at) !== 6) return -1;
    const total = IPV6_HEADER + ipv6PayloadLength(view, at);
    if (total > available) return -1;
    const chain = this.#chain;
    if (chain.read(view, at, at + total, false) !== Chain.Complete || chain.fragment >= 0) return -1;
    if (chain.transport !== this.#transport) return -1;
    this.#end = at + total;
    return chain.protocol;
  }

  /** Bytes of the TCP header, or -1. */
  #readTcp(): number {
    if (this.#transport + TCP_HEADER > this.#end) return -1;
    const header = (this.#view.getUint8(this.#transport + 12) >>> 4) * 4;
    return header < TCP_HEADER ? -1 : header;
  }

  #writeSegment(index: number, into: Uint8Array, view: DataView, at: number): number {
    const first = this.#payload + index * this.#size;
    const size = Math.min(this.#size, this.#end - first);
    const headers = this.#payload - this.#ethernet;
    const network = at + ETHERNET_HEADER;
    const transport = at + this.#transport - this.#ethernet;
    const end = at + headers + size;
    this.#copy(this.#ethernet, this.#payload, into, at);
    this.#copy(first, first + size, into, at + headers);
    if (this.#isIPv4) {
      view.setUint16(network + 2, end - network);
      view.setUint16(network + 4, (ipv4Id(view, network) + index) & 0xffff);
      view.setUint16(network + 10, 0);
      view.setUint16(network + 10, checksum(addWords(view, network, transport, 0)));
    } else view.setUint16(network + 4, end - network - IPV6_HEADER);
    if (this.#isTcp) {
      view.setInt32(transport + 4, view.getInt32(transport + 4) + index * this.#size);
      let flags = view.getUint8(transport + TCP_FLAGS);
      if (index < this.frames - 1) flags &= ~FIN_PSH;
      if (index > 0) flags &= ~CWR;
      view.setUint8(transport + TCP_FLAGS, flags);
    } else view.setUint16(transport + 4, end - transport);
    view.setUint16(transport + this.#field, 0);
    const sum = checksum(addWords(view, transport, end, this.#pseudo + end - transport));
    // A UDP checksum of 0 would say that there is none (RFC 768).
    view.setUint16(transport + this.#field, sum === 0 && !this.#isTcp ? 0xffff : sum);
    return end - at;
  }

  #copy(from: number, to: number, into: Uint8Array, at: number): void {
    if (into === this.#bytes) into.copyWithin(at, from, to);
    else into.set(this.#bytes.subarray(from, to), at);
  }
}

/**
 * Replaces the sum in the field at `start + field` by the checksum of [start, end) that goes on from it. Nobody needs to know the
 * protocol: what is 0 becomes its other form, which is as good for TCP, and says for UDP that there is a checksum.
 */
function completeChecksum(view: DataView, start: number, field: number, end: number): void {
  const sum = checksum(addWords(view, start, end, 0));
  view.setUint16(start + field, sum === 0 ? 0xffff : sum);
}
