/**
 * ICMP for IPv4 (RFC 792): type, code, checksum (2 bytes), then 4 bytes by type: id and sequence number of an echo,
 * next-hop MTU in the last two of a "fragmentation needed" (RFC 1191).
 */
import { addWords, checksum } from "./checksum.js";

export const ICMP_HEADER = 8;
export const ICMP_CHECKSUM = 2;

export enum IcmpType {
  EchoReply = 0,
  Unreachable = 3,
  SourceQuench = 4,
  Redirect = 5,
  Echo = 8,
  TimeExceeded = 11,
  ParameterProblem = 12,
}

/** Codes of IcmpType.Unreachable (RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1). */
export enum UnreachableCode {
  Network = 0,
  Host = 1,
  Protocol = 2,
  Port = 3,
  FragmentationNeeded = 4,
  NetworkProhibited = 9,
  HostProhibited = 10,
  Prohibited = 13,
}

/** Codes of a Time Exceeded message, in both families: on the way, or while waiting for fragments. */
export enum TimeExceededCode {
  Transit = 0,
  Reassembly = 1,
}

export const icmpType = (view: DataView, at: number): number => view.getUint8(at);
export const icmpCode = (view: DataView, at: number): number => view.getUint8(at + 1);
export const icmpId = (view: DataView, at: number): number => view.getUint16(at + 4);
export const icmpSequence = (view: DataView, at: number): number => view.getUint16(at + 6);

/** True for the types that report an error: no error may be sent about them (RFC 1122 3.2.2). */
export function isIcmpError(type: number): boolean {
  return (
    type === IcmpType.Unreachable ||
    type === IcmpType.SourceQuench ||
    type === IcmpType.Redirect ||
    type === IcmpType.TimeExceeded ||
    type === IcmpType.ParameterProblem
  );
}

/** True where the checksum over the whole message is right. */
export function icmpValid(view: DataView, at: number, end: number): boolean {
  return checksum(addWords(view, at, end, 0)) === 0;
}

/** Computes and stores the checksum over the whole message. */
export function setIcmpChecksum(view: DataView, at: number, end: number): void {
  view.setUint16(at + 2, 0);
  view.setUint16(at + 2, checksum(addWords(view, at, end, 0)));
}
