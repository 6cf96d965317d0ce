/**
 * ICMP errors towards the sandbox.
 *
 * Theory of operation. Whoever gives up a packet of the sandbox names a reason; this turns it into type and code, quotes
 * the packet, and sends it from the gateway's address or from the host that reported it. RFC 1122 3.2.2, RFC 1812
 * 4.3.2.7 and RFC 4443 2.4 e forbid errors about errors, about fragments other than the first, and about packets to or from
 * addresses that are not one host's: these are refused here, for all callers. Errors are counted and limited by a token
 * bucket (RFC 1812 4.3.2.8, RFC 4443 2.4 f), so that a scan from inside costs no more than the scan itself.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import { MAX_SEGMENTS } from "../link/segment.js";
import { MAX_LINKS } from "../native/engine.js";
import type { Address } from "../wire/address.js";
import {
  ICMP_HEADER,
  IcmpType,
  icmpType,
  isIcmpError,
  setIcmpChecksum,
  TimeExceededCode,
  UnreachableCode,
} from "../wire/icmp.js";
import { Icmpv6Type, isIcmpv6Error, ParameterCode, setIcmpv6Checksum, UnreachableCodeV6 } from "../wire/icmpv6.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipVersion,
  ipv4Address,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  ipv4TotalLength,
  isMulticastWord,
  isUnicastWord,
  Protocol,
} from "../wire/ipv4.js";
import {
  Chain,
  FRAGMENT_BYTES,
  fragmentWord,
  HeaderChain,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  ipv6PayloadLength,
  isLinkLocal,
  isMulticast,
  isUnspecified,
} from "../wire/ipv6.js";
import { LONGEST_QUOTE, Reject, reportedCode, reportedType } from "../wire/reject.js";

/** Errors per second, and at once. */
const RATE = 1000;
const BURST = 1000;
/** Bytes quoted at most of an IPv4 packet: the error is then at most 576 bytes long (RFC 1812 4.3.2.3). */
const LONGEST_QUOTE_IPV4 = 548;
/** Bytes of the transport header that the sandbox needs to find its socket. */
const SHORTEST_TRANSPORT = 8;

/** What errors need of egress. */
export interface ErrorOutput {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** A place for `length` bytes behind the lower headers, or -1. */
  place(length: number): number;
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
}

export interface ErrorOptions {
  readonly output: ErrorOutput;
  readonly clock: Clock;
  readonly counters: Counters;
  /** Who reports where nobody else does. */
  readonly gateway: Address;
  readonly v6: { readonly gateway: Address; readonly linkLocal: Address } | null;
}

export class IcmpErrors {
  readonly #options: ErrorOptions;
  readonly #chain = new HeaderChain();
  /** By link: nobody takes another's. */
  readonly #tokens = new Float64Array(MAX_LINKS + MAX_SEGMENTS).fill(BURST);
  readonly #refilled = new Float64Array(MAX_LINKS + MAX_SEGMENTS);

  constructor(options: ErrorOptions) {
    this.#options = options;
  }

  /** See Output.reject in link/output.ts. */
  send(link: number, original: Uint8Array, reason: Reject, from: Address | null, info: number): void {
    const { counters } = this.#options;
    const view = new DataView(original.buffer, original.byteOffset, original.byteLength);
    const isV6 = original.length >= IPV6_HEADER && ipVersion(view, 0) === 6;
    if (isV6 ? !this.#mayBeReportedV6(original, view, reason) : !mayBeReported(view)) {
      counters.add("stack.error_not_allowed");
      return;
    }
    if (!this.#takeToken(link)) {
      counters.add("stack.error_rate_limit");
      return;
    }
    if (isV6) this.#sendV6(link, original, view, reason, from, info);
    else this.#sendV4(link, original, view, reason, from, info);
  }

