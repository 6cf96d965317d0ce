/** Who is meant by a destination that a client of the proxy names: members of the network, and nobody else. */
import type { ProxyMember, ProxyMembers } from "../proxy/socks-proxy.js";
import type { OwnNames } from "../services/own-names.js";
import { type Address, type Endpoint, equalAddress } from "../wire/address.js";
import type { Member } from "./member.js";

/** A proxy of a network, which ends with it. */
export interface OpenProxy {
  /** Where it listens. */
  readonly local: Endpoint;
  /** Listens no more; who has come to its destination stays connected. */
  close(): void;
}

export function proxyMembers(network: { readonly names: OwnNames; members(): readonly Member[] }): ProxyMembers {
  const at = (address: Address): ProxyMember | null => {
    const has = ({ lease: { v4, v6 } }: Member) => [v4, v6].some((own) => own !== null && equalAddress(own, address));
    return network.members().find(has)?.ports ?? null;
  };
  return {
    at,
    named: (name) => {
      for (const address of network.names.addresses(name)) {
        const member = at(address);
        if (member !== null) return member;
      }
      return null;
    },
  };
}
