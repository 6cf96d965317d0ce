/**
 * The IPv6 header and its extension headers (RFC 8200):
 *
 *     0  version 6, traffic class, flow label    6  next header     8  source
 *     4  payload length                          7  hop limit      24  destination
 *
 * The chain of headers is walked once, at the door: every header's length is checked, and the walk is bounded. Options and
 * routing headers are not acted on (source routes are refused, RFC 5095): they are skipped, or refused as they ask to be.
 */
import type { Address } from "./address.js";

export const IPV6_HEADER = 40;
/** The longest payload: all that follows the header. */
export const IPV6_MAX_PAYLOAD = 65535;
export const FRAGMENT_HEADER = 8;
/** Every link carries packets of this size (RFC 8200, 5). */
export const IPV6_MIN_MTU = 1280;

/** Values of a next header field that are no protocol of an application. */
export enum NextHeader {
  HopByHop = 0,
  Routing = 43,
  Fragment = 44,
  None = 59,
  DestinationOptions = 60,
}

/** Bit of the word at 2 of a fragment header; the offset, in bytes, is what FRAGMENT_BYTES leaves of the word. */
export const FRAGMENT_MORE = 1;
export const FRAGMENT_BYTES = 0xfff8;

/** Offset of the field that names what follows. */
export const NEXT_HEADER = 6;

export const ipv6PayloadLength = (view: DataView, at: number): number => view.getUint16(at + 4);
export const ipv6NextHeader = (view: DataView, at: number): number => view.getUint8(at + NEXT_HEADER);
export const ipv6HopLimit = (view: DataView, at: number): number => view.getUint8(at + 7);
/** Offsets of the addresses. */
export const IPV6_SOURCE = 8;
export const IPV6_DESTINATION = 24;

export const fragmentWord = (view: DataView, at: number): number => view.getUint16(at + 2);
export const fragmentId = (view: DataView, at: number): number => view.getInt32(at + 4);

/** Writes a header: traffic class and flow label are 0. `payload`: bytes that follow it. */
export function writeIPv6(
  view: DataView,
  at: number,
  payload: number,
  next: number,
  hopLimit: number,
  source: Address,
  destination: Address,
): void {
  view.setUint32(at, 0x60000000);
  view.setUint16(at + 4, payload);
  view.setUint16(at + 6, (next << 8) | hopLimit);
  for (let i = 0; i < 16; i++) {
    view.setUint8(at + IPV6_SOURCE + i, source[i]);
    view.setUint8(at + IPV6_DESTINATION + i, destination[i]);
  }
}

/** Writes a fragment header. `word`: offset in bytes, and FRAGMENT_MORE. */
export function writeFragmentHeader(view: DataView, at: number, next: number, word: number, id: number): void {
  view.setUint16(at, next << 8);
  view.setUint16(at + 2, word);
  view.setInt32(at + 4, id);
}

/** What a walk along the headers came to. */
export enum Chain {
  /** The packet may be looked at: `protocol` and `transport` are set, and `fragment` where it is one. */
  Complete = 0,
  /** Cut short, or more headers than anybody needs. */
  Malformed = 1,
  /** An option wants it dropped without a word. */
  Discard = 2,
  /** To be answered with a Parameter Problem of code 0, 1, 2 or 3 (RFC 4443, 3.4; RFC 7112), `pointer` says where. */
  HeaderField = 3,
  UnknownHeader = 4,
  UnknownOption = 5,
  FirstFragment = 6,
}

const MOST_HEADERS = 8;
const TCP = 6;

/** The headers of one packet. One object per stack, filled again for each packet. */
export class HeaderChain {
  /** What the last header names, and its first byte. Of a fragment other than the first: what the fragment header names. */
  protocol = 0;
  transport = 0;
  /** First byte of the fragment header, -1 for none; a packet that is all there in spite of one (RFC 6946) has none. */
  fragment = -1;
  /** Bytes from the packet's first to the field that is wrong, or that named `protocol`. */
  pointer = 0;

