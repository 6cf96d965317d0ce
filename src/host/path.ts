/**
 * The way of a packet outside, as the sandbox wishes it: TTL and "don't fragment", in one word of Op.SendTo.
 *
 * We are a router: the TTL (hop limit) outside is the packet's, less one. A packet with the default of a kernel (64) is not
 * one that measures anything: it gets the host's own, for which nothing has to be set. Nor has anything to be set about
 * fragments for what is too short to become some.
 */
import { Path } from "../native/engine.js";
import type { Packet } from "../wire/packet.js";

const USUAL_HOPS = 64;
/** Bytes of an IP packet that every path carries whole (RFC 791; RFC 8200, 5). */
const SHORT = { 4: 576, 6: 1280 };

/** TTL for what a packet of the sandbox becomes outside; 0: the host's own. */
export function hopsOutside(packet: Packet): number {
  return packet.hops === USUAL_HOPS || packet.hops <= 1 ? 0 : packet.hops - 1;
}

/**
 * @param length bytes of the IP packet, of each one in a super-frame
 * @param longest a longer one may be fragmented, whatever it says
 */
export function pathOutside(packet: Packet, length: number, longest: number): number {
  const hops = hopsOutside(packet);
  if (length <= SHORT[packet.family]) return hops;
  return hops | (packet.dontFragment && length <= longest ? Path.Whole : Path.Split);
}
