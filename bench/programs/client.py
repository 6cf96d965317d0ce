"""A client of the bench: client.py MODE ADDRESS PORT SECONDS [SIZE]. Prints what it measured as one line of JSON.

round-trip-tcp, round-trip-udp   one byte there and back, again and again; percentiles in µs
connect                          connect, one byte there, one byte back, close; how many per second
send-segments, fetch-segments    a load of UDP datagrams of SIZE bytes (see segments.py)
"""

import json
import socket
import sys
import time

import segments

PATIENCE = 3
UDP_PATIENCE = 0.5


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] / 1000


def round_trips(kind, address, seconds):
    own = socket.socket(socket.AF_INET, kind)
    own.settimeout(PATIENCE)
    own.connect(address)
    if kind == socket.SOCK_STREAM:
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    else:
        own.settimeout(UDP_PATIENCE)
    times, lost, clock = [], 0, time.monotonic_ns
    start = clock()
    warm, end = start + seconds * 100_000_000, start + seconds * 1_100_000_000
    while (before := clock()) < end:
        own.send(b"?")
        try:
            if not own.recv(1):
                raise SystemExit("the server closed the connection")
        except TimeoutError:
            lost += 1
            if kind == socket.SOCK_STREAM or lost > 3:
                raise SystemExit("no answer came back")
            continue
        if before > warm:
            times.append(clock() - before)
    times.sort()
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}


def connections(address, seconds):
    made, start = 0, time.monotonic()
    end = start + seconds
    while (now := time.monotonic()) < end:
        own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        own.settimeout(PATIENCE)
        own.connect(address)
        own.send(b"?")
        if own.recv(1) != b"!" or own.recv(1) != b"":
            raise SystemExit(f"connection {made + 1} was not answered and closed")
        own.close()
        made += 1
    return {"perSecond": made / (now - start)}


def main():
    mode, address, seconds = sys.argv[1], (sys.argv[2], int(sys.argv[3])), float(sys.argv[4])
    size = sys.argv[5] if len(sys.argv) > 5 else "0"
    if mode == "round-trip-tcp":
        print(json.dumps(round_trips(socket.SOCK_STREAM, address, seconds)))
    elif mode == "round-trip-udp":
        print(json.dumps(round_trips(socket.SOCK_DGRAM, address, seconds)))
    elif mode == "connect":
        print(json.dumps(connections(address, seconds)))
    else:
        own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if mode == "send-segments":
            segments.send(own, address, seconds, int(size))
            print("{}")
        else:
            own.sendto(f"{seconds} {size}".encode(), address)
            print(segments.receive(own, PATIENCE))


try:
    main()
except OSError as error:
    raise SystemExit(str(error)) from None
