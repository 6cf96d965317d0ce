#!/bin/sh -e
# Two servers that both want port 8080 are at 6000 and 6001 of this host.
# As root: two namespaces, each with a veth pair and addresses; and for each port an iptables DNAT rule, and one more for this host itself.
cd "$(mktemp -d)"
for each in one two; do mkdir $each && echo "this is $each" >$each/index.html; done
netns-rootless run --detach --name one --publish 6000:8080 -- python3 -m http.server 8080 --directory one
netns-rootless run --detach --name two --publish 6001:8080 -- python3 -m http.server 8080 --directory two
curl -s --retry 9 --retry-all-errors http://127.0.0.1:6000/
curl -s --retry 9 --retry-all-errors http://127.0.0.1:6001/
netns-rootless ls
netns-rootless rm one two
rm -r "$PWD"
