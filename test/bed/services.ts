/** What the machines of the bed offer. All real programs where one exists. */
import { type Bed, DNS, IPV4, IPV6, PROGRAMS, type Side, WEB } from "./bed.js";
import type { Program } from "./program.js";

/** The long answer that `big.bed.test` has: 16 strings of 250 bytes. */
export const BIG_TEXT = Array.from({ length: 16 }, (_, index) => String.fromCharCode(97 + index).repeat(250));

/**
 * dnsmasq at 203.0.113.53 and 2001:db8:113::53: www.bed.test and four.bed.test (A), six.bed.test (AAAA), dual.bed.test (both),
 * big.bed.test (TXT, 4 KB), and what `more` adds.
 */
export async function nameServer(bed: Bed, more: readonly string[] = []): Promise<Program> {
  const names = [
    `--host-record=four.bed.test,${IPV4.web}`,
    `--host-record=six.bed.test,${IPV6.web}`,
    `--host-record=dual.bed.test,${IPV4.web},${IPV6.web}`,
  ];
  const listen = `--listen-address=${IPV6.dns}`;
  const program = bed.internet(dnsmasq(DNS, [`--address=/www.bed.test/${WEB}`, listen, ...names, ...more]));
  await bed.listening("internet", "udp", 53);
  return program;
}

/** The command line of a dnsmasq that answers for bed.test at one address. */
export function dnsmasq(address: string, records: readonly string[]): string[] {
  return [
    "dnsmasq",
    "--conf-file=/dev/null",
    "--keep-in-foreground",
    "--no-resolv",
    "--no-hosts",
    "--pid-file=",
    "--log-facility=-",
    "--log-queries",
    "--edns-packet-max=8192",
    "--bind-interfaces",
    `--listen-address=${address}`,
    "--local=/bed.test/",
    `--txt-record=big.bed.test,${BIG_TEXT.join(",")}`,
    "--txt-record=small.bed.test,hello",
    ...records,
  ];
}

/**
 * The bed's web server (programs/web.py): GET / answers `hello ADDRESS` with the client's address, GET /bytes/N answers N bytes, PUT
 * answers the SHA-256 of what came.
 */
export async function webServer(bed: Bed, side: Side = "internet", address = WEB, port = 80): Promise<Program> {
  const program = bed.on(side, ["python3", "-u", `${PROGRAMS}/web.py`, address, String(port)]);
  await program.until(/ready\n/);
  return program;
}

/** Echoes TCP (half-close included) and UDP on one port, and prints who came (programs/echo.py). */
export async function echoServer(bed: Bed, side: Side, port: number, ...addresses: string[]): Promise<Program> {
  const program = bed.on(side, ["python3", "-u", `${PROGRAMS}/echo.py`, String(port), ...addresses]);
  await program.until(/ready\n/);
  return program;
}
