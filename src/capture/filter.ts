/**
 * Which frames are captured, in a small part of tcpdump's language:
 *
 *     host ADDRESS     from or to an IPv4 or IPv6 address; of ARP: who asks, or who is asked for
 *     port NUMBER      from or to a port of TCP, UDP or SCTP, 0 to 65535
 *     proto NAME       tcp, udp, icmp, icmp6 or arp; the word `proto` may be left away
 *     not X, X and Y, X or Y, ( X ); also !, && and ||
 *
 * As with tcpdump, `not` binds most, and `and` and `or` bind alike, from left to right: `a or b and c` is `(a or b) and c`.
 * Unlike it we look behind IPv6 extension headers. Fragments but the first have a protocol, and no ports.
 */
import { NetnsError } from "../errors.js";
import { type Address, equalAddress, parseAddress } from "../wire/address.js";
import { ARP_SENDER_IP, ARP_TARGET_IP, isArp } from "../wire/arp.js";
import { ETHERNET_HEADER, EtherType, etherType } from "../wire/ethernet.js";
import {
  FRAGMENT_OFFSET,
  IPV4_HEADER,
  ipVersion,
  ipv4Destination,
  ipv4Fragment,
  ipv4HeaderLength,
  ipv4Protocol,
  ipv4Source,
  Protocol,
  setIpv4Address,
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
} from "../wire/ipv6.js";

const SCTP = 132;
/** Beyond the numbers of IP. */
const ARP = 256;
const PROTOCOLS: ReadonlyMap<string, number> = new Map([
  ["tcp", Protocol.Tcp],
  ["udp", Protocol.Udp],
  ["icmp", Protocol.Icmp],
  ["icmp6", Protocol.Icmpv6],
  ["arp", ARP],
]);
/** Of parentheses and `not` in each other. */
const DEEPEST = 100;
const LONGEST = 4096;

/** What a frame is, as far as a filter asks. One object, filled again for each frame. */
class Facts {
  /** A number of IP, ARP, or -1. */
  protocol = -1;
  hasAddresses = false;
  readonly source = new Uint8Array(16);
  readonly destination = new Uint8Array(16);
  /** -1: none. */
  sourcePort = -1;
  destinationPort = -1;
  readonly #chain = new HeaderChain();

  /** Reads the Ethernet frame at [at, end). */
  read(view: DataView, at: number, end: number): void {
    this.protocol = -1;
    this.hasAddresses = false;
    this.sourcePort = -1;
    this.destinationPort = -1;
    if (end - at < ETHERNET_HEADER) return;
    const network = at + ETHERNET_HEADER;
    switch (etherType(view, at)) {
      case EtherType.IPv4:
        this.#ipv4(view, network, end);
        break;
      case EtherType.IPv6:
        this.#ipv6(view, network, end);
        break;
      case EtherType.ARP:
        this.#arp(view, network, end);
    }
  }

  #ipv4(view: DataView, at: number, end: number): void {
    if (end - at < IPV4_HEADER || ipVersion(view, at) !== 4) return;
    this.protocol = ipv4Protocol(view, at);
    this.hasAddresses = true;
    setIpv4Address(this.source, ipv4Source(view, at));
    setIpv4Address(this.destination, ipv4Destination(view, at));
    if ((ipv4Fragment(view, at) & FRAGMENT_OFFSET) === 0) this.#ports(view, at + ipv4HeaderLength(view, at), end);
  }

  #ipv6(view: DataView, at: number, end: number): void {
    if (end - at < IPV6_HEADER || ipVersion(view, at) !== 6) return;
    this.hasAddresses = true;
    for (let i = 0; i < 16; i++) {
      this.source[i] = view.getUint8(at + IPV6_SOURCE + i);
      this.destination[i] = view.getUint8(at + IPV6_DESTINATION + i);
    }
    const chain = this.#chain;
    const packet = Math.min(end, at + IPV6_HEADER + ipv6PayloadLength(view, at));
    if (chain.read(view, at, packet, false) !== Chain.Complete) return;
    this.protocol = chain.protocol;
    const isLater = chain.fragment >= 0 && (fragmentWord(view, chain.fragment) & FRAGMENT_BYTES) !== 0;
    if (!isLater) this.#ports(view, chain.transport, packet);
  }

  #arp(view: DataView, at: number, end: number): void {
    this.protocol = ARP;
    if (!isArp(view, at, end - at)) return;
    this.hasAddresses = true;
    setIpv4Address(this.source, view.getInt32(at + ARP_SENDER_IP));
    setIpv4Address(this.destination, view.getInt32(at + ARP_TARGET_IP));
  }

  #ports(view: DataView, at: number, end: number): void {
    if (this.protocol !== Protocol.Tcp && this.protocol !== Protocol.Udp && this.protocol !== SCTP) return;
    if (at + 4 > end) return;
    this.sourcePort = view.getUint16(at);
    this.destinationPort = view.getUint16(at + 2);
  }
}

