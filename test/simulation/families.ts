/** What tests that hold for both families need to know of each. */
import { echo, echo6, frame, ipv4, ipv6, OUR_MAC, SANDBOX_MAC, SANDBOX_V6, type Vnet } from "./frames.js";

export interface Inet {
  readonly name: string;
  readonly family: 4 | 6;
  readonly inside: string;
  readonly gateway: string;
  readonly dns: string;
  /** An address of the sandbox's network that nobody has. */
  readonly nobody: string;
  readonly outside: string;
  readonly other: string;
  /** A router on the way, and the host's own loopback. */
  readonly router: string;
  readonly loopback: string;
  /** Bytes of the IP header, and of those of Ethernet and IP together. */
  readonly header: number;
  readonly start: number;
  /** Protocol of ICMP; the virtio header's name for TCP super-frames. */
  readonly icmp: number;
  readonly tcpGso: number;
  /** ICMP types and codes. */
  readonly echo: number;
  readonly echoReply: number;
  readonly closed: readonly [number, number];
  readonly noRoute: readonly [number, number];
  readonly noHost: readonly [number, number];
  readonly prohibited: readonly [number, number];
  readonly tooBig: readonly [number, number];
  readonly timeExceeded: readonly [number, number];
  /** A frame of the sandbox. */
  packet(protocol: number, payload: ArrayLike<number>, destination: string, vnet?: Vnet): Uint8Array;
  /** An echo message; `type` is `echo` or `echoReply`. */
  ping(type: number, id: number, sequence: number, payload: ArrayLike<number>, from: string, to: string): Uint8Array;
}

export const V4: Inet = {
  name: "IPv4",
  family: 4,
  inside: "10.0.2.100",
  gateway: "10.0.2.2",
  dns: "10.0.2.3",
  nobody: "10.0.2.77",
  outside: "198.51.100.7",
  other: "203.0.113.5",
  router: "203.0.113.1",
  loopback: "127.0.0.1",
  header: 20,
  start: 34,
  icmp: 1,
  tcpGso: 1,
  echo: 8,
  echoReply: 0,
  closed: [3, 3],
  noRoute: [3, 0],
  noHost: [3, 1],
  prohibited: [3, 13],
  tooBig: [3, 4],
  timeExceeded: [11, 0],
  packet: (protocol, payload, destination, vnet) =>
    frame(0x0800, ipv4({ destination, protocol, payload }), OUR_MAC, SANDBOX_MAC, vnet),
  ping: (type, id, sequence, payload) => echo(type, id, sequence, payload),
};

export const V6: Inet = {
  name: "IPv6",
  family: 6,
  inside: SANDBOX_V6,
  gateway: "fd00::2",
  dns: "fd00::3",
  nobody: "fd00::77",
  outside: "2001:db8::7",
  other: "2001:db8:5::5",
  router: "2001:db8:1::1",
  loopback: "::1",
  header: 40,
  start: 54,
  icmp: 58,
  tcpGso: 4,
  echo: 128,
  echoReply: 129,
  closed: [1, 4],
  noRoute: [1, 0],
  noHost: [1, 3],
  prohibited: [1, 1],
  tooBig: [2, 0],
  timeExceeded: [3, 0],
  packet: (protocol, payload, destination, vnet) =>
    frame(0x86dd, ipv6({ destination, next: protocol, payload }), OUR_MAC, SANDBOX_MAC, vnet),
  ping: echo6,
};

export const BOTH: readonly Inet[] = [V4, V6];
