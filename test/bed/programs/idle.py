"""Opens COUNT connections to an echo server one after the other, says a word on each, is silent for SECONDS, and says another on each, which
the server must answer. Prints `ok`. Usage: idle.py ADDRESS PORT COUNT SECONDS"""

import socket
import sys
import time

address, port, count, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])


def say(client, word):
    client.sendall(word)
    answer = b""
    while len(answer) < len(word):
        block = client.recv(100)
        if not block:
            raise SystemExit("ended early")
        answer += block
    if answer != word:
        raise SystemExit(f"{answer} instead of {word}")


clients = [socket.create_connection((address, port), timeout=5) for _ in range(count)]
for number, client in enumerate(clients):
    say(client, b"first %d" % number)
time.sleep(seconds)
for number, client in enumerate(clients):
    say(client, b"second %d" % number)
print("ok")