  #sendV4(
    link: number,
    original: Uint8Array,
    view: DataView,
    reason: Reject,
    from: Address | null,
    info: number,
  ): void {
    const { output, gateway } = this.#options;
    const length = ICMP_HEADER + Math.min(original.length, ipv4TotalLength(view, 0), LONGEST_QUOTE_IPV4);
    const at = this.#write(original, length, typeOf(reason), codeOf(reason));
    if (at < 0) return;
    if (reason === Reject.TooBig) output.view.setUint16(at + 6, info);
    if (typeOf(reason) === IcmpType.ParameterProblem) output.view.setUint8(at + 4, info);
    setIcmpChecksum(output.view, at, at + length);
    const to = ipv4Address(ipv4Source(view, 0));
    output.send(link, Protocol.Icmp, from ?? gateway, to, at, length, ICMP_HEADER, 0);
  }

  #sendV6(
    link: number,
    original: Uint8Array,
    view: DataView,
    reason: Reject,
    from: Address | null,
    info: number,
  ): void {
    const { output, v6 } = this.#options;
    if (v6 === null) return;
    const length = ICMP_HEADER + Math.min(original.length, IPV6_HEADER + ipv6PayloadLength(view, 0), LONGEST_QUOTE);
    const type = typeOfV6(reason);
    const at = this.#write(original, length, type, codeOfV6(reason));
    if (at < 0) return;
    if (type !== Icmpv6Type.TimeExceeded && type !== Icmpv6Type.Unreachable) output.view.setUint32(at + 4, info);
    const to = original.slice(IPV6_SOURCE, IPV6_SOURCE + 16);
    const source = from ?? (isLinkLocal(to) ? v6.linkLocal : v6.gateway);
    setIcmpv6Checksum(output.view, at, at + length, source, to);
    output.send(link, Protocol.Icmpv6, source, to, at, length, ICMP_HEADER, 0);
  }

  /** Begins a message of `length` bytes with a quotation of the packet, and returns its place; -1 where there is none. */
  #write(original: Uint8Array, length: number, type: number, code: number): number {
    const { output, counters } = this.#options;
    const at = output.place(length);
    if (at < 0) {
      counters.add("stack.no_room");
      return -1;
    }
    output.view.setUint8(at, type);
    output.view.setUint8(at + 1, code);
    output.view.setUint32(at + 4, 0);
    output.bytes.set(original.subarray(0, length - ICMP_HEADER), at + ICMP_HEADER);
    counters.add("stack.errors_sent");
    return at;
  }

  /** RFC 4443, 2.4 e. Only what concerns all receivers of a packet is said about one to a group. */
  #mayBeReportedV6(original: Uint8Array, view: DataView, reason: Reject): boolean {
    const source = original.subarray(IPV6_SOURCE, IPV6_DESTINATION);
    if (isMulticast(source) || isUnspecified(source)) return false;
    const toGroup = original[IPV6_DESTINATION] === 0xff;
    if (toGroup && reason !== Reject.TooBig && reason !== Reject.UnknownOption) return false;
    const chain = this.#chain;
    // What is wrong with the headers stands before any transport header.
    const known = chain.read(view, 0, original.length, toGroup);
    if (known !== Chain.Complete) return known !== Chain.Malformed && known !== Chain.Discard;
    const { fragment, transport, protocol } = chain;
    if (fragment >= 0 && (fragmentWord(view, fragment) & FRAGMENT_BYTES) !== 0) return false;
    if (protocol !== Protocol.Icmpv6) return true;
    return transport + SHORTEST_TRANSPORT <= original.length && !isIcmpv6Error(icmpType(view, transport));
  }

  #takeToken(link: number): boolean {
    const now = this.#options.clock.now();
    const tokens = Math.min(BURST, this.#tokens[link] + ((now - this.#refilled[link]) * RATE) / 1000);
    this.#refilled[link] = now;
    this.#tokens[link] = tokens < 1 ? tokens : tokens - 1;
    return tokens >= 1;
  }
}

function mayBeReported(original: DataView): boolean {
  if (original.byteLength < IPV4_HEADER + SHORTEST_TRANSPORT || ipVersion(original, 0) !== 4) return false;
  const header = ipv4HeaderLength(original, 0);
  if (header < IPV4_HEADER || original.byteLength < header + 8 || ipv4TotalLength(original, 0) < header) return false;
  if ((ipv4Fragment(original, 0) & FRAGMENT_OFFSET) !== 0) return false;
  const destination = ipv4Destination(original, 0);
  if (!isUnicastWord(ipv4Source(original, 0)) || isMulticastWord(destination) || destination === -1) return false;
  return ipv4Protocol(original, 0) !== Protocol.Icmp || !isIcmpError(icmpType(original, header));
}

function typeOf(reason: Reject): number {
  if (reportedType(reason) >= 0) return reportedType(reason);
  if (reason === Reject.TimeExceeded || reason === Reject.ReassemblyTime) return IcmpType.TimeExceeded;
  return reason === Reject.HeaderField ? IcmpType.ParameterProblem : IcmpType.Unreachable;
}

function codeOf(reason: Reject): number {
  if (reportedType(reason) >= 0) return reportedCode(reason);
  switch (reason) {
    case Reject.NoRoute:
      return UnreachableCode.Network;
    case Reject.ProtocolUnreachable:
      return UnreachableCode.Protocol;
    case Reject.PortUnreachable:
      return UnreachableCode.Port;
    case Reject.TooBig:
      return UnreachableCode.FragmentationNeeded;
    case Reject.Prohibited:
      return UnreachableCode.Prohibited;
    case Reject.TimeExceeded:
    case Reject.HeaderField:
      return 0;
    case Reject.ReassemblyTime:
      return TimeExceededCode.Reassembly;
    default:
      return UnreachableCode.Host;
  }
}

function typeOfV6(reason: Reject): number {
  if (reportedType(reason) >= 0) return reportedType(reason);
  switch (reason) {
    case Reject.TooBig:
      return Icmpv6Type.TooBig;
    case Reject.TimeExceeded:
    case Reject.ReassemblyTime:
      return Icmpv6Type.TimeExceeded;
    case Reject.ProtocolUnreachable:
    case Reject.HeaderField:
    case Reject.UnknownOption:
    case Reject.FirstFragment:
      return Icmpv6Type.ParameterProblem;
    default:
      return Icmpv6Type.Unreachable;
  }
}

function codeOfV6(reason: Reject): number {
  if (reportedType(reason) >= 0) return reportedCode(reason);
  switch (reason) {
    case Reject.NoRoute:
      return UnreachableCodeV6.NoRoute;
    case Reject.Prohibited:
      return UnreachableCodeV6.Prohibited;
    case Reject.BeyondScope:
      return UnreachableCodeV6.BeyondScope;
    case Reject.HostUnreachable:
      return UnreachableCodeV6.Address;
    case Reject.PortUnreachable:
      return UnreachableCodeV6.Port;
    case Reject.ProtocolUnreachable:
      return ParameterCode.NextHeader;
    case Reject.UnknownOption:
      return ParameterCode.Option;
    case Reject.FirstFragment:
      return ParameterCode.FirstFragment;
    case Reject.ReassemblyTime:
      return TimeExceededCode.Reassembly;
    default:
      return 0;
  }
}
