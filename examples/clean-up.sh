#!/bin/sh -e
# Clean up: one by its name, one by Ctrl-C, all the others at once; and what a crash left behind.
# As root: ip netns del of each, ip link del br0, iptables -D of each rule; and whatever was forgotten stays until the next boot.
netns-rootless create red --network colours
netns-rootless create blue --network colours
netns-rootless create green
netns-rootless run --name yellow -- sleep 1000 &
until netns-rootless ls | grep -q yellow; do sleep 0.1; done
kill -INT $! && wait $! || echo "Ctrl-C: exit code $?"
netns-rootless rm red
netns-rootless rm --all
netns-rootless prune
netns-rootless ls
netns-rootless network ls
