"""Groups and broadcast: service discovery (mDNS, SSDP), and port 9999 of everybody.

multicast.py listen IFNAME   prints `ready`, then `heard PORT SENDER` for each datagram
multicast.py say IFNAME      is a member of the groups too; sends to all of them, and to the broadcast addresses given behind IFNAME. Prints
                             `sent ADDRESS` or `ADDRESS ERRNO`, then for half a second what it hears
"""

import errno
import select
import socket
import struct
import sys
import time

GROUPS = [("224.0.0.251", 5353), ("239.255.255.250", 1900), ("ff02::fb", 5353), ("ff02::c", 1900)]
BROADCAST_PORT = 9999

command, ifname, broadcasts = sys.argv[1], sys.argv[2], sys.argv[3:]
number = socket.if_nametoindex(ifname)
sockets = []
for group, port in [*GROUPS, ("", BROADCAST_PORT)]:
    six = ":" in group
    each = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    each.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    each.bind((group, port, 0, number) if six else (group, port))
    if six:
        member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", number)
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
        each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, number)
    elif group:
        interface = struct.pack("@4s4si", socket.inet_aton(group), b"\0" * 4, number)
        each.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, interface)
        each.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
    sockets.append(each)
print("ready", flush=True)
if command == "say":
    places = [*zip(sockets, GROUPS), *((sockets[-1], (address, BROADCAST_PORT)) for address in broadcasts)]
    for each, (address, port) in places:
        try:
            each.sendto(b"who is there?", (address, port))
            print("sent", address)
        except OSError as error:
            print(address, errno.errorcode[error.errno])
deadline = time.monotonic() + (0.5 if command == "say" else 3600)
while (left := deadline - time.monotonic()) > 0:
    for each in select.select(sockets, [], [], left)[0]:
        _, sender = each.recvfrom(2000)
        print("heard", each.getsockname()[1], sender[0], flush=True)
