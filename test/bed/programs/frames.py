"""As root of a sandbox: sends raw Ethernet frames to the gateway's MAC address, TCP SYNs and UDP datagrams with destinations (of the gateway's family) that no route would
allow, from the sandbox's own and from forged sources, and prints a line `answer ...` for every TCP SYN/ACK and UDP datagram that comes
back from PORT. Usage: frames.py IFNAME PORT GATEWAY SANDBOX DESTINATION..."""

import socket
import struct
import subprocess
import sys
import time

ifname, port, gateway, sandbox, destinations = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:]


def total(data):
    data += b"\0" * (len(data) % 2)
    value = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return ~value & 0xFFFF


def ipv4(source, destination, protocol, payload):
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    pseudo = addresses + struct.pack("!BBH", 0, protocol, len(payload))
    at = 16 if protocol == 6 else 6
    payload = payload[:at] + struct.pack("!H", total(pseudo + payload)) + payload[at + 2 :]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0) + addresses
    return header[:10] + struct.pack("!H", total(header)) + header[12:] + payload


def ipv6(source, destination, protocol, payload):
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    pseudo = addresses + struct.pack("!II", len(payload), protocol)
    at = 16 if protocol == 6 else 6
    payload = payload[:at] + struct.pack("!H", total(pseudo + payload) or 0xFFFF) + payload[at + 2 :]
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload


def answer(frame):
    """The protocol, its bytes and the sender of an IP packet in a frame."""
    if six:
        return frame[20], frame[54:], socket.inet_ntop(socket.AF_INET6, frame[22:38])
    return frame[23], frame[14 + (frame[14] & 15) * 4 :], socket.inet_ntoa(frame[26:30])


def syn(source_port):
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 65535, 0, 0)


def datagram(source_port):
    return struct.pack("!HHHH", source_port, port, 15, 0) + b"secret?"


subprocess.run(["ping", "-c1", "-W1", gateway], stdout=subprocess.DEVNULL)
neighbour = subprocess.run(["ip", "neighbour", "show", gateway], stdout=subprocess.PIPE, text=True).stdout.split()
mac = bytes.fromhex(neighbour[neighbour.index("lladdr") + 1].replace(":", ""))
six = ":" in gateway
ethertype, packet, loopback = (0x86DD, ipv6, "::1") if six else (0x0800, ipv4, "127.0.0.1")
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
raw.bind((ifname, ethertype))
own = raw.getsockname()[4]
sent = 0
for destination in destinations:
    for source in (sandbox, loopback, destination, gateway):
        for ethernet in (mac, b"\xff" * 6):
            for protocol, payload in ((6, syn(40000 + sent)), (17, datagram(40000 + sent))):
                raw.send(ethernet + own + struct.pack("!H", ethertype) + packet(source, destination, protocol, payload))
                sent += 1
print("sent", sent)
deadline = time.monotonic() + 1.5
while (left := deadline - time.monotonic()) > 0:
    raw.settimeout(left)
    try:
        frame, link = raw.recvfrom(65536)
    except TimeoutError:
        break
    protocol, transport, sender = answer(frame)
    if link[2] == socket.PACKET_OUTGOING or protocol not in (6, 17):
        continue
    if struct.unpack("!H", transport[:2])[0] != port:
        continue
    if protocol == 17 or transport[13] & 0x12 == 0x12:
        print("answer", "tcp" if protocol == 6 else "udp", sender)
print("done")
