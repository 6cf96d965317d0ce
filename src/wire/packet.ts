/**
 * Where everything lies in one packet from the sandbox, after the stack checked its lengths.
 *
 * One object per stack, filled again for each packet: nobody keeps it, and nobody keeps an offset of it beyond the turn.
 * All offsets are into `bytes`/`view`, which is the engine's slab; a packet that was put together from fragments lies there
 * too, in the slot of the last one. Every byte from `network` to `end` has been checked to exist.
 */
export class Packet {
  bytes: Uint8Array;
  view: DataView;
  /** Link that it came from. */
  link = 0;
  family: 4 | 6 = 4;
  /** IP protocol number of the payload (RFC 790 et al.): 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6. */
  protocol = 0;
  /** TTL or hop limit. */
  hops = 0;
  /** First byte of the IP header, first byte after it (and its options or extension headers), first byte after the packet. */
  network = 0;
  transport = 0;
  end = 0;
  /** The addresses in their 16-byte form, copied; refilled with every packet. */
  readonly source = new Uint8Array(16);
  readonly destination = new Uint8Array(16);
  /** True where the sandbox's kernel left the transport checksum to the device (VIRTIO_NET_HDR_F_NEEDS_CSUM): there is none to verify. */
  partialChecksum = false;
  /** Payload bytes of each segment or datagram of a super-frame; 0 for an ordinary one. */
  segment = 0;
  /** IPv4 DF was set, or an IPv6 packet came whole. */
  dontFragment = false;
  /** True while `bytes` is the engine's slab, so that payload may be handed to Op.Send without a copy. */
  inSlab = true;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
}
