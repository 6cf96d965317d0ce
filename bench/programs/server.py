"""A server of the bench: server.py MODE ADDRESS PORT, says "ready" once it listens, and serves until it is ended.

echo-tcp  sends back what it gets, one connection after the other
echo-udp  sends back each datagram
answer    reads a little, answers one byte, closes: the far end of connect-request-close
hold      accepts and keeps every connection, and says nothing on it
segments  a datagram of text "SECONDS SIZE" makes it send datagrams of SIZE bytes to where it came from (see segments.py)
count     counts such datagrams, and prints what it counted after each such load
"""

import resource
import selectors
import socket
import sys

import segments


def echo_tcp(listener):
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass  # The client has gone, as each one does in the end.
        connection.close()


def echo_udp(udp):
    while True:
        data, client = udp.recvfrom(65536)
        udp.sendto(data, client)


def answer(listener):
    while True:
        connection, _ = listener.accept()
        try:
            if connection.recv(4096):
                connection.send(b"!")
        except OSError:
            pass
        connection.close()


def hold(listener):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener.setblocking(False)
    waiting = selectors.DefaultSelector()
    waiting.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is listener:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    continue
                waiting.register(connection, selectors.EVENT_READ)
                continue
            try:
                if key.fileobj.recv(65536):
                    continue
            except OSError:
                pass
            waiting.unregister(key.fileobj)
            key.fileobj.close()


def send_segments(udp):
    while True:
        data, client = udp.recvfrom(65536)
        seconds, size = data.split()
        segments.send(udp, client, float(seconds), int(size))


def count_segments(udp):
    while True:
        print(segments.receive(udp, 30), flush=True)


TCP = {"echo-tcp": echo_tcp, "answer": answer, "hold": hold}
UDP = {"echo-udp": echo_udp, "segments": send_segments, "count": count_segments}


def main():
    mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM if mode in TCP else socket.SOCK_DGRAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind((address, port))
    if mode in TCP:
        own.listen(4096)
    print("ready", flush=True)
    (TCP | UDP)[mode](own)


main()
