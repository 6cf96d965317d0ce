"""Sends bytes to an echo server over TCP, and datagrams over UDP, and says `same` for each that comes back as it was.

Usage: there_and_back.py ADDRESS TCP_PORT BYTES UDP_PORT SIZE...
"""
import os
import socket
import sys
import threading

address, tcp, size, udp, *sizes = sys.argv[1:]
data = os.urandom(int(size))
with socket.create_connection((address, int(tcp)), timeout=30) as stream:

    def send():
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    back = bytearray()
    while chunk := stream.recv(1 << 20):
        back += chunk
    sender.join()
print("same" if back == data else f"different: {len(back)} bytes")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    datagrams.settimeout(10)
    for length in map(int, sizes):
        data = os.urandom(length)
        datagrams.sendto(data, (address, int(udp)))
        print("same" if datagrams.recv(65535) == data else "different")
