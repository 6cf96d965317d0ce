/**
 * In whose name a port of the switch may speak.
 *
 * Theory of operation. Every address of the segment has at most one owner: us, or a port. A member owns its hardware address
 * and the addresses of its lease, and what its kernel forms of the hardware address (RFC 4291, appendix A): the link-local
 * address, and one of the network's prefix where that has 64 bits (RFC 4862). Nobody else can have them, whoever came first.
 *
 *     a member      speaks by its hardware address, its IPv4 address, and IPv6 addresses that are its own. An IPv6 address of
 *                   the network, or a link-local one, that nobody owns becomes its own when it speaks by it or advertises it:
 *                   kernels form such by themselves (RFC 8981, RFC 7217)
 *     a segment     (others elsewhere) speaks by whatever nobody here owns
 *
 * What is looked at is all by which a receiver could be led astray: Ethernet source, IP source, ARP's sender, the target of a
 * neighbour advertisement, and every link-layer address in neighbour discovery. A router advertisement or a redirect is
 * nobody's right but ours, and so is an answer of a DHCP server.
 *
 * Bounds: MAX_CLAIMS addresses that a member took by itself; a further one takes the place of the oldest.
 */
import type { Random } from "../flow/clock.js";
import { MAX_LINKS } from "../native/engine.js";
import type { Address } from "../wire/address.js";
import { ARP_SENDER_IP, ARP_SENDER_MAC, ArpOperation, arpOperation } from "../wire/arp.js";
import { type Mac, macHigh, macLow } from "../wire/ethernet.js";
import { Icmpv6Type } from "../wire/icmpv6.js";
import { linkLocalAddress } from "../wire/ipv6.js";
import { NDP_TARGET, NdpOption, optionsValid, ROUTER_SOLICITATION_OPTIONS, SOLICITATION_OPTIONS } from "../wire/ndp.js";
import { NOBODY, Owners } from "./owners.js";

/** The owner of our own addresses. */
export const OURS = 0xffff;
export { NOBODY };
export const MAX_CLAIMS = 8;
const MAPPED = 0xffff;
/** The first word of fe80::/64. */
const LINK_LOCAL = 0xfe800000 | 0;

export interface GuardOptions {
  readonly random: Random;
  /** Our hardware address, and all of our IP addresses. */
  readonly mac: Mac;
  readonly own: readonly Address[];
  /** The prefix of which members may form addresses; null: no IPv6. */
  readonly v6: { readonly network: Address; readonly prefix: number } | null;
}

/** A member's addresses. */
export interface Owned {
  readonly mac: Mac;
  readonly v4: Address | null;
  readonly v6: Address | null;
}

/** What a member owns, as words. */
interface Port {
  readonly high: number;
  readonly low: number;
  /** 0: it has no IPv4 (nobody's address). */
  readonly v4: number;
  /** Addresses for good, four words each, the leased one first. */
  readonly fixed: Int32Array;
  /** Those that it took by itself, in the order of taking from `next` on. */
  readonly claims: Int32Array;
  claimed: number;
  next: number;
}

export class Guard {
  readonly #macs: Owners;
  readonly #owners: Owners;
  readonly #ports: (Port | undefined)[] = [];
  readonly #v6: { readonly network: Address; readonly prefix: number } | null;
  /** The network and its mask, four words each; without IPv6 no address fits. */
  readonly #network: Int32Array;
  readonly #mask: Int32Array;

  constructor(options: GuardOptions) {
    const { v6 } = options;
    this.#macs = new Owners(options.random);
    this.#owners = new Owners(options.random);
    this.#v6 = v6;
    this.#mask = Int32Array.from([0, 32, 64, 96], (from) => maskWord((v6?.prefix ?? 0) - from));
    this.#network = Int32Array.from(v6 === null ? [0, 0, 0, 0] : words(v6.network));
    const mac = macWords(options.mac);
    this.#macs.put(0, 0, mac.high, mac.low, OURS);
    for (const address of options.own) this.#put(address, OURS);
  }

