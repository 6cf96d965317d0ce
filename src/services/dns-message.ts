/**
 * The little of a DNS message that a forwarder has to understand (RFC 1035, 4.1): header and question. The rest is carried
 * as bytes. Any bytes may come in; nothing is read beyond their end.
 */

export const DNS_HEADER = 12;

/** OPCODE of an ordinary query. */
export const OPCODE_QUERY = 0;

export const RCODE_FORMERR = 1;
export const RCODE_SERVFAIL = 2;
export const RCODE_NXDOMAIN = 3;
export const RCODE_NOTIMP = 4;
export const RCODE_REFUSED = 5;

const TYPE_OPT = 41;
/** The payload that we take, for EDNS: what crosses every path unfragmented. */
const UDP_PAYLOAD = 1232;

/** Limits of RFC 1035, 2.3.4, in bytes as on the wire. */
const MAX_LABEL = 63;
const MAX_NAME = 255;

export interface Question {
  /** In lower case, without the final dot, its bytes as Latin-1 characters. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
  /** First byte after the question. */
  readonly end: number;
}

export function messageId(message: Uint8Array): number {
  return (message[0] << 8) | message[1];
}

export function setMessageId(message: Uint8Array, id: number): void {
  message[0] = id >>> 8;
  message[1] = id & 0xff;
}

export function isResponse(message: Uint8Array): boolean {
  return (message[2] & 0x80) !== 0;
}

export function opcode(message: Uint8Array): number {
  return (message[2] >> 3) & 0xf;
}

export function rcode(message: Uint8Array): number {
  return message[3] & 0xf;
}

export function questionCount(message: Uint8Array): number {
  return (message[4] << 8) | message[5];
}

/** The one question of a message of at least DNS_HEADER bytes; null where there is not exactly one, or it is malformed. */
export function readQuestion(message: Uint8Array): Question | null {
  if (questionCount(message) !== 1) return null;
  const labels: string[] = [];
  let at = DNS_HEADER;
  for (;;) {
    if (at >= message.length) return null;
    const length = message[at++];
    if (length === 0) break;
    // A compression pointer has nothing to point to here.
    if (length > MAX_LABEL || at + length > message.length || at + length - DNS_HEADER >= MAX_NAME) return null;
    labels.push(String.fromCharCode(...message.subarray(at, at + length)).toLowerCase());
    at += length;
  }
  if (at + 4 > message.length) return null;
  return {
    name: labels.join("."),
    type: (message[at] << 8) | message[at + 1],
    class: (message[at + 2] << 8) | message[at + 3],
    end: at + 4,
  };
}

/** True if both messages have one question, and the same: name (in any case), type and class. `end`: the first byte after that of `query`. */
export function sameQuestion(query: Uint8Array, message: Uint8Array, end: number): boolean {
  if (questionCount(message) !== 1 || message.length < end) return false;
  // Lengths of labels are below the letters, so that they need no care of their own.
  for (let i = DNS_HEADER; i < end - 4; i++) if (lowerCase(query[i]) !== lowerCase(message[i])) return false;
  for (let i = end - 4; i < end; i++) if (query[i] !== message[i]) return false;
  return true;
}

function lowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** Bytes of an OPT record without options. */
export const OPT_LENGTH = 11;

/** True for a query whose first record is an OPT at `at`, its question's end: the root, type OPT (RFC 6891, 6.1.2). */
export function hasOption(query: Uint8Array, at: number): boolean {
  const first = query[6] === 0 && query[7] === 0 && query[8] === 0 && query[9] === 0 && (query[10] | query[11]) !== 0;
  return (
    first && query.length >= at + OPT_LENGTH && query[at] === 0 && query[at + 1] === 0 && query[at + 2] === TYPE_OPT
  );
}

/** Our OPT record: version 0, no flags, no options. Its place is all zero. */
export function writeOption(answer: Uint8Array, at: number): void {
  answer[at + 2] = TYPE_OPT;
  answer[at + 3] = UDP_PAYLOAD >> 8;
  answer[at + 4] = UDP_PAYLOAD & 0xff;
}

/**
 * An answer that says no more than `code`, with the query's question if it could be read, and an OPT record where the query has one
 * directly behind that (RFC 6891, 6.1.1).
 */
export function errorAnswer(query: Uint8Array, question: Question | null, code: number): Uint8Array {
  const end = question === null ? DNS_HEADER : question.end;
  const edns = question !== null && hasOption(query, end);
  const answer = new Uint8Array(edns ? end + OPT_LENGTH : end);
  answer.set(query.subarray(0, end));
  // QR; opcode and RD as asked; RA.
  answer[2] = 0x80 | (query[2] & 0x79);
  answer[3] = 0x80 | code;
  answer.fill(0, 4, DNS_HEADER);
  answer[5] = question === null ? 0 : 1;
  if (edns) {
    answer[11] = 1;
    writeOption(answer, end);
  }
  return answer;
}
