"""ICMP errors of every type and code about UDP datagrams and TCP connections, and what sockets make of them.

errors.py answer INTERFACE        (with a packet socket) answers each packet to port BASE + 64 * TYPE + CODE with that error, and prints `ready`
errors.py ask ADDRESS TYPE/CODE... sends a datagram for each to ADDRESS, and connects, and prints what the sockets report:
                                  `udp TYPE/CODE ERRNO TYPE/CODE INFO from ADDRESS` of the error queue, `tcp TYPE/CODE ERRNO` of connect()
"""

import errno
import ipaddress
import select
import socket
import struct
import sys

BASE = 20_000
MTU = 1300
IP_RECVERR, IPV6_RECVERR, MSG_ERRQUEUE, ETH_P_ALL = 11, 25, 0x2000, 3


def rest(family, type, code):
    """The four bytes before the quotation."""
    if family == 4:
        return struct.pack(">HH", 0, MTU) if (type, code) == (3, 4) else bytes([20, 0, 0, 0]) if type == 12 else bytes(4)
    return struct.pack(">I", MTU if type == 2 else 40 if type == 4 and code != 1 else 6 if type == 4 else 0)


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data + b"\0" * (len(data) % 2))[:])
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def answer(interface):
    heard = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    heard.bind((interface, ETH_P_ALL))
    four = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.getprotobyname("ipv6-icmp"))
    print("ready", flush=True)
    while True:
        packet, (_, _, direction, *_) = heard.recvfrom(2048)
        if direction != socket.PACKET_HOST or len(packet) < 40:
            continue
        family = packet[0] >> 4
        header = 20 if family == 4 else 40
        protocol = packet[9] if family == 4 else packet[6]
        if protocol not in (6, 17):
            continue
        port = struct.unpack_from(">H", packet, header + 2)[0] - BASE
        if not 0 <= port < 64 * 16:
            continue
        type, code = divmod(port, 64)
        if family == 4:
            message = bytes([type, code, 0, 0]) + rest(4, type, code) + packet[: header + 8]
            message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
            four.sendto(message, (socket.inet_ntop(socket.AF_INET, packet[12:16]), 0))
        else:
            message = bytes([type, code, 0, 0]) + rest(6, type, code) + packet[:1000]
            six.sendto(message, (socket.inet_ntop(socket.AF_INET6, packet[8:24]), 0))


def ask(address, cases):
    is_six = ":" in address
    family = socket.AF_INET6 if is_six else socket.AF_INET
    option = (socket.IPPROTO_IPV6, IPV6_RECVERR) if is_six else (socket.IPPROTO_IP, IP_RECVERR)
    for case in cases:
        type, code = map(int, case.split("/"))
        port = BASE + 64 * type + code
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.setsockopt(*option, 1)
            client.connect((address, port))
            client.send(b"x" * 100)
            print("udp", case, *report(client), flush=True)
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            try:
                client.connect((address, port))
                print("tcp", case, "connected", flush=True)
            except TimeoutError as error:
                print("tcp", case, "silence" if error.errno is None else errno.errorcode[error.errno], flush=True)
            except OSError as error:
                print("tcp", case, errno.errorcode[error.errno], flush=True)


def report(client):
    poll = select.poll()
    poll.register(client, 0)
    if not poll.poll(3000):
        return ["silence"]
    _, ancillary, _, _ = client.recvmsg(2048, 512, MSG_ERRQUEUE)
    for _, kind, data in ancillary:
        if kind not in (IP_RECVERR, IPV6_RECVERR):
            continue
        number, _, type, code, _, info, _ = struct.unpack_from("=IBBBBII", data)
        offender = data[16:]
        who = offender[4:8] if struct.unpack_from("=H", offender)[0] == socket.AF_INET else offender[8:24]
        return [errno.errorcode[number], f"{type}/{code}", info, "from", ipaddress.ip_address(who)]
    return ["nothing"]


if sys.argv[1] == "answer":
    answer(sys.argv[2])
else:
    ask(sys.argv[2], sys.argv[3:])
