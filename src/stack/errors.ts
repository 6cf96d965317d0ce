/**
 * ICMP errors towards the sandbox.
 *
 * Theory of operation. Whoever gives up a packet of the sandbox names a reason; this turns it into type and code, quotes
 * the packet, and sends it from the gateway's address or from the host that reported it. RFC 1122 3.2.2 and RFC 1812
 * 4.3.2.7 forbid errors about errors, about fragments other than the first, and about packets to or from addresses that
 * are not one host's: these are refused here, for all callers. Errors are counted and limited by a token bucket
 * (RFC 1812 4.3.2.8), so that a scan from inside costs no more than the scan itself.
 */
import type { Clock } from "../flow/clock.js";
import type { Counters } from "../flow/counters.js";
import type { Address } from "../wire/address.js";
import { ICMP_HEADER, IcmpType, icmpType, isIcmpError, setIcmpChecksum, UnreachableCode } from "../wire/icmp.js";
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
import { Reject } from "../wire/reject.js";

/** Errors per second, and at once. */
const RATE = 1000;
const BURST = 1000;
/** Bytes quoted at most: the error is then at most 576 bytes long (RFC 1812 4.3.2.3). */
const LONGEST_QUOTE = 548;

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

export class IcmpErrors {
  readonly #output: ErrorOutput;
  readonly #clock: Clock;
  readonly #counters: Counters;
  readonly #gateway: Address;
  #tokens = BURST;
  #refilled = 0;

  constructor(options: { output: ErrorOutput; clock: Clock; counters: Counters; gateway: Address }) {
    this.#output = options.output;
    this.#clock = options.clock;
    this.#counters = options.counters;
    this.#gateway = options.gateway;
  }

  /** See Output.reject in link/output.ts. */
  send(link: number, original: Uint8Array, reason: Reject, from: Address | null, info: number): void {
    const view = new DataView(original.buffer, original.byteOffset, original.byteLength);
    if (!mayBeReported(view)) {
      this.#counters.add("stack.error_not_allowed");
      return;
    }
    if (!this.#takeToken()) {
      this.#counters.add("stack.error_rate_limit");
      return;
    }
    const { bytes, view: out } = this.#output;
    const quote = Math.min(original.length, ipv4TotalLength(view, 0), LONGEST_QUOTE);
    const at = this.#output.place(ICMP_HEADER + quote);
    if (at < 0) {
      this.#counters.add("stack.no_room");
      return;
    }
    out.setUint8(at, reason === Reject.TimeExceeded ? IcmpType.TimeExceeded : IcmpType.Unreachable);
    out.setUint8(at + 1, code(reason));
    out.setUint32(at + 4, reason === Reject.TooBig ? info & 0xffff : 0);
    bytes.set(original.subarray(0, quote), at + ICMP_HEADER);
    setIcmpChecksum(out, at, at + ICMP_HEADER + quote);
    this.#counters.add("stack.errors_sent");
    this.#output.send(
      link,
      Protocol.Icmp,
      from ?? this.#gateway,
      ipv4Address(ipv4Source(view, 0)),
      at,
      ICMP_HEADER + quote,
      ICMP_HEADER,
      0,
    );
  }

  #takeToken(): boolean {
    const now = this.#clock.now();
    this.#tokens = Math.min(BURST, this.#tokens + ((now - this.#refilled) * RATE) / 1000);
    this.#refilled = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

function mayBeReported(original: DataView): boolean {
  if (original.byteLength < IPV4_HEADER + 8 || ipVersion(original, 0) !== 4) return false;
  const header = ipv4HeaderLength(original, 0);
  if (header < IPV4_HEADER || original.byteLength < header + 8 || ipv4TotalLength(original, 0) < header) return false;
  if ((ipv4Fragment(original, 0) & FRAGMENT_OFFSET) !== 0) return false;
  const destination = ipv4Destination(original, 0);
  if (!isUnicastWord(ipv4Source(original, 0)) || isMulticastWord(destination) || destination === -1) return false;
  return ipv4Protocol(original, 0) !== Protocol.Icmp || !isIcmpError(icmpType(original, header));
}

function code(reason: Reject): number {
  switch (reason) {
    case Reject.NoRoute:
      return UnreachableCode.Network;
    case Reject.HostUnreachable:
      return UnreachableCode.Host;
    case Reject.ProtocolUnreachable:
      return UnreachableCode.Protocol;
    case Reject.PortUnreachable:
      return UnreachableCode.Port;
    case Reject.TooBig:
      return UnreachableCode.FragmentationNeeded;
    case Reject.Prohibited:
      return UnreachableCode.Prohibited;
    case Reject.TimeExceeded:
      return 0;
  }
}
