/** Opens the host's side of published ports: all of them, or none and one line that says which and why. */
import { NetnsError } from "../errors.js";
import type { PublishSpec } from "../policy/config.js";
import { type Address, type Endpoint, endpoint, endpointAddress, endpointPort } from "../wire/address.js";
import { ANY_IPV4, ANY_IPV6, formatHostPort } from "./names.js";

/** errno(3) numbers that a bind can give, with what a person can do about each. */
const EACCES = 13;
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;
const EAFNOSUPPORT = 97;
const EMFILE = 24;

export interface OpenPort {
  readonly spec: PublishSpec;
  /** One, or one for each family. */
  readonly sockets: readonly number[];
  /** Where it listens; 0.0.0.0 stands for all of the host's addresses, of both families, where the spec named none. */
  readonly address: Address;
  /** The host port, chosen by the kernel where the spec said 0. */
  readonly port: number;
}

/** What binding is done with. */
export interface Binding {
  /** Binds one spec; returns a socket number or -errno. IPv6 sockets take IPv6 only. */
  open(spec: PublishSpec, local: Endpoint): number;
  close(socket: number): void;
  /** Where a socket is bound. */
  local(socket: number): Endpoint;
}

/** How often a port that the kernel chose for one family may turn out to be taken in the other. */
const CHOICES = 16;

/** @throws NetnsError PORT_BUSY; then everything opened before is closed again */
export function openAll(specs: readonly PublishSpec[], binding: Binding): OpenPort[] {
  const opened: OpenPort[] = [];
  try {
    for (const spec of specs)
      opened.push(spec.host === null ? openBoth(spec, binding) : openOne(spec, spec.host, binding));
    return opened;
  } catch (error) {
    for (const { sockets } of opened) for (const socket of sockets) binding.close(socket);
    throw error;
  }
}

function openOne(spec: PublishSpec, host: Address, binding: Binding): OpenPort {
  const local = endpoint(host, spec.hostPort);
  const socket = binding.open(spec, local);
  if (socket < 0) throw busy(spec, local, -socket);
  const bound = binding.local(socket);
  return { spec, sockets: [socket], address: endpointAddress(bound), port: endpointPort(bound) };
}

/** The same port of both families: a socket for each, since the addresses of clients differ. A host without IPv6 has one. */
function openBoth(spec: PublishSpec, binding: Binding): OpenPort {
  for (let choice = 1; ; choice++) {
    const open = openOne(spec, ANY_IPV4, binding);
    const local = endpoint(ANY_IPV6, open.port);
    const socket = binding.open(spec, local);
    if (socket >= 0) return { ...open, sockets: [...open.sockets, socket] };
    if (socket === -EAFNOSUPPORT || socket === -EADDRNOTAVAIL) return open;
    for (const each of open.sockets) binding.close(each);
    if (spec.hostPort !== 0 || socket !== -EADDRINUSE || choice === CHOICES) throw busy(spec, local, -socket);
  }
}

function busy(spec: PublishSpec, local: Endpoint, errno: number): NetnsError {
  return bindError(`publish ${formatHostPort(local, spec.protocol)}`, errno);
}

/** `what` cannot be done, since bind() or listen() said `errno`. */
export function bindError(what: string, errno: number): NetnsError {
  return new NetnsError("PORT_BUSY", `cannot ${what}: ${bindReason(errno)}`);
}

function bindReason(errno: number): string {
  switch (errno) {
    case EADDRINUSE:
      return `the port is in use on this host; choose another host port, or 0 for any free one`;
    case EACCES:
      return `ports below net.ipv4.ip_unprivileged_port_start (usually 1024) are closed to ordinary users; choose a higher host port`;
    case EADDRNOTAVAIL:
      return `this host has no such address; \`ip address\` lists those that it has`;
    case EAFNOSUPPORT:
      return `this host has no IPv6; choose an IPv4 address`;
    case EMFILE:
      return `too many open files; raise the limit with \`ulimit -n\``;
    default:
      return `bind failed with errno ${errno}`;
  }
}
