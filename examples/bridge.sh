#!/bin/sh -e
# A bridge: two namespaces reach each other, the gateway, this host and the internet; ns1's port 3000 is this host's port 5000, for other machines too.
# As root: ip link add br0 type bridge; two veth pairs with br0 as their master; addresses, routes, ip_forward; iptables MASQUERADE and DNAT; and all of it in reverse to remove it.
host=$(hostname -I | cut -d ' ' -f 1)
netns-rootless create ns1 --network br0
netns-rootless create ns2 --network br0
netns-rootless exec ns1 -- ping -c 1 ns2
for each in ns1 10.0.2.2 "$host"; do netns-rootless exec ns2 -- ping -c 1 "$each"; done
netns-rootless exec ns2 -- curl -s -o /dev/null -w '%{http_code}\n' http://example.com/
netns-rootless exec ns1 -- python3 -m http.server 3000 >/dev/null 2>&1 &
netns-rootless port add ns1 5000:3000
curl -s -o /dev/null -w '%{http_code}\n' --retry 9 --retry-all-errors "http://$host:5000/"
read -r _ || : # until a line comes, or none any more: look from another machine now
netns-rootless rm ns1 ns2
