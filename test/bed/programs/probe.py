"""Tries to reach a TCP and a UDP service that it should not reach, with ordinary sockets: every ADDRESS given. Prints `tcp ADDRESS PORT
RESULT` and `udp ADDRESS PORT RESULT`; RESULT is an errno's name, `silence`, or `REACHED`. Usage: probe.py PORT[,PORT...] ADDRESS..."""

import errno
import socket
import sys
from concurrent.futures import ThreadPoolExecutor


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def tcp(address, port):
    with socket.socket(family(address)) as client:
        client.settimeout(1)
        client.connect((address, port))
        client.sendall(b"secret?")
        return "REACHED" if client.recv(100) else "closed"


def udp(address, port):
    with socket.socket(family(address), socket.SOCK_DGRAM) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        client.settimeout(0.7)
        client.sendto(b"secret?", (address, port))
        client.recvfrom(100)
        return "REACHED"


def probe(attempt, address, port):
    try:
        result = attempt(address, port)
    except TimeoutError:
        result = "silence"
    except OSError as error:
        result = errno.errorcode[error.errno]
    return f"{attempt.__name__} {address} {port} {result}"


ports = [int(port) for port in sys.argv[1].split(",")]
with ThreadPoolExecutor(16) as pool:
    probes = [(attempt, address, port) for address in sys.argv[2:] for port in ports for attempt in (tcp, udp)]
    for line in pool.map(lambda each: probe(*each), probes):
        print(line)
