# As root of a sandbox: runs a scenario behind a bridge, where every frame has the form it would have on a cable, and captures it there.
# What enters the sandbox on its TAP has open checksums and many segments in one frame, which a capture on it would call wrong. The
# kernel completes them when the frame leaves by a device without offloads:
#
#     tap0 ── bridge ── cable, without offloads ── wire, without offloads, with tap0's addresses, in a network namespace of its own
#
# Usage: captured.sh FILE SCRIPT
set -eu
capture=$1
scenario=$2

unshare -n sleep 60 &
behind=$!
until [[ $(readlink /proc/$behind/ns/net) != $(readlink /proc/self/ns/net) ]]; do sleep 0.01; done
inside() { nsenter -n -t $behind "$@"; }

mac=$(ip -o link show tap0 | sed "s/.*ether \([^ ]*\).*/\1/")
ip link add cable type veth peer name wire netns $behind
ip link add bridge type bridge
ip address flush dev tap0
ip link set tap0 down
ip link set tap0 address 02:00:00:00:00:01
for each in tap0 cable; do
  echo 1 >/proc/sys/net/ipv6/conf/$each/disable_ipv6
  ip link set $each master bridge
  ip link set $each up
done
echo 1 >/proc/sys/net/ipv6/conf/bridge/disable_ipv6
ip link set bridge up

inside ip link set wire address $mac
inside ip link set lo up
inside sh -c "echo 0 >/proc/sys/net/ipv6/conf/wire/accept_ra" # as on tap0: no second address
inside ip link set wire up
inside ip address add 10.0.2.100/24 dev wire
inside ip address add fd00::100/64 dev wire nodad
inside ip route add default via 10.0.2.2
inside ip route add default via fd00::2
for offload in tx tso gso gro; do
  ethtool -K cable $offload off
  inside ethtool -K wire $offload off
done >/dev/null

# Not tcpdump: it insists on becoming another user, and there is none here.
nsenter -n -t $behind dumpcap -q -P -B 16 -i wire -w "$capture" 2>"$capture.log" &
dump=$!
until grep -q File: "$capture.log"; do
  kill -0 $dump
  sleep 0.01
done
inside bash -c "$scenario"
sleep 0.3
kill -TERM $dump
wait $dump
kill $behind