type Test = (facts: Facts) => boolean;

export class CaptureFilter {
  /** In the words of its maker. */
  readonly text: string;
  readonly #test: Test;
  readonly #facts = new Facts();

  /** Throws a NetnsError (USAGE) that says where `text` is wrong. */
  constructor(text: string) {
    this.text = text.trim();
    this.#test = new Parser(text).parse();
  }

  /** True where the Ethernet frame at [at, end) is wanted. */
  matches(view: DataView, at: number, end: number): boolean {
    this.#facts.read(view, at, end);
    return this.#test(this.#facts);
  }
}

class Parser {
  readonly #text: string;
  readonly #words: string[];
  #next = 0;
  #depth = 0;

  constructor(text: string) {
    this.#text = text;
    if (text.length > LONGEST) this.#fail(`is longer than ${LONGEST} characters`);
    this.#words = text.match(/[()]|!|&&|\|\||[^\s()!&|]+|[&|]/g) ?? [];
  }

  parse(): Test {
    if (this.#words.length === 0) this.#fail("is empty");
    const test = this.#expression();
    const rest = this.#words[this.#next];
    if (rest !== undefined) this.#fail(`has "${rest}" where "and" or "or" is expected`);
    return test;
  }

  #expression(): Test {
    let left = this.#term();
    for (;;) {
      const word = this.#words[this.#next];
      const and = word === "and" || word === "&&";
      if (!and && word !== "or" && word !== "||") return left;
      this.#next++;
      const [first, second] = [left, this.#term()];
      left = and ? (facts) => first(facts) && second(facts) : (facts) => first(facts) || second(facts);
    }
  }

  #term(): Test {
    const word = this.#take("a condition");
    if (word === "not" || word === "!" || word === "(") {
      if (++this.#depth > DEEPEST) this.#fail(`has more than ${DEEPEST} levels`);
      const inner = word === "(" ? this.#expression() : this.#term();
      if (word === "(" && this.#take('")"') !== ")")
        this.#fail(`has "${this.#words[this.#next - 1]}" where ")" is expected`);
      this.#depth--;
      return word === "(" ? inner : (facts) => !inner(facts);
    }
    if (word === "host") return hostTest(this.#address(this.#take("an address")));
    if (word === "port") return portTest(this.#port(this.#take("a port")));
    const name = word === "proto" ? this.#take("a protocol") : word;
    const protocol = PROTOCOLS.get(name);
    if (protocol !== undefined) return (facts) => facts.protocol === protocol;
    const expected =
      word === "proto" ? [...PROTOCOLS.keys()].join(", ") : "host ADDRESS, port NUMBER, proto NAME, not, or (";
    return this.#fail(`has "${name}" where one of ${expected} is expected`);
  }

  #take(what: string): string {
    const word = this.#words[this.#next++];
    return word ?? this.#fail(`ends where ${what} is expected`);
  }

  #address(word: string): Address {
    try {
      return parseAddress(word);
    } catch {
      return this.#fail(`has "${word}" where an IPv4 or IPv6 address is expected`);
    }
  }

  #port(word: string): number {
    const port = /^\d{1,5}$/.test(word) ? Number(word) : -1;
    return port >= 0 && port <= 65535 ? port : this.#fail(`has "${word}" where a port (0 to 65535) is expected`);
  }

  #fail(what: string): never {
    const shown = this.#text.length > 80 ? `${this.#text.slice(0, 80)}...` : this.#text;
    throw new NetnsError("USAGE", `the filter "${shown}" ${what}; an example: "host 10.0.2.100 and not port 53"`);
  }
}

function hostTest(address: Address): Test {
  return (facts) =>
    facts.hasAddresses && (equalAddress(facts.source, address) || equalAddress(facts.destination, address));
}

function portTest(port: number): Test {
  return (facts) => facts.sourcePort === port || facts.destinationPort === port;
}