  /** A member with these addresses is behind a link from now on. */
  admit(link: number, { mac, v4, v6 }: Owned): void {
    const { high, low } = macWords(mac);
    const formed = this.#formed(mac).filter((address) => !this.#isFixed(address));
    const fixed = v6 === null ? formed : [v6, ...formed];
    this.#ports[link] = {
      high,
      low,
      v4: v4 === null ? 0 : words(v4)[3],
      fixed: Int32Array.from(fixed.flatMap((address) => [...words(address)])),
      claims: new Int32Array(MAX_CLAIMS * 4),
      claimed: 0,
      next: 0,
    };
    this.#macs.put(0, 0, high, low, link);
    for (const address of v4 === null ? fixed : [...fixed, v4]) this.#put(address, link);
  }

  /** Nobody is behind it any more, and what it owned is free. */
  dismiss(link: number): void {
    const port = this.#ports[link];
    if (port === undefined) return;
    this.#ports[link] = undefined;
    this.#macs.remove(0, 0, port.high, port.low, link);
    this.#owners.remove(0, 0, MAPPED, port.v4, link);
    for (const list of [port.fixed, port.claims]) {
      for (let at = 0; at < list.length; at += 4) {
        this.#owners.remove(list[at], list[at + 1], list[at + 2], list[at + 3], link);
      }
    }
  }

  /** Whose a hardware address is: a link, OURS or NOBODY. */
  macOwner(high: number, low: number): number {
    return this.#macs.find(0, 0, high, low);
  }

  ipv4Owner(word: number): number {
    return this.#owners.find(0, 0, MAPPED, word);
  }

  /** Whose the IPv6 address at `at` is. */
  ipv6Owner(view: DataView, at: number): number {
    return this.#owners.find(view.getInt32(at), view.getInt32(at + 4), view.getInt32(at + 8), view.getInt32(at + 12));
  }

  maySend(link: number, high: number, low: number): boolean {
    const port = this.#ports[link];
    if (port !== undefined) return port.low === low && port.high === high;
    return link >= MAX_LINKS && this.macOwner(high, low) === NOBODY;
  }

  mayUseIPv4(link: number, word: number): boolean {
    const port = this.#ports[link];
    if (port !== undefined) return port.v4 === word && word !== 0;
    return link >= MAX_LINKS && this.ipv4Owner(word) === NOBODY;
  }

  /** The address at `at` becomes the link's where nobody has it. */
  mayUseIPv6(link: number, view: DataView, at: number): boolean {
    const a = view.getInt32(at);
    const b = view.getInt32(at + 4);
    const c = view.getInt32(at + 8);
    const d = view.getInt32(at + 12);
    const port = this.#ports[link];
    if (port !== undefined && port.fixed.length > 0) {
      const leased = port.fixed;
      if (leased[3] === d && leased[2] === c && leased[1] === b && leased[0] === a) return true;
    }
    // Groups, and what hides an IPv4 address: nobody speaks by these (RFC 4291, 2.5.5 and 2.7).
    if (a >>> 24 === 0xff || ((a | b) === 0 && (c === 0 || c === MAPPED))) return false;
    const owner = this.#owners.find(a, b, c, d);
    if (owner !== NOBODY) return owner === link;
    if (port === undefined) return link >= MAX_LINKS;
    if (!this.#mayClaim(a, b, c, d)) return false;
    this.#claim(port, link, a, b, c, d);
    return true;
  }

  /** True for an ARP message (wire/arp) that says nothing but what its sender may say. */
  isHonestArp(link: number, view: DataView, at: number, source: number): boolean {
    if (macHigh(view, at + ARP_SENDER_MAC) !== macHigh(view, source)) return false;
    if (macLow(view, at + ARP_SENDER_MAC) !== macLow(view, source)) return false;
    const sender = view.getInt32(at + ARP_SENDER_IP);
    // A probe (RFC 5227) has no sender.
    return sender === 0 ? arpOperation(view, at) === ArpOperation.Request : this.mayUseIPv4(link, sender);
  }

  /**
   * The same for a message of neighbour discovery at [at, end), which has 8 bytes at least.
   * @param source offset of the frame's source MAC
   */
  isHonestDiscovery(link: number, view: DataView, at: number, end: number, source: number): boolean {
    const type = view.getUint8(at);
    let options = at + SOLICITATION_OPTIONS;
    if (type === Icmpv6Type.RouterSolicitation) options = at + ROUTER_SOLICITATION_OPTIONS;
    else if (type !== Icmpv6Type.NeighbourSolicitation && type !== Icmpv6Type.NeighbourAdvertisement) return false;
    if (options > end || !optionsValid(view, options, end)) return false;
    if (type === Icmpv6Type.NeighbourAdvertisement && !this.mayUseIPv6(link, view, at + NDP_TARGET)) return false;
    for (let option = options; option < end; option += view.getUint8(option + 1) * 8) {
      const kind = view.getUint8(option);
      if (kind !== NdpOption.SourceLinkLayer && kind !== NdpOption.TargetLinkLayer) continue;
      if (macHigh(view, option + 2) !== macHigh(view, source) || macLow(view, option + 2) !== macLow(view, source)) {
        return false;
      }
    }
    return true;
  }

  /** The addresses that a kernel forms of its interface's hardware address. */
  #formed(mac: Mac): Address[] {
    if (this.#v6 === null) return [];
    const linkLocal = linkLocalAddress(mac);
    if (this.#v6.prefix !== 64) return [linkLocal];
    const formed = this.#v6.network.slice();
    formed.set(linkLocal.subarray(8), 8);
    return [linkLocal, formed];
  }

  #put(address: Address, owner: number): void {
    const [a, b, c, d] = words(address);
    this.#owners.put(a, b, c, d, owner);
  }

  /** True where somebody has the address for good: it is ours, or a member's own. */
  #isFixed(address: Address): boolean {
    const [a, b, c, d] = words(address);
    const owner = this.#owners.find(a, b, c, d);
    const fixed = this.#ports[owner]?.fixed ?? [];
    for (let at = 0; at < fixed.length; at += 4) {
      if (fixed[at] === a && fixed[at + 1] === b && fixed[at + 2] === c && fixed[at + 3] === d) return true;
    }
    return owner === OURS;
  }

  /** A unicast address of the network, or a link-local one (fe80::/64, RFC 4291, 2.5.6); not the routers' own (2.6.1). */
  #mayClaim(a: number, b: number, c: number, d: number): boolean {
    if (this.#v6 === null) return false;
    if (a === LINK_LOCAL && b === 0) return (c | d) !== 0;
    const m = this.#mask;
    const n = this.#network;
    const differs = ((a ^ n[0]) & m[0]) | ((b ^ n[1]) & m[1]) | ((c ^ n[2]) & m[2]) | ((d ^ n[3]) & m[3]);
    return differs === 0 && ((a & ~m[0]) | (b & ~m[1]) | (c & ~m[2]) | (d & ~m[3])) !== 0;
  }

  #claim(port: Port, link: number, a: number, b: number, c: number, d: number): void {
    const { claims } = port;
    const at = port.next * 4;
    if (port.claimed === MAX_CLAIMS) {
      this.#owners.remove(claims[at], claims[at + 1], claims[at + 2], claims[at + 3], link);
    } else port.claimed++;
    claims[at] = a;
    claims[at + 1] = b;
    claims[at + 2] = c;
    claims[at + 3] = d;
    port.next = (port.next + 1) % MAX_CLAIMS;
    this.#owners.put(a, b, c, d, link);
  }
}

/** The four words of an address, an IPv4 address in its mapped form. */
function words(address: Address): readonly [number, number, number, number] {
  const view = new DataView(address.buffer, address.byteOffset, 16);
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)];
}

function macWords(mac: Mac): { high: number; low: number } {
  const view = new DataView(mac.buffer, mac.byteOffset, 6);
  return { high: macHigh(view, 0), low: macLow(view, 0) };
}

/** The mask of the first `bits` bits of a word; all or none where that is outside 0 to 32. */
function maskWord(bits: number): number {
  if (bits <= 0) return 0;
  return bits >= 32 ? -1 : (-1 << (32 - bits)) | 0;
}
