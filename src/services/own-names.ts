/**
 * The names that this network itself knows: `host.internal` for the host, the sandbox's own name, and the reverse of our
 * addresses. They are answered here and never asked of anybody (nobody outside has to know how a sandbox is called).
 */
import type { Answer } from "dns-packet";
import { type Address, formatAddress, isIPv4 } from "../wire/address.js";
import type { Question } from "./dns-message.js";

export interface OwnName {
  /** Without the final dot. */
  readonly name: string;
  readonly address: Address;
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

export class OwnNames {
  readonly #forward = new Map<string, OwnName>();
  readonly #reverse = new Map<string, OwnName>();

  /** Where two names have one address, the reverse lookup gives the first. */
  constructor(names: readonly OwnName[]) {
    for (const own of names) {
      this.#forward.set(own.name.toLowerCase(), own);
      const reverse = reverseName(own.address);
      if (!this.#reverse.has(reverse)) this.#reverse.set(reverse, own);
    }
  }

  has(question: Question): boolean {
    return question.class === CLASS_IN && (this.#forward.has(question.name) || this.#reverse.has(question.name));
  }

  /** The whole answer to a query whose question has() is true of. A type that the name does not have: no error and no record (RFC 2308, 2.2). */
  async answer(query: Uint8Array, question: Question): Promise<Uint8Array> {
    // Loaded when it is first needed: most sandboxes never ask.
    const { default: dns } = await import("dns-packet");
    const asked = dns.decode(Buffer.from(query));
    const wantsEdns = (asked.additionals ?? []).some(({ type }) => type === "OPT");
    return dns.encode({
      type: "response",
      id: asked.id ?? 0,
      flags: dns.AUTHORITATIVE_ANSWER | dns.RECURSION_AVAILABLE | ((asked.flags ?? 0) & dns.RECURSION_DESIRED),
      questions: asked.questions ?? [],
      answers: this.#records(question, asked.questions?.[0]?.name ?? question.name),
      additionals: wantsEdns
        ? [
            {
              type: "OPT",
              name: ".",
              udpPayloadSize: 1232,
              extendedRcode: 0,
              ednsVersion: 0,
              flags: 0,
              flag_do: false,
              options: [],
            },
          ]
        : [],
    });
  }

  /** `name`: as it was asked, in its case. */
  #records(question: Question, name: string): Answer[] {
    const wants = (type: number) => question.type === type || question.type === TYPE_ANY;
    const named = this.#forward.get(question.name);
    if (named !== undefined) {
      const data = formatAddress(named.address);
      if (isIPv4(named.address)) return wants(TYPE_A) ? [{ type: "A", name, ttl: TTL_SECONDS, data }] : [];
      return wants(TYPE_AAAA) ? [{ type: "AAAA", name, ttl: TTL_SECONDS, data }] : [];
    }
    const reversed = this.#reverse.get(question.name);
    if (reversed === undefined || !wants(TYPE_PTR)) return [];
    return [{ type: "PTR", name, ttl: TTL_SECONDS, data: reversed.name }];
  }
}
