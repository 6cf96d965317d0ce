"""Asks for COUNT names at once, from 250 sockets, after one first question, and prints how many answers there were of each RCODE, as `{0: 5000}`,
and whether the last one came within WITHIN seconds. Usage: questions.py SERVER COUNT WITHIN"""

import select
import socket
import struct
import sys
import time

server, count, within = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])


def question(number):
    label = b"n%d" % number
    header = struct.pack(">HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0)
    return header + bytes([len(label)]) + label + b"\x03bed\x04test\x00" + struct.pack(">HH", 1, 1)


clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(min(count, 250))]
poll = select.epoll()
for client in clients:
    client.connect((server, 53))
    client.setblocking(False)
    poll.register(client, select.EPOLLIN)
by_number = {client.fileno(): client for client in clients}
codes = {}
answered = set()


def read(timeout):
    for number, _ in poll.poll(timeout):
        try:
            while True:
                answer = by_number[number].recv(4096)
                if (number, answer[:2]) in answered:
                    raise SystemExit("two answers to one question")
                answered.add((number, answer[:2]))
                codes[answer[3] & 15] = codes.get(answer[3] & 15, 0) + 1
        except BlockingIOError:
            pass


def until(wanted, deadline):
    while len(answered) < wanted and time.monotonic() < deadline:
        read(0.1)


# What is sent before the neighbour is known waits in a short queue.
clients[0].send(question(count))
until(1, time.monotonic() + within)
answered.clear()
codes.clear()
began = time.monotonic()
for number in range(count):
    clients[number % len(clients)].send(question(number))
    if number % 64 == 63:
        read(0)
until(count, began + within)
print(codes, "in time" if len(answered) == count else "too late")
