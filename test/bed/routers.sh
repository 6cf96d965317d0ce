# Three routers between the bed's host and its internet: to be run by the bed's owner, after holder.sh has built the bed.
# Arguments: the MTU of the last link.
#
#   host 198.51.100.2 ─ 198.51.100.1 r1 198.18.1.1 ─ 198.18.1.2 r2 198.18.2.1 ─ 198.18.2.2 r3 198.18.3.1 ─ 198.18.3.2 internet
#
# IPv6 likewise: 2001:db8:51::N, 2001:db8:1801::N, 2001:db8:1802::N, 2001:db8:1803::N. All of them answer every packet that
# they give up, without the usual limit of one per second.
mtu=$1
router() {
  local said
  exec {said}< <(exec unshare --net -- bash -c 'read -r pid _ </proc/self/stat; echo "$pid"; exec sleep infinity')
  read -r "$1" <&"$said"
}
in_net() { nsenter --target "$1" --net -- "${@:2}"; }
# between PID PID SUBNET MTU: the first gets .1, the second .2, on interfaces `east` and `west`.
between() {
  ip link add temporary1 mtu "$4" type veth peer name temporary2 mtu "$4"
  ip link set temporary1 name east netns "$1"
  ip link set temporary2 name west netns "$2"
  in_net "$1" ip address add "198.18.$3.1/24" dev east
  in_net "$1" ip address add "2001:db8:180$3::1/64" dev east nodad
  in_net "$2" ip address add "198.18.$3.2/24" dev west
  in_net "$2" ip address add "2001:db8:180$3::2/64" dev west nodad
  in_net "$1" ip link set east up
  in_net "$2" ip link set west up
}
router r1
router r2
router r3
for each in "$r1" "$r2" "$r3" "$internet"; do
  in_net "$each" bash -c 'ip link set lo up
    echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad # no link-local address has to wait
    echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    echo 0 >/proc/sys/net/ipv4/icmp_ratelimit
    echo 0 >/proc/sys/net/ipv6/icmp/ratelimit'
done

ip link delete eth0
ip link add eth0 type veth peer name west netns "$r1"
ip address add 198.51.100.2/24 dev eth0
ip address add 2001:db8:51::2/64 dev eth0 nodad
in_net "$r1" ip address add 198.51.100.1/24 dev west
in_net "$r1" ip address add 2001:db8:51::1/64 dev west nodad
in_net "$r1" ip link set west up
ip link set eth0 up
ip route add default via 198.51.100.1
ip route add default via 2001:db8:51::1

between "$r1" "$r2" 1 1500
between "$r2" "$r3" 2 1500
between "$r3" "$internet" 3 "$mtu"
n=1
for each in "$r1" "$r2" "$r3"; do
  in_net "$each" ip route add default via "198.18.$n.2"
  in_net "$each" ip route add default via "2001:db8:180$n::2"
  n=$((n + 1))
done
n=1
for each in "$r2" "$r3" "$internet"; do
  in_net "$each" ip route add 198.51.100.0/24 via "198.18.$n.1"
  in_net "$each" ip route add 2001:db8:51::/64 via "2001:db8:180$n::1"
  n=$((n + 1))
done
