/** Interfaces that are configured from inside: by the kernel that hears router advertisements, and by a DHCPv6 client. */
import test from "ava";
import { Bed, IPV6 } from "../bed/bed.js";
import { webServer } from "../bed/services.js";

test.serial(
  "a kernel that configures itself: address, router and MTU come from our advertisement (SLAAC)",
  async (t) => {
    const bed = await Bed.create(t);
    await webServer(bed, "internet", IPV6.web);
    const script = `
    ip -6 addr flush dev tap0 scope global; ip -6 route flush default; ip link set tap0 down
    for set in accept_ra=2 autoconf=1 router_solicitation_delay=0; do sysctl -qw net.ipv6.conf.tap0.$set; done
    ip link set tap0 up
    for try in $(seq 50); do ip -6 route show default proto ra | grep -q fe80 && break; sleep 0.1; done
    ip -6 -o addr show dev tap0 scope global; ip -6 route show default; cat /proc/sys/net/ipv6/conf/tap0/mtu
    ping -6 -c 1 -W 2 -q ${IPV6.gateway}
    curl -sS --max-time 5 http://[${IPV6.web}]/`;
    const flags = ["--root", "--mtu", "1400"];
    const output = await bed.run(["sh", "-c", script], flags).succeed();
    t.regex(output, /inet6 fd00::\S+\/64 scope global .*mngtmpaddr/);
    t.regex(output, /^default via fe80::5055:aff:fe00:202 dev tap0 proto ra /m);
    t.regex(output, /^1400$/m);
    t.regex(output, /1 received/);
    t.regex(output, /^hello /m);
  },
);

test.serial("dhclient -6 gets the address, the resolver, the search domain and a lease (DHCPv6)", async (t) => {
  const bed = await Bed.create(t);
  const script = `
    cd $(mktemp -d)
    printf '#!/bin/sh\\nenv | grep ^new_ >>%s/told\\n' "$PWD" >tell; chmod 755 tell; touch leases
    timeout 20 dhclient -6 -1 -d -cf /dev/null -lf leases -pf none -sf "$PWD/tell" tap0 >log 2>&1 &
    for try in $(seq 100); do grep -q ^new_life_starts told 2>/dev/null && break; sleep 0.1; done
    kill $!; cat told || cat log; rm -r "$PWD"`;
  const output = await bed.run(["sh", "-c", script], ["--root", "--dns-search", "bed.test"]).succeed();
  t.regex(output, /^new_ip6_address=fd00::100$/m);
  t.regex(output, /^new_dhcp6_name_servers=fd00::3$/m);
  t.regex(output, /^new_dhcp6_domain_search=bed\.test\.?$/m);
  t.regex(output, /^new_max_life=86400$/m);
});
