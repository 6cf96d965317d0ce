/**
 * What a protocol asks of the layers below it: a place to build a segment in, and to send it into the sandbox.
 * Implemented by stack/egress.ts. All offsets are into `bytes`/`view`, the engine's slab.
 */
import type { Address } from "../wire/address.js";
import type { Reject } from "../wire/reject.js";

export interface Output {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** The largest IP packet without offload, headers included. */
  readonly mtu: number;

  /**
   * A place for `length` bytes of transport header and payload, no more than one packet without offload holds, with room in
   * front for all lower headers. Valid until the end of this turn. -1 when it is longer, or this turn has no more room: the
   * caller tries large(), or drops and counts. What has up to 128 bytes finds room when longer packets do not any more.
   */
  small(length: number): number;
  /** The same for up to 65,515 bytes, taken from the turn's spare slots. */
  large(): number;

  /**
   * Sends the transport header and payload at [offset, offset + length) to the sandbox. The lower headers are written
   * into the bytes directly before `offset`, which must lie in a place of small() or large(), or in a slot that the engine
   * filled, at least HEADROOM - 60 bytes into it. The segment itself is read when the turn is over: until then the sender
   * may change it, but not its length.
   * TCP and UDP: the checksum field is filled by the stack. ICMP: the caller has filled it.
   * @param segment payload bytes of each TCP segment or UDP datagram when this is a super-frame, else 0. An ordinary
   *   packet longer than the MTU is sent as fragments.
   * @param header length of the transport header in bytes
   */
  send(
    link: number,
    protocol: number,
    source: Address,
    destination: Address,
    offset: number,
    length: number,
    header: number,
    segment: number,
  ): void;

  /**
   * Sends an ICMP error about a packet of the sandbox (RFC 792, RFC 1812 4.3.2, RFC 4443), rate-limited and counted.
   * @param original that packet from its IP header on, at least the header and 8 bytes more
   * @param from who reports it; null: the gateway
   * @param info next-hop MTU for Reject.TooBig, else 0
   */
  reject(link: number, original: Uint8Array, reason: Reject, from: Address | null, info: number): void;
}
