/** DNS messages for the tests, by dns-packet, which the forwarder itself does not use for what it forwards. */
import dns, { type Answer, type Packet, type RecordType } from "dns-packet";

const OPT: Answer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: 4096,
  flags: 0,
  options: [],
  extendedRcode: 0,
  ednsVersion: 0,
  flag_do: false,
};

/** `edns`: with an OPT record. */
export function query(name: string, type: RecordType = "A", id = 0x1234, edns = false): Uint8Array {
  const additionals = edns ? [OPT] : [];
  return Uint8Array.from(
    dns.encode({ type: "query", id, flags: dns.RECURSION_DESIRED, questions: [{ name, type }], additionals }),
  );
}

/** An answer to a query, as a resolver would give it. `code`: RCODE. */
export function answerTo(asked: Uint8Array, answers: Answer[] = [], code = 0): Uint8Array {
  const { id, questions } = dns.decode(Buffer.from(asked));
  const flags = dns.RECURSION_DESIRED | dns.RECURSION_AVAILABLE | code;
  return Uint8Array.from(dns.encode({ type: "response", id: id ?? 0, flags, questions: questions ?? [], answers }));
}

/** The parts of a message that tests look at. */
export function read(message: Uint8Array): Packet & { code: number } {
  const packet = dns.decode(Buffer.from(message));
  return { ...packet, code: (packet.flags ?? 0) & 0xf };
}
