/** IP addresses as few write them: with an IPv4 tail, a zone, octal or hexadecimal parts. Apart, since what reads them takes a while to load. */
import ipaddr from "ipaddr.js";

/** 16 bytes as in address.ts; of a zone nothing is kept. Null where the text is no address. */
export function parseUnusualAddress(text: string): Uint8Array | null {
  if (!(text.includes(":") ? ipaddr.IPv6.isValid(text) : ipaddr.IPv4.isValidFourPartDecimal(text))) return null;
  const parsed = ipaddr.parse(text);
  return Uint8Array.from(
    parsed.kind() === "ipv4" ? (parsed as ipaddr.IPv4).toIPv4MappedAddress().toByteArray() : parsed.toByteArray(),
  );
}
