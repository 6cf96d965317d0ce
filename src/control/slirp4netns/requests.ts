/**
 * slirp4netns's API, one request: JSON in, JSON out (slirp4netns(1), "API SOCKET"). The answers are its own to the letter, as far
 * as it has one: a request that makes it crash is answered here as a bad one, and a port that no host has is refused.
 *
 * Its manual has the entries of list_hostfwd in "return", its releases have them at the top: the answer has them at both places.
 */
import { type Address, formatAddress, isIPv4, parseAddress } from "../../wire/address.js";
import type { Forward, Forwards } from "./forwards.js";

/** Where forwards lead whose request names no address inside. */
export interface Guest {
  readonly v4: Address;
  /** null: the network has no IPv6. */
  readonly v6: Address | null;
  /** Whether an address may be one inside. */
  isInside(address: Address): boolean;
}

/** A request must be shorter than this, in bytes. */
export const TOO_LARGE = 4096;

type Fields = Readonly<Record<string, unknown>>;

export const TOO_LARGE_ANSWER = refused("too large message");

/** The answer to a request, as far as it came: when it has been carried out. Never rejects. */
export async function answer(request: Uint8Array, forwards: Forwards, guest: Guest): Promise<string> {
  if (request.length >= TOO_LARGE) return TOO_LARGE_ANSWER;
  let parsed: unknown;
  try {
    parsed = JSON.parse(firstValue(textOf(request)).text);
  } catch {
    return refused("cannot parse JSON");
  }
  const fields = fieldsOf(parsed);
  if (fields === null) return refused("json_object() failed");
  const { execute } = fields;
  if (typeof execute !== "string") return refused("no execute found");
  const given = fieldsOf(fields.arguments) ?? {};
  switch (execute) {
    case "add_hostfwd":
      return add(given, forwards, guest);
    case "list_hostfwd":
      return list(forwards);
    case "remove_hostfwd":
      return remove(given, forwards);
    default:
      return refused("unknown execute");
  }
}

/** Whether an answer can be given now: more of the request would change nothing. */
export function isComplete(request: Uint8Array): boolean {
  return request.length >= TOO_LARGE || firstValue(textOf(request)).complete;
}

/** As C has it, up to a zero byte, and without a mark of the byte order (the decoder drops it). */
function textOf(request: Uint8Array): string {
  const end = request.indexOf(0);
  return new TextDecoder().decode(end < 0 ? request : request.subarray(0, end));
}

/** The first value of a text: what follows it does not count. */
function firstValue(text: string): { text: string; complete: boolean } {
  const start = text.search(/[^ \t\r\n]/);
  if (start < 0) return { text, complete: false };
  // Nothing but an object is a request; what else it may be is known at its first byte.
  if (text[start] !== "{") return { text, complete: true };
  let depth = 0;
  let quoted = false;
  for (let at = start; at < text.length; at++) {
    const character = text[at];
    if (quoted) {
      if (character === "\\") at++;
      else if (character === '"') quoted = false;
    } else if (character === '"') {
      quoted = true;
    } else if (character === "{" || character === "[") {
      depth++;
    } else if (character === "}" || character === "]") {
      depth--;
      if (depth === 0) return { text: text.slice(start, at + 1), complete: true };
    }
  }
  return { text, complete: false };
}

function fieldsOf(value: unknown): Fields | null {
  // What JSON.parse made: the names are those of the text, and "__proto__" is one like any other.
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : null;
}

function refused(what: string): string {
  return JSON.stringify({ error: { desc: `bad request: ${what}` } });
}

function add(given: Fields, forwards: Forwards, guest: Guest): string {
  const bad = (name: string) => refused(`add_hostfwd: bad arguments.${name}`);
  const wanted = /^(tcp|udp)([46]?)$/.exec(typeof given.proto === "string" ? given.proto : "");
  if (wanted === null || (wanted[2] === "6" && guest.v6 === null)) return bad("proto");
  const protocol = wanted[1] === "udp" ? "udp" : "tcp";
  const hostAddress = addressOf(given.host_addr, parseAddress(wanted[2] === "6" ? "::" : "0.0.0.0"));
  if (hostAddress === null || !isAllowed(hostAddress, wanted[2], guest)) return bad("host_addr");
  const hostPort = portOf(given.host_port);
  if (hostPort === null) return bad("host_port");
  const guestAddress = addressOf(given.guest_addr, isIPv4(hostAddress) ? guest.v4 : (guest.v6 ?? guest.v4));
  if (guestAddress === null || isIPv4(guestAddress) !== isIPv4(hostAddress) || !guest.isInside(guestAddress)) {
    return bad("guest_addr");
  }
  const guestPort = portOf(given.guest_port);
  if (guestPort === null) return bad("guest_port");
  const id = forwards.add({ protocol, hostAddress, hostPort, guestAddress, guestPort });
  return id === null ? refused("add_hostfwd: slirp_add_hostfwd failed") : JSON.stringify({ return: { id } });
}

/** @param family "4", "6", or nothing where the protocol does not say it */
function isAllowed(address: Address, family: string, guest: Guest): boolean {
  if (isIPv4(address)) return family !== "6";
  return family !== "4" && guest.v6 !== null;
}

/** What is no text, or an empty one, was not given. */
function addressOf(given: unknown, otherwise: Address): Address | null {
  if (typeof given !== "string" || given === "") return otherwise;
  try {
    return parseAddress(given);
  } catch {
    return null;
  }
}

function portOf(given: unknown): number | null {
  const port = typeof given === "number" ? Math.trunc(given) : 0;
  return port >= 1 && port <= 65535 ? port : null;
}

function list(forwards: Forwards): string {
  const entries = Array.from(forwards, ([id, forward]) => entry(id, forward));
  return JSON.stringify({ return: { entries }, entries });
}

function entry(id: number, { protocol, hostAddress, hostPort, guestAddress, guestPort }: Forward): Fields {
  return {
    id,
    proto: protocol,
    host_addr: formatAddress(hostAddress),
    host_port: hostPort,
    guest_addr: formatAddress(guestAddress),
    guest_port: guestPort,
  };
}

async function remove(given: Fields, forwards: Forwards): Promise<string> {
  const id = typeof given.id === "number" ? Math.trunc(given.id) : 0;
  return (await forwards.remove(id)) ? JSON.stringify({ return: {} }) : refused("remove_hostfwd: bad arguments.id");
}
