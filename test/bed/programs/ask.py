"""Sends TEXT as a datagram from SOURCE PORT to HOST PORT and prints the answer. Its socket is connected: what comes from another
address or port does not arrive. Usage: ask.py SOURCE PORT HOST PORT TEXT"""

import socket
import sys

source, source_port, host, port, text = sys.argv[1:]
with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
    client.settimeout(20)
    client.bind((source, int(source_port)))
    client.connect((host, int(port)))
    client.send(text.encode())
    print(client.recv(65536).decode())
