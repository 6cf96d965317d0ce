# The bed's owner: process 1 of its process namespace, with every capability over the bed's own namespaces and none
# outside. It builds the bed, says `ready`, and then carries out the scripts that the test sends. When its standard input
# ends (the test has closed the bed, or was killed), it ends, and the kernel takes all of the bed down with it.
# Arguments: the checkout, which stays visible even when it lies below /tmp; `ping` if the host allows ping sockets.
set -eu
checkout=$1
ping=${2-}

# Process ids as the test sees them: until the next mount, /proc is the one of the outer process namespace.
read -r owner _ </proc/self/stat
echo "owner $owner"
exec 8< <(exec unshare --net -- bash -c 'read -r pid _ </proc/self/stat; echo "$pid"; exec sleep infinity')
internet=$!
read -r pid <&8
exec 8<&-
echo "internet $pid"
mount -t proc proc /proc

# An /etc that the test may write to: links to the real one, and files of our own where a test wants to change something.
mount -t tmpfs -o mode=755 bed-mnt /mnt
mkdir /mnt/etc
mount --rbind /etc /mnt/etc
mount -t tmpfs -o mode=755 bed-etc /etc
ln -s /mnt/etc/* /etc/
rm -f /etc/resolv.conf /etc/hosts /etc/hostname
echo "nameserver 203.0.113.53" >/etc/resolv.conf
printf '127.0.0.1 localhost\n198.51.100.2 bed-host\n' >/etc/hosts

# A /tmp of our own, so that a file that is left behind is seen.
exec 9<"$checkout"
mount -t tmpfs -o mode=1777 bed-tmp /tmp
if [[ $checkout == /tmp/* ]]; then
  mkdir -p "$checkout"
  mount --no-canonicalize --rbind /proc/self/fd/9 "$checkout"
fi
exec 9<&-
cd /

# The host's side.
ip link set lo up
ip link add eth0 type veth peer name eth0 netns "$internet"
ip address add 198.51.100.2/24 dev eth0
ip link set eth0 up
ip route add default via 198.51.100.1
if [[ $ping == ping ]]; then
  gid=$(id -g)
  echo "$gid $gid" >/proc/sys/net/ipv4/ping_group_range
fi
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6

# The internet's side.
nsenter --target "$internet" --net -- bash -eu <<'INTERNET'
ip link set lo up
ip address add 198.51.100.1/24 dev eth0
for last in 7 10 11 12 13 14 15 16 53; do ip address add "203.0.113.$last/32" dev lo; done
ip link set eth0 up
ip route add unreachable 192.0.2.0/25
ip route add prohibit 192.0.2.128/25
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
INTERNET

set +eu
echo ready
while IFS= read -r -d '' script; do
  eval "$script" </dev/null 2>&1
  printf '\n%d\0' $?
done
