# The bed's owner: process 1 of its process namespace, with every capability over the bed's own namespaces and none
# outside. It builds the bed, says `ready`, and then carries out the scripts that the test sends. When its standard input
# ends (the test has closed the bed, or was killed), it ends, and the kernel takes all of the bed down with it.
# Arguments: the checkout, which stays visible even when it lies below /tmp; `ping` if the host allows ping sockets; the
# families that the host has towards the internet: 4, 6 or 46.
set -eu
checkout=$1
ping=${2-}
families=${3-46}

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
nameserver=203.0.113.53
[[ $families == 6 ]] && nameserver=2001:db8:113::53
echo "nameserver $nameserver" >/etc/resolv.conf
printf '127.0.0.1 localhost\n::1 localhost\n198.51.100.2 bed-host\n' >/etc/hosts

# A /tmp of our own, so that a file that is left behind is seen.
exec 9<"$checkout"
mount -t tmpfs -o mode=1777 bed-tmp /tmp
if [[ $checkout == /tmp/* ]]; then
  mkdir -p "$checkout"
  mount --no-canonicalize --rbind /proc/self/fd/9 "$checkout"
fi
exec 9<&-
cd /

# Both sides by two batches: a process for each line would take longer than all the rest.
internet() { nsenter --target "$internet" --net -- "$@"; }

# The host's side.
{
  echo "link set lo up"
  echo "link add eth0 type veth peer name eth0 netns $internet"
} | ip -batch -
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_ra
{
  echo "link set eth0 up"
  if [[ $families == *4* ]]; then
    echo "address add 198.51.100.2/24 dev eth0"
    echo "route add default via 198.51.100.1"
  fi
  if [[ $families == *6* ]]; then
    echo "address add 2001:db8:51::2/64 dev eth0 nodad"
    echo "route add default via 2001:db8:51::1"
  fi
} | ip -batch -
if [[ $ping == ping ]]; then
  gid=$(id -g)
  echo "$gid $gid" >/proc/sys/net/ipv4/ping_group_range
fi

# The internet's side.
internet bash -eu <<'INTERNET'
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
{
  echo "link set lo up"
  echo "address add 198.51.100.1/24 dev eth0"
  for last in 7 10 11 12 13 14 15 16 53; do
    echo "address add 203.0.113.$last/32 dev lo"
    echo "address add 2001:db8:113::$last/128 dev lo nodad"
  done
  echo "link set eth0 up"
  echo "address add 2001:db8:51::1/64 dev eth0 nodad"
  echo "route add unreachable 192.0.2.0/25"
  echo "route add prohibit 192.0.2.128/25"
  echo "route add unreachable 2001:db8:2::/65"
  echo "route add prohibit 2001:db8:2:0:8000::/65"
} | ip -batch -
INTERNET

set +eu
echo ready
while IFS= read -r -d '' script; do
  eval "$script" </dev/null 2>&1
  printf '\n%d\0' $?
done
