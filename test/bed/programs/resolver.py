"""A resolver of many faults: answers every A question with ANSWER, over UDP. Prints each name that was asked, and from which port.
Usage: resolver.py FAULT ADDRESS ANSWER, where FAULT is

  none     there is none
  forger   before the answer come others: with another id, for another question, and from another port
  slow     the answer takes half a second more than the time after which somebody else is asked
  refuse   REFUSED
"""

import socket
import struct
import sys
import time

fault, address, answer = sys.argv[1:4]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
server = socket.socket(family, socket.SOCK_DGRAM)
stranger = socket.socket(family, socket.SOCK_DGRAM)
for each, port in (server, 53), (stranger, 0):
    each.bind(socket.getaddrinfo(address, port, family, socket.SOCK_DGRAM)[0][4])  # with the interface of a link-local one
print("ready", flush=True)


def reply(query, data, code=0):
    header = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, 0 if code else 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(data)
    end = query.index(b"\x00", 12) + 5
    return header + query[12:end] + (b"" if code else record)


while True:
    query, client = server.recvfrom(4096)
    print("asked", query[13 : 13 + query[12]].decode("latin-1"), client[1], flush=True)
    if fault == "forger":
        wrong = "192.0.2.66"
        server.sendto(reply(bytes([query[0] ^ 1]) + query[1:], wrong), client)
        server.sendto(reply(query[:12] + b"\x04evil\x00" + query[-4:], wrong), client)
        stranger.sendto(reply(query, wrong), client)
    if fault == "slow":
        time.sleep(1.75)
    server.sendto(reply(query, answer, 5 if fault == "refuse" else 0), client)
