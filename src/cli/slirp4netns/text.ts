/** What slirp4netns prints for the programs and people that start it. Names, values and first words are what programs look for. */
import { formatAddress } from "../../wire/address.js";
import type { SlirpSettings } from "./settings.js";

/** The slirp4netns whose command line and API this is. */
const COMPATIBLE = "1.3.3";
/** What callers ask these two for: 3 and more has --disable-dns, and with a libseccomp there is --enable-seccomp. */
const CONFIG_VERSION = 4;
const LIBSLIRP = "4.7.0";
const LIBSECCOMP = "2.5.4";

export const USAGE = `Usage: slirp4netns [OPTION]... PID|PATH|FD [TAPNAME]
Network for a network namespace, without root: netns-rootless under the command line of slirp4netns.

-c, --configure          set the interface up, with addresses and routes
-e, --exit-fd=FD         end when this descriptor hangs up
-r, --ready-fd=FD        write "1" to this descriptor when everything is set up
-m, --mtu=MTU            largest packet (default=1500, max=65521)
-6, --enable-ipv6        IPv6 too: fd00::/64
-a, --api-socket=PATH    listen here for requests to forward ports
--cidr=CIDR              IPv4 subnet (default=10.0.2.0/24)
--disable-host-loopback  do not let the namespace reach 127.0.0.1 of the host
--netns-type=TYPE        what the first argument is ([path|pid|tapfd], default=pid)
--userns-path=PATH       user namespace to enter before (default: the one that owns the network namespace)
--enable-sandbox         no file system and no capabilities for the process that carries the network
--enable-seccomp         a filter for its system calls
--outbound-addr=IPv4     address of the host, or interface, to send from
--outbound-addr6=IPv6    the same for IPv6
--disable-dns            no name server at 10.0.2.3
--macaddress=MAC         MAC address of the interface (only with -c)
--target-type=TYPE       what to serve ([netns|bess], default=netns; bess is refused)
-h, --help               print this and end
-v, --version            print the version and end
`;

/** @param own our own version */
export function versionText(own: string): string {
  return [
    `slirp4netns version ${COMPATIBLE}`,
    `commit: netns-rootless-${own}`,
    `libslirp: ${LIBSLIRP} (in its place: netns-rootless ${own})`,
    `SLIRP_CONFIG_VERSION_MAX: ${CONFIG_VERSION}`,
    `libseccomp: ${LIBSECCOMP} (in its place: netns-rootless ${own})`,
    "",
  ].join("\n");
}

/** What is told on stdout once the interface is there. */
export function startText({ network: { mtu, v4, v6 }, netmask, disableHostLoopback, mac }: SlirpSettings): string {
  const lines = [
    "Starting slirp",
    `* MTU:             ${mtu}`,
    `* Network:         ${formatAddress(v4.network)}`,
    `* Netmask:         ${formatAddress(netmask)}`,
    `* Gateway:         ${formatAddress(v4.gateway)}`,
    `* DNS:             ${formatAddress(v4.dns)}`,
    `* DHCP begin:      ${formatAddress(v4.sandbox)}`,
    `* DHCP end:        ${formatAddress(v4.sandbox)}`,
    `* Recommended IP:  ${formatAddress(v4.sandbox)}`,
  ];
  if (mac !== null) lines.push(`* MAC address:     ${mac}`);
  if (v6 !== null) lines.push(`* IPv6:            ${formatAddress(v6.sandbox)}/${v6.prefix}`);
  if (!disableHostLoopback) {
    lines.push(
      `WARNING: 127.0.0.1:* on the host is accessible as ${formatAddress(v4.gateway)} (--disable-host-loopback closes it)`,
    );
  }
  return `${lines.join("\n")}\n`;
}
