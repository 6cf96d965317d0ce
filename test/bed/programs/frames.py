"""As root of a sandbox: sends raw Ethernet frames to the gateway's MAC address, TCP SYNs and UDP datagrams with destinations that no route would
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


def syn(source_port):
    return struct.pack("!HHIIBBHHH", source_port, port, 1, 0, 5 << 4, 2, 65535, 0, 0)


def datagram(source_port):
    return struct.pack("!HHHH", source_port, port, 15, 0) + b"secret?"


subprocess.run(["ping", "-c1", "-W1", gateway], stdout=subprocess.DEVNULL)
neighbour = subprocess.run(["ip", "neighbour", "show", gateway], stdout=subprocess.PIPE, text=True).stdout.split()
mac = bytes.fromhex(neighbour[neighbour.index("lladdr") + 1].replace(":", ""))
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
raw.bind((ifname, 0x0800))
own = raw.getsockname()[4]
sent = 0
for destination in destinations:
    for source in (sandbox, "127.0.0.1", destination, gateway):
        for ethernet in (mac, b"\xff" * 6):
            for protocol, payload in ((6, syn(40000 + sent)), (17, datagram(40000 + sent))):
                raw.send(ethernet + own + b"\x08\x00" + ipv4(source, destination, protocol, payload))
                sent += 1
print("sent", sent)
deadline = time.monotonic() + 1.5
while (left := deadline - time.monotonic()) > 0:
    raw.settimeout(left)
    try:
        frame, link = raw.recvfrom(65536)
    except TimeoutError:
        break
    header = (frame[14] & 15) * 4
    protocol, transport = frame[23], frame[14 + header :]
    if link[2] == socket.PACKET_OUTGOING or protocol not in (6, 17):
        continue
    if struct.unpack("!H", transport[:2])[0] != port:
        continue
    if protocol == 17 or transport[13] & 0x12 == 0x12:
        print("answer", "tcp" if protocol == 6 else "udp", socket.inet_ntoa(frame[26:30]))
print("done")
