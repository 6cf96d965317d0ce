/** Opens the host's side of published ports: all of them, or none and one line that says which and why. */
import { NetnsError } from "../errors.js";
import type { PublishSpec } from "../policy/config.js";
import { type Address, type Endpoint, endpoint, endpointAddress, endpointPort } from "../wire/address.js";
import { ANY_IPV4, formatHostPort } from "./names.js";

/** errno(3) numbers that a bind can give, with what a person can do about each. */
const EACCES = 13;
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;
const EAFNOSUPPORT = 97;
const EMFILE = 24;

export interface OpenPort {
  readonly spec: PublishSpec;
  readonly socket: number;
  readonly address: Address;
  /** The host port, chosen by the kernel where the spec said 0. */
  readonly port: number;
}

/**
 * @param open binds one spec and returns a socket number or -errno
 * @param close takes one back
 * @param local tells where a socket is bound
 * @throws NetnsError PORT_BUSY; then everything opened before is closed again
 */
export function openAll(
  specs: readonly PublishSpec[],
  open: (spec: PublishSpec, local: Endpoint) => number,
  close: (socket: number) => void,
  local: (socket: number) => Endpoint,
): OpenPort[] {
  const opened: OpenPort[] = [];
  for (const spec of specs) {
    const socket = open(spec, endpoint(spec.host ?? ANY_IPV4, spec.hostPort));
    if (socket < 0) {
      for (const port of opened) close(port.socket);
      throw new NetnsError("PORT_BUSY", bindError(spec, -socket));
    }
    const bound = local(socket);
    opened.push({ spec, socket, address: endpointAddress(bound), port: endpointPort(bound) });
  }
  return opened;
}

function bindError(spec: PublishSpec, errno: number): string {
  const name = formatHostPort(spec);
  switch (errno) {
    case EADDRINUSE:
      return `cannot publish ${name}: the port is in use on this host; choose another host port, or 0 for any free one`;
    case EACCES:
      return `cannot publish ${name}: ports below net.ipv4.ip_unprivileged_port_start (usually 1024) are closed to ordinary users; choose a higher host port`;
    case EADDRNOTAVAIL:
      return `cannot publish ${name}: this host has no such address; \`ip address\` lists those that it has`;
    case EAFNOSUPPORT:
      return `cannot publish ${name}: this host has no IPv6; publish on an IPv4 address`;
    case EMFILE:
      return `cannot publish ${name}: too many open files; raise the limit with \`ulimit -n\``;
    default:
      return `cannot publish ${name}: bind failed with errno ${errno}`;
  }
}
