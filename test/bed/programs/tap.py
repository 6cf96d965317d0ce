"""A TAP of somebody else's: made here, in a namespace of its own, and handed over descriptor 3 (SOCK_SEQPACKET) with its MAC address.
After a line on standard input it runs the rest of that as a shell script, in the namespace.

Usage: unshare --user --map-root-user --net python3 tap.py plain|header|tun
"""
import fcntl
import os
import socket
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x0002, 0x1000, 0x4000
FLAGS = {
    "plain": IFF_TAP | IFF_NO_PI,
    "header": IFF_TAP | IFF_NO_PI | IFF_VNET_HDR,
    "tun": IFF_TUN | IFF_NO_PI,
}

fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"tap0", FLAGS[sys.argv[1]]))
script = """
ip link set lo up
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
ip link set tap0 address 02:00:00:00:00:64 up
ip address add 10.0.2.100/24 dev tap0
ip route add default via 10.0.2.2
"""
if sys.argv[1] != "tun":
    subprocess.run(["bash", "-ec", script], check=True)
with socket.socket(fileno=3) as other:
    socket.send_fds(other, [bytes.fromhex("020000000064")], [fd])
os.close(fd)
while os.read(0, 1) != b"\n":
    pass
os.execvp("bash", ["bash", "-e"])
