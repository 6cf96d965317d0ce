/** What slirp4netns's options mean: the settings of the network, and how the namespace is entered. */
import type { AttachOptions } from "../../sandbox/attach.js";
import { type Address, parseAddress } from "../../wire/address.js";
import { type Cidr, DEFAULT_CIDR6, DEFAULT_CONGESTION, type NetworkSettings, parseCidr6 } from "../options.js";
import type { SlirpOptions } from "./options.js";

export interface SlirpSettings {
  readonly network: NetworkSettings & { readonly v4: Cidr };
  readonly netmask: Address;
  readonly disableHostLoopback: boolean;
  /** As it was wished for. */
  readonly mac: string | null;
  readonly attach: AttachOptions;
}

/** RFC 791: what every host can take. */
const MIN_MTU = 68;
/** RFC 8200, 5: below it an interface has no IPv6. */
const MIN_MTU_IPV6 = 1280;

export function slirpSettings(options: SlirpOptions): SlirpSettings {
  const { configure, mtu, cidr, mac, userns } = options;
  return {
    network: {
      publish: [],
      automatic: [],
      v4: placed(cidr),
      v6: options.ipv6 && mtu >= MIN_MTU_IPV6 ? parseCidr6(DEFAULT_CIDR6) : null,
      mtu: Math.max(mtu, MIN_MTU),
      ifname: options.tapName ?? "",
      mac,
      serveDns: !options.disableDns,
      upstreams: null,
      // The namespace's resolv.conf and names are its owner's business.
      search: [],
      hostname: "localhost",
      hostLoopback: options.disableHostLoopback ? "closed" : "open",
      outboundAddress: options.outboundAddress,
      outboundAddress6: options.outboundAddress6,
      congestion: DEFAULT_CONGESTION,
      shards: 1,
      warnings: [],
    },
    netmask: netmask(cidr.prefix),
    disableHostLoopback: options.disableHostLoopback,
    mac,
    attach: { userns: userns ?? undefined, asFound: true, unconfigured: !configure },
  };
}

/** Gateway .2, DNS .3, and .100 for the namespace. */
function placed({ network, prefix }: SlirpOptions["cidr"]): Cidr {
  const at = (host: number): Address => {
    const address = network.slice();
    address[15] += host;
    return address;
  };
  return { network, prefix, gateway: at(2), dns: at(3), sandbox: at(100) };
}

function netmask(prefix: number): Address {
  const mask = parseAddress("0.0.0.0").slice();
  for (let bit = 0; bit < prefix; bit++) mask[12 + (bit >> 3)] |= 0x80 >> (bit & 7);
  return mask;
}
