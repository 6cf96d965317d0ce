/** Which names a network knows: its own, and those that come and go with its members. */
import type { OwnName } from "../services/own-names.js";
import { parseAddress } from "../wire/address.js";
import type { NetworkConfig } from "./config.js";
import type { Lease } from "./leases.js";

/** Seconds for which a member's name may be remembered: it may be gone, and its address another's. */
const MEMBER_TTL = 5;

/** The names that are known inside as long as there is a network. RFC 6761, 6.3 wants `localhost` among them. */
export function networkNames({ ipv4, gateway, v6 }: NetworkConfig): OwnName[] {
  const families = [
    ...(ipv4 ? [{ gateway, loopback: parseAddress("127.0.0.1") }] : []),
    ...(v6 === null ? [] : [{ gateway: v6.gateway, loopback: parseAddress("::1") }]),
  ];
  return families.flatMap((family) => [
    { name: "host.internal", address: family.gateway },
    { name: "localhost", address: family.loopback },
  ]);
}

/** The zone of a network's members; null: it has no name. */
export function networkZone(network: string | null): string | null {
  return network === null ? null : `${network}.internal`;
}

/** `red.NETWORK.internal` and `red`; the first is the one that reverse lookups give. */
export function memberNames(name: string | null, network: string | null, lease: Lease): OwnName[] {
  if (name === null) return [];
  const zone = networkZone(network);
  const names = zone === null ? [name] : [`${name}.${zone}`, name];
  return names.flatMap((each) => addressed(each, lease, MEMBER_TTL));
}

/** The name that a sandbox alone in its network has there. */
export function soloNames(hostname: string, lease: Lease): OwnName[] {
  return hostname === "localhost" ? [] : addressed(hostname, lease);
}

function addressed(name: string, { v4, v6 }: Lease, ttl?: number): OwnName[] {
  const addresses = [v4, v6].filter((address) => address !== null);
  return addresses.map((address) => ({ name, address, ...(ttl !== undefined && { ttl }) }));
}
