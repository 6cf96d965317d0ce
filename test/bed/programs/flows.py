"""Very many TCP connections at once, every byte of each checked at both ends.

flows.py serve PORT ADDRESS...               holds what connects; answers each request when it is whole. Prints `ready`, then, for
                                             each line of input, how many are open and how many were answered: `open N answered N`
flows.py hold COUNT MORE PORT ADDRESS...     opens COUNT connections, has each exchange its own bytes, then tries MORE. Prints
                                             `open`, `checked`, `more OPENED REFUSED MILLISECONDS` (of the slowest refusal), `closed`,
                                             and waits for a line of input after each.
"""

import errno
import resource
import select
import socket
import struct
import sys
import time

LENGTH = 512
AT_ONCE = 256


def request(number):
    return struct.pack("<I", number) + (number * 2654435761 % 2**64).to_bytes(8, "little") * (LENGTH // 8) + b"?"


def response(number):
    return struct.pack(">I", number) + (number * 40503 % 2**64).to_bytes(8, "big") * (LENGTH // 8) + b"!"


SIZE = len(request(0))


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve(port, addresses):
    ready, listeners, flows, answered = select.epoll(), {}, {}, 0
    for address in addresses:
        listener = socket.create_server((address, port), family=family(address), backlog=4096)
        listener.setblocking(False)
        listeners[listener.fileno()] = listener
        ready.register(listener, select.EPOLLIN)
    ready.register(0, select.EPOLLIN)
    print("ready", flush=True)
    while True:
        for number, _ in ready.poll():
            if number == 0:
                if not sys.stdin.readline():
                    return
                print("open", len(flows), "answered", answered, flush=True)
            elif number in listeners:
                try:
                    for _ in range(64):
                        flow, _ = listeners[number].accept()
                        flow.setblocking(False)
                        flows[flow.fileno()] = [flow, b""]
                        ready.register(flow, select.EPOLLIN)
                except BlockingIOError:
                    pass
            else:
                flow, heard = flows[number]
                try:
                    data = flow.recv(SIZE + 1)
                except ConnectionError:
                    data = b""
                if not data:
                    del flows[number]
                    flow.close()
                    continue
                heard += data
                flows[number][1] = heard
                if len(heard) < SIZE:
                    continue
                which = struct.unpack("<I", heard[:4])[0]
                if heard != request(which):
                    raise SystemExit(f"flow {which} brought other bytes")
                flow.send(response(which))
                answered += 1


def connect(count, port, addresses):
    """Opens so many; gives those that were opened, and how many milliseconds each of the others took to fail."""
    ready, under_way, opened, failed, started = select.epoll(), {}, [], [], 0
    while len(opened) + len(failed) < count:
        while started < count and len(under_way) < AT_ONCE:
            address = addresses[started % len(addresses)]
            flow = socket.socket(family(address))
            flow.setblocking(False)
            if flow.connect_ex((address, port)) != errno.EINPROGRESS:
                raise SystemExit(f"flow {started} could not be begun")
            under_way[flow.fileno()] = (flow, time.monotonic())
            ready.register(flow, select.EPOLLOUT)
            started += 1
        events = ready.poll(5)
        if not events:
            raise SystemExit(f"{len(opened)} opened, {len(failed)} refused, {len(under_way)} hang")
        for number, _ in events:
            flow, since = under_way.pop(number)
            ready.unregister(flow)
            error = flow.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error == 0:
                opened.append(flow)
                continue
            flow.close()
            if error != errno.ECONNREFUSED:
                raise SystemExit(f"flow {started} ended with {errno.errorcode[error]}")
            failed.append((time.monotonic() - since) * 1000)
    return opened, failed


def exchange(flows):
    ready, heard = select.epoll(), {}
    for which, flow in enumerate(flows):
        flow.send(request(which))
        heard[flow.fileno()] = [flow, which, b""]
        ready.register(flow, select.EPOLLIN)
    while heard:
        events = ready.poll(10)
        if not events:
            raise SystemExit(f"{len(heard)} flows have no answer")
        for number, _ in events:
            entry = heard[number]
            entry[2] += entry[0].recv(SIZE + 1)
            if len(entry[2]) < SIZE:
                continue
            if entry[2] != response(entry[1]):
                raise SystemExit(f"flow {entry[1]} had other bytes for an answer")
            ready.unregister(entry[0])
            del heard[number]


def step(*words):
    print(*words, flush=True)
    sys.stdin.readline()


def hold(count, more, port, addresses):
    flows, failed = connect(count, port, addresses)
    if failed:
        raise SystemExit(f"{len(failed)} of {count} were refused")
    step("open")
    exchange(flows)
    step("checked")
    others, refused = connect(more, port, addresses)
    step("more", len(others), len(refused), round(max(refused, default=0)))
    for flow in flows + others:
        flow.close()
    step("closed")


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]), sys.argv[3:])
    else:
        hold(*map(int, sys.argv[2:5]), sys.argv[5:])


main()
