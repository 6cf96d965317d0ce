#!/bin/sh -e
# One namespace: look inside, ping the gateway, reach a name outside.
# As root: ip netns add; a veth pair, addresses and routes on both ends; lo up; ip_forward; an iptables MASQUERADE rule; a resolv.conf in /etc/netns.
netns-rootless create ns1
netns-rootless exec ns1 -- ip -brief address
netns-rootless exec ns1 -- ip route
netns-rootless exec ns1 -- ping -c 1 127.0.0.1
netns-rootless exec ns1 -- ping -c 1 10.0.2.2
netns-rootless exec ns1 -- curl -s -o /dev/null -w '%{http_code}\n' http://example.com/
netns-rootless rm ns1
