"""Opens and closes TCP listeners as told on standard input, and says when, by the clock that all processes share:
    open ADDRESS PORT NAME     close PORT
Whoever connects is answered as a web server does, with NAME.
"""
import select
import socket
import sys
import time

listeners = {}


def say(*words):
    print(*words, time.clock_gettime_ns(time.CLOCK_MONOTONIC), flush=True)


def open_listener(address, port, name):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen()
    listeners[port] = (listener, name)
    say("open", port)


def serve(listener, name):
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(1)
        try:
            if not connection.recv(65536):
                return
            body = f"{name}\n"
            connection.sendall(f"HTTP/1.0 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        except OSError:
            pass


print("ready", flush=True)
while True:
    ready, _, _ = select.select([sys.stdin, *(listener for listener, _ in listeners.values())], [], [])
    for listener, name in list(listeners.values()):
        if listener in ready:
            serve(listener, name)
    if sys.stdin in ready:
        line = sys.stdin.buffer.raw.readline()
        if not line:
            break
        words = line.decode().split()
        if words[0] == "open":
            open_listener(words[1], int(words[2]), words[3])
        else:
            listeners.pop(int(words[1]))[0].close()
            say("close", words[1])
