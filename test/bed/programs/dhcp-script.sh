#!/bin/sh
# What a DHCP client calls for each event, udhcpc (event as the first argument) and dhclient (in `reason`): sets the interface up as it
# was told, and prints the event and what came with it, as `EVENT address/mask router dns mtu domain search lease`.
event=${1:-$reason}
case $event in
  bound | renew) set -- "$ip" "$subnet" "$router" "$dns" "$mtu" "$domain" "$search" "$lease" ;;
  BOUND | RENEW | REBIND | REBOOT)
    interface=${interface:?}
    set -- "$new_ip_address" "$new_subnet_mask" "$new_routers" "$new_domain_name_servers" "$new_interface_mtu" "$new_domain_name" \
      "$new_domain_search" "$new_dhcp_lease_time"
    ;;
  *) exit 0 ;;
esac
ip address replace "$1/$2" dev "$interface"
ip link set "$interface" mtu "$5"
ip route replace default via "$3" dev "$interface"
echo "$event $1/$2 $3 $4 $5 $6 $(echo "$7" | tr ' ' ,) $8" >&2
