/**
 * Who has which address of a network: what a member is given before its interface is made.
 *
 * Theory of operation. A lease is an address of each family that the network has. Without a wish the first free one is
 * given: from the first member's on (.100, ::100) to the end of the subnet, and then, for IPv4, those between our own and
 * that. An address that was given back is free at once: the switch tells the others of the new owner (stack/switch.ts).
 *
 * Bounds: as many as the subnet has; a search looks at no more than one address beyond those that are leased.
 */
import { NetnsError } from "../errors.js";
import { type Address, formatAddress, isIPv4 } from "../wire/address.js";
import { sharesPrefix } from "../wire/prefix.js";

/** The addresses of one member. */
export interface Lease {
  /** null: the network does not have this family. */
  readonly v4: Address | null;
  readonly v6: Address | null;
  /** Gives them back; those of a member are given back when it leaves. May be called again. */
  release(): void;
}

/** Addresses that a member wants; what is left out is chosen. */
export interface LeaseWish {
  readonly v4?: Address | undefined;
  readonly v6?: Address | undefined;
}

/** One family's subnet, and who is where in it. */
export interface LeasedSubnet {
  readonly network: Address;
  readonly prefix: number;
  readonly gateway: Address;
  readonly dns: Address;
  /** The first that is given. */
  readonly sandbox: Address;
}

export class Leases {
  readonly #v4: Pool | null;
  readonly #v6: Pool | null;

  constructor(v4: LeasedSubnet | null, v6: LeasedSubnet | null) {
    this.#v4 = v4 && new Pool(v4);
    this.#v6 = v6 && new Pool(v6);
  }

  /**
   * Gives the addresses that are wished for, or free ones.
   * Throws a NetnsError: USAGE for an address that no member can have, ADDRESS_BUSY for one that another has, NETWORK_FULL.
   */
  lease({ v4: wish4, v6: wish6 }: LeaseWish = {}): Lease {
    const pools = [
      { pool: this.#v4, wish: wish4 },
      { pool: this.#v6, wish: wish6 },
    ];
    const [v4, v6] = pools.map(({ pool, wish }) => {
      if (pool !== null) return pool.choose(wish ?? null);
      if (wish !== undefined)
        throw new NetnsError("USAGE", `--ip ${formatAddress(wish)}: the network has no such family`);
      return null;
    });
    const taken = pools.flatMap(({ pool }, i) => {
      const address = i === 0 ? v4 : v6;
      return pool === null || address === null ? [] : [{ pool, address }];
    });
    for (const { pool, address } of taken) pool.take(address);
    return {
      v4,
      v6,
      release: () => {
        for (const { pool, address } of taken.splice(0)) pool.giveBack(address);
      },
    };
  }
}

/** The first that is given when those behind the first member's are: .1 to .3 are where people expect routers and servers. */
const FIRST_LOW = 4;

class Pool {
  readonly #subnet: LeasedSubnet;
  readonly #taken = new Set<string>();

  constructor(subnet: LeasedSubnet) {
    this.#subnet = subnet;
    this.#taken.add(key(subnet.gateway)).add(key(subnet.dns));
  }

  take(address: Address): void {
    this.#taken.add(key(address));
  }

  giveBack(address: Address): void {
    this.#taken.delete(key(address));
  }

  choose(wish: Address | null): Address {
    if (wish === null) return this.#free();
    const { network, prefix, gateway, dns } = this.#subnet;
    const text = `${formatAddress(network)}/${prefix}`;
    const name = formatAddress(wish);
    if (key(wish) === key(gateway) || key(wish) === key(dns)) {
      throw new NetnsError("USAGE", `--ip ${name}: this is the network's own; choose another address of ${text}`);
    }
    if (!this.#isUsable(wish)) {
      throw new NetnsError("USAGE", `--ip ${name}: not an address for a member; expected one of ${text}`);
    }
    if (this.#taken.has(key(wish))) {
      throw new NetnsError("ADDRESS_BUSY", `--ip ${name}: another member has this address; choose one that is free`);
    }
    return wish.slice();
  }

  #free(): Address {
    const { network, prefix, sandbox } = this.#subnet;
    for (let address: Address = sandbox; this.#isUsable(address); address = next(address)) {
      if (!this.#taken.has(key(address))) return address.slice();
    }
    let low: Address = network;
    for (let i = 0; i < FIRST_LOW; i++) low = next(low);
    for (; this.#isUsable(low) && key(low) !== key(sandbox); low = next(low)) {
      if (!this.#taken.has(key(low))) return low;
    }
    throw new NetnsError(
      "NETWORK_FULL",
      `no address of ${formatAddress(network)}/${prefix} is free: end a member of the network, or make one with a larger subnet`,
    );
  }

  /** True for an address of the subnet that a host can have: not its first, and not IPv4's last (RFC 1122, 3.2.1.3; RFC 4291, 2.6.1). */
  #isUsable(address: Address): boolean {
    const { network, prefix } = this.#subnet;
    const four = isIPv4(network);
    const bits = four ? 96 + prefix : prefix;
    if (four !== isIPv4(address) || !sharesPrefix(address, network, bits) || key(address) === key(network))
      return false;
    return !four || sharesPrefix(next(address), network, bits);
  }
}

function key(address: Address): string {
  return Buffer.from(address).toString("latin1");
}

function next(address: Address): Address {
  const following = address.slice();
  for (let i = following.length - 1; i >= 0; i--) {
    following[i] = (following[i] + 1) & 0xff;
    if (following[i] !== 0) break;
  }
  return following;
}
