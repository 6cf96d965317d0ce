"""Sends one datagram of SIZE bytes from one socket to PORT of each ADDRESS (of one family), and prints for each reply `ok ADDRESS` when its source and every
byte are right. Usage: datagrams.py PORT SIZE ADDRESS..."""

import random
import socket
import sys

port, size, addresses = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
expected = {address: random.Random(address).randbytes(size) for address in addresses}
family = socket.AF_INET6 if ":" in addresses[0] else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as client:
    client.settimeout(5)
    client.bind(("", 0))
    for address in addresses:
        client.sendto(expected[address], (address, port))
    for _ in addresses:
        data, (address, source, *_) = client.recvfrom(65536)
        if source != port or expected.pop(address, None) != data:
            raise SystemExit(f"{len(data)} wrong bytes, or from the wrong source {address}:{source}")
        print("ok", address)
