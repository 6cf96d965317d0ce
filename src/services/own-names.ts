/**
 * The names that this network itself knows: `host.internal` for the host, the sandbox's own name, and the reverse of our
 * addresses. They are answered here and never asked of anybody: nobody outside has to know how a sandbox is called, and
 * what the host's resolvers say of addresses like ours is about other machines.
 */
import { type Address, formatAddress, isIPv4, parseAddress } from "../wire/address.js";
import { DNS_HEADER, type Question, RCODE_NXDOMAIN } from "./dns-message.js";

export interface OwnName {
  /** Without the final dot. */
  readonly name: string;
  readonly address: Address;
}

/** A subnet of ours: its first address, and its prefix length as written. */
export interface OwnSubnet {
  readonly network: Address;
  readonly prefix: number;
}

const TTL_SECONDS = 60;
const TYPE_A = 1;
const TYPE_PTR = 12;
const TYPE_AAAA = 28;
const TYPE_OPT = 41;
const TYPE_ANY = 255;
const CLASS_IN = 1;
/** The payload that we take, for EDNS: what crosses every path unfragmented. */
const UDP_PAYLOAD = 1232;

/** `100.2.0.10.in-addr.arpa` (RFC 1035, 3.5) or its sister in ip6.arpa (RFC 3596, 2.5). */
export function reverseName(address: Address): string {
  if (isIPv4(address)) return `${formatAddress(address).split(".").reverse().join(".")}.in-addr.arpa`;
  return `${Buffer.from(address).toString("hex").split("").reverse().join(".")}.ip6.arpa`;
}

/** The address whose reverse name this is, in lower case; null: it is none. */
export function reversedAddress(name: string): Address | null {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (v4 !== null) {
    const bytes = v4.slice(1).reverse();
    return bytes.every((byte) => Number(byte) <= 255) ? parseAddress(bytes.map(Number).join(".")) : null;
  }
  if (!/^([0-9a-f]\.){32}ip6\.arpa$/.test(name)) return null;
  return Uint8Array.from(Buffer.from(name.slice(0, 63).split(".").reverse().join(""), "hex"));
}

export class OwnNames {
  readonly #forward = new Map<string, Address[]>();
  readonly #reverse = new Map<string, string>();
  readonly #subnets: readonly OwnSubnet[];

  /**
   * @param names one name may have several addresses; where two names have one address, the reverse lookup gives the first
   * @param subnets the reverse names of all of their addresses are ours: one that no name has does not exist
   */
  constructor(names: readonly OwnName[], subnets: readonly OwnSubnet[] = []) {
    this.#subnets = subnets;
    for (const { name, address } of names) {
      const key = name.toLowerCase();
      const known = this.#forward.get(key);
      if (known === undefined) this.#forward.set(key, [address]);
      else known.push(address);
      const reverse = reverseName(address);
      if (!this.#reverse.has(reverse)) this.#reverse.set(reverse, name);
    }
  }

  has(question: Question): boolean {
    if (question.class !== CLASS_IN) return false;
    if (this.#forward.has(question.name) || this.#reverse.has(question.name)) return true;
    if (!question.name.endsWith(".arpa")) return false;
    const address = reversedAddress(question.name);
    return address !== null && this.#subnets.some((subnet) => contains(subnet, address));
  }

  /**
   * The whole answer to a query whose question has() is true of. A type that the name does not have: no error and no record
   * (RFC 2308, 2.2). Of what follows the question only an OPT record directly behind it is looked at.
   */
  answer(query: Uint8Array, question: Question): Uint8Array {
    const { name, end } = question;
    const known = this.#forward.has(name) || this.#reverse.has(name);
    const records = this.#records(question);
    const edns = hasOption(query, end);
    const length = records.reduce((sum, { data }) => sum + 12 + data.length, end) + (edns ? 11 : 0);
    const answer = new Uint8Array(length);
    answer.set(query.subarray(0, end));
    // QR, AA, and RD as asked; RA.
    answer[2] = 0x84 | (query[2] & 0x01);
    answer[3] = 0x80 | (known ? 0 : RCODE_NXDOMAIN);
    answer.set([0, 1, 0, records.length, 0, 0, 0, edns ? 1 : 0], 4);
    const view = new DataView(answer.buffer);
    let at = end;
    for (const { type, data } of records) {
      view.setUint16(at, 0xc000 | DNS_HEADER); // the name of the question
      view.setUint16(at + 2, type);
      view.setUint16(at + 4, CLASS_IN);
      view.setUint32(at + 6, TTL_SECONDS);
      view.setUint16(at + 10, data.length);
      answer.set(data, at + 12);
      at += 12 + data.length;
    }
    if (edns) {
      view.setUint16(at + 1, TYPE_OPT);
      view.setUint16(at + 3, UDP_PAYLOAD);
    }
    return answer;
  }

  #records({ name, type }: Question): { type: number; data: Uint8Array }[] {
    const wants = (each: number) => type === each || type === TYPE_ANY;
    const records = (this.#forward.get(name) ?? []).map((address) =>
      isIPv4(address) ? { type: TYPE_A, data: address.subarray(12) } : { type: TYPE_AAAA, data: address },
    );
    const reversed = this.#reverse.get(name);
    if (reversed !== undefined) records.push({ type: TYPE_PTR, data: encodeName(reversed) });
    return records.filter((record) => wants(record.type));
  }
}

/** RFC 6891, 6.1.2: the root, type OPT. */
function hasOption(query: Uint8Array, at: number): boolean {
  return query.length >= at + 11 && query[at] === 0 && query[at + 1] === 0 && query[at + 2] === TYPE_OPT;
}

/** A name that was checked as a hostname. */
function encodeName(name: string): Uint8Array {
  const bytes = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]);
  return Uint8Array.from([...bytes, 0]);
}

function contains({ network, prefix }: OwnSubnet, address: Address): boolean {
  if (isIPv4(network) !== isIPv4(address)) return false;
  const bits = isIPv4(network) ? 96 + prefix : prefix;
  for (let bit = 0; bit < bits; bit += 8) {
    const mask = bits - bit >= 8 ? 0xff : (0xff00 >> (bits - bit)) & 0xff;
    if (((network[bit >> 3] ^ address[bit >> 3]) & mask) !== 0) return false;
  }
  return true;
}
