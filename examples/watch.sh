#!/bin/sh -e
# Watch a ping: capture its packets from outside the namespace, and show them with tcpdump.
# As root: ip netns exec red tcpdump -i veth-red, or tcpdump -i br0.
netns-rootless create red
netns-rootless exec red -- ping -i 0.2 10.0.2.2 >/dev/null &
netns-rootless capture red --filter icmp -c 4 -w - | tcpdump -n -t -r -
netns-rootless rm red