  /** Walks the headers of a packet at [at, end) whose first 40 bytes exist. `toGroup`: its destination is a multicast address. */
  read(view: DataView, at: number, end: number, toGroup: boolean): Chain {
    let next = ipv6NextHeader(view, at);
    let offset = at + IPV6_HEADER;
    this.fragment = -1;
    this.pointer = NEXT_HEADER;
    for (let count = 0; isExtension(next); count++) {
      if (next === NextHeader.HopByHop && count > 0) return Chain.UnknownHeader;
      if (count === MOST_HEADERS) return Chain.Malformed;
      if (offset + 8 > end) return this.#cutShort();
      const length = next === NextHeader.Fragment ? FRAGMENT_HEADER : (view.getUint8(offset + 1) + 1) * 8;
      if (offset + length > end) return this.#cutShort();
      const result = this.#readHeader(view, at, next, offset, length, toGroup);
      if (result !== Chain.Complete) return result;
      next = view.getUint8(offset);
      this.pointer = offset - at;
      const isLaterFragment = this.fragment === offset && (fragmentWord(view, offset) & FRAGMENT_BYTES) !== 0;
      offset += length;
      // What follows is the middle of something.
      if (isLaterFragment) break;
    }
    this.protocol = next;
    this.transport = offset;
    return this.fragment >= 0 && offset + shortest(next) > end && isFirst(view, this.fragment)
      ? this.#cutShort()
      : Chain.Complete;
  }

  /** One extension header of `length` bytes, all of which exist. */
  #readHeader(view: DataView, at: number, type: number, offset: number, length: number, toGroup: boolean): Chain {
    switch (type) {
      case NextHeader.Fragment:
        if (this.fragment >= 0) return Chain.Malformed;
        if ((fragmentWord(view, offset) & (FRAGMENT_BYTES | FRAGMENT_MORE)) !== 0) this.fragment = offset;
        return Chain.Complete;
      case NextHeader.Routing:
        // No type is known to us: it may stay where there is nothing left of it to follow (RFC 8200, 4.4).
        if (view.getUint8(offset + 3) === 0) return Chain.Complete;
        this.pointer = offset + 2 - at;
        return Chain.HeaderField;
      default:
        return this.#readOptions(view, at, offset + 2, offset + length, toGroup);
    }
  }

  /** A first fragment has all headers, the transport's too, so that whoever filters sees them (RFC 7112). */
  #cutShort(): Chain {
    if (this.fragment < 0) return Chain.Malformed;
    this.pointer = 0;
    return Chain.FirstFragment;
  }

  /** RFC 8200, 4.2: the two highest bits of an unknown option say what is to be done. */
  #readOptions(view: DataView, packet: number, from: number, to: number, toGroup: boolean): Chain {
    for (let at = from; at < to; ) {
      const type = view.getUint8(at);
      if (type === 0) {
        at++;
        continue;
      }
      if (at + 1 >= to) return Chain.Malformed;
      const action = type >>> 6;
      if (action === 1 || (action === 3 && toGroup)) return Chain.Discard;
      if (action !== 0) {
        this.pointer = at - packet;
        return Chain.UnknownOption;
      }
      at += 2 + view.getUint8(at + 1);
      if (at > to) return Chain.Malformed;
    }
    return Chain.Complete;
  }
}

function isExtension(next: number): boolean {
  return (
    next === NextHeader.HopByHop ||
    next === NextHeader.Routing ||
    next === NextHeader.Fragment ||
    next === NextHeader.DestinationOptions
  );
}

function isFirst(view: DataView, fragment: number): boolean {
  return (fragmentWord(view, fragment) & FRAGMENT_BYTES) === 0;
}

/** Bytes of the shortest header of a protocol. */
function shortest(protocol: number): number {
  if (protocol === NextHeader.None) return 0;
  return protocol === TCP ? 20 : 8;
}

/** ff00::/8. */
export function isMulticast(address: Address): boolean {
  return address[0] === 0xff;
}

/** fe80::/10. */
export function isLinkLocal(address: Address): boolean {
  return address[0] === 0xfe && (address[1] & 0xc0) === 0x80;
}

export function isUnspecified(address: Address): boolean {
  for (let i = 0; i < 16; i++) if (address[i] !== 0) return false;
  return true;
}

/** ::1. */
export function isLoopback(address: Address): boolean {
  for (let i = 0; i < 15; i++) if (address[i] !== 0) return false;
  return address[15] === 1;
}

/** The link-local address that a hardware address gives (RFC 4291, appendix A). `mac`: 6 bytes. */
export function linkLocalAddress(mac: Uint8Array): Address {
  return Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]);
}

/** The group that is asked for the hardware address of `address` (RFC 4291, 2.7.1). */
export function solicitedNode(address: Address): Address {
  return Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, address[13], address[14], address[15]);
}
