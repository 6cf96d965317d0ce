/**
 * The names that this network itself knows: `host.internal` for the host, its members, and the reverse of our addresses.
 * They are answered here and never asked of anybody: nobody outside has to know how a sandbox is called, and what the
 * host's resolvers say of addresses like ours is about other machines. Of the same kind is every name of the network's own
 * zone: one that no member has does not exist.
 *
 * Names come and go with the members. What comes may be asked for at once; what has gone may be remembered by those who asked
 * before, for as long as its `ttl` told them.
 */
import { type Address, formatAddress, isIPv4, parseAddress } from "../wire/address.js";
import { sharesPrefix } from "../wire/prefix.js";
import { DNS_HEADER, hasOption, OPT_LENGTH, type Question, RCODE_NXDOMAIN, writeOption } from "./dns-message.js";

export interface OwnName {
  /** Without the final dot. */
  readonly name: string;
  readonly address: Address;
  /** Seconds for which it may be remembered; default 60. */
  readonly ttl?: number;
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
const TYPE_ANY = 255;
const CLASS_IN = 1;

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
  /** By name in lower case, and by reverse name. */
  readonly #forward = new Map<string, OwnName[]>();
  readonly #reverse = new Map<string, OwnName[]>();
  readonly #subnets: readonly OwnSubnet[];
  readonly #zone: string | null;

  /**
   * @param names one name may have several addresses; where two names have one address, the reverse lookup gives the first
   * @param subnets the reverse names of all of their addresses are ours: one that no name has does not exist
   * @param zone all names in it are ours
   */
  constructor(names: readonly OwnName[], subnets: readonly OwnSubnet[] = [], zone: string | null = null) {
    this.#subnets = subnets;
    this.#zone = zone?.toLowerCase() ?? null;
    this.add(names);
  }

  add(names: readonly OwnName[]): void {
    for (const name of names) {
      append(this.#forward, name.name.toLowerCase(), name);
      append(this.#reverse, reverseName(name.address), name);
    }
  }

  /** Takes back what was given to add(): the same objects. */
  remove(names: readonly OwnName[]): void {
    for (const name of names) {
      withdraw(this.#forward, name.name.toLowerCase(), name);
      withdraw(this.#reverse, reverseName(name.address), name);
    }
  }

  /** The addresses of a name of ours, in any case; none: it is not ours, or nobody has it. */
  addresses(name: string): Address[] {
    return (this.#forward.get(name.toLowerCase()) ?? []).map(({ address }) => address);
  }

  has(question: Question): boolean {
    if (question.class !== CLASS_IN) return false;
    const { name } = question;
    if (this.#forward.has(name) || this.#reverse.has(name)) return true;
    if (this.#zone !== null && (name === this.#zone || name.endsWith(`.${this.#zone}`))) return true;
    if (!name.endsWith(".arpa")) return false;
    const address = reversedAddress(name);
    return address !== null && this.#subnets.some((subnet) => contains(subnet, address));
  }

  /**
   * The whole answer to a query whose question has() is true of. A type that the name does not have: no error and no record
   * (RFC 2308, 2.2). Of what follows the question only an OPT record directly behind it is looked at.
   */
  answer(query: Uint8Array, question: Question): Uint8Array {
    const { name, end } = question;
    const known = this.#forward.has(name) || this.#reverse.has(name) || name === this.#zone;
    const records = this.#records(question);
    const edns = hasOption(query, end);
    const length = records.reduce((sum, { data }) => sum + 12 + data.length, end) + (edns ? OPT_LENGTH : 0);
    const answer = new Uint8Array(length);
    answer.set(query.subarray(0, end));
    // QR, AA, and RD as asked; RA.
    answer[2] = 0x84 | (query[2] & 0x01);
    answer[3] = 0x80 | (known ? 0 : RCODE_NXDOMAIN);
    answer.set([0, 1, 0, records.length, 0, 0, 0, edns ? 1 : 0], 4);
    const view = new DataView(answer.buffer);
    let at = end;
    for (const { type, data, ttl } of records) {
      view.setUint16(at, 0xc000 | DNS_HEADER); // the name of the question
      view.setUint16(at + 2, type);
      view.setUint16(at + 4, CLASS_IN);
      view.setUint32(at + 6, ttl);
      view.setUint16(at + 10, data.length);
      answer.set(data, at + 12);
      at += 12 + data.length;
    }
    if (edns) writeOption(answer, at);
    return answer;
  }

  #records({ name, type }: Question): { type: number; data: Uint8Array; ttl: number }[] {
    const wants = (each: number) => type === each || type === TYPE_ANY;
    const records = (this.#forward.get(name) ?? []).map(({ address, ttl = TTL_SECONDS }) =>
      isIPv4(address) ? { type: TYPE_A, data: address.subarray(12), ttl } : { type: TYPE_AAAA, data: address, ttl },
    );
    const reversed = this.#reverse.get(name)?.[0];
    if (reversed !== undefined) {
      records.push({ type: TYPE_PTR, data: encodeName(reversed.name), ttl: reversed.ttl ?? TTL_SECONDS });
    }
    return records.filter((record) => wants(record.type));
  }
}

function append(names: Map<string, OwnName[]>, key: string, name: OwnName): void {
  const known = names.get(key);
  if (known === undefined) names.set(key, [name]);
  else known.push(name);
}

function withdraw(names: Map<string, OwnName[]>, key: string, name: OwnName): void {
  const left = (names.get(key) ?? []).filter((each) => each !== name);
  if (left.length > 0) names.set(key, left);
  else names.delete(key);
}

/** A name that was checked as a hostname. */
function encodeName(name: string): Uint8Array {
  const bytes = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label, "latin1")]);
  return Uint8Array.from([...bytes, 0]);
}

function contains({ network, prefix }: OwnSubnet, address: Address): boolean {
  const bits = isIPv4(network) ? 96 + prefix : prefix;
  return isIPv4(network) === isIPv4(address) && sharesPrefix(network, address, bits);
}
