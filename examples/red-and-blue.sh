#!/bin/sh -e
# Red and blue: who knows whom (arp), by which way (route), who is there, and the end of both.
# As root: ip netns add red, blue; ip link add veth-red type veth peer name veth-blue; ip link set ... netns; addresses; up; ip netns exec; ip netns del.
netns-rootless network create colours
netns-rootless create red --network colours
netns-rootless create blue --network colours
netns-rootless ls
netns-rootless exec red -- ping -c 1 blue
netns-rootless exec red -- ip -4 neighbour
netns-rootless exec red -- ip -4 route
netns-rootless rm red blue
netns-rootless network rm colours
netns-rootless ls
