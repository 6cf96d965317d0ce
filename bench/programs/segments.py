"""UDP as a QUIC program does it: many datagrams of one size with one system call (UDP_SEGMENT), received alike (UDP_GRO).

A load ends with a few datagrams of one text, "END COUNT", so that the receiver knows how many were sent.
"""

import errno
import json
import socket
import time

UDP_SEGMENT, UDP_GRO = 103, 104
ENDS = 5
LARGEST = 64_000


def send(udp, to, seconds, size):
    """Sends as fast as the kernel takes it. What finds a queue full is not sent, and not counted."""
    per_call = LARGEST // size
    payload = b"x" * (size * per_call)
    sent = 0
    udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            udp.sendto(payload, to)
            sent += per_call
        except OSError as error:
            if error.errno not in (errno.ENOBUFS, errno.ECONNREFUSED):
                raise
    udp.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    for _ in range(ENDS):
        time.sleep(0.03)
        udp.sendto(b"END %d" % sent, to)


def receive(udp, patience):
    """Counts the datagrams of one load: JSON with how many came per second, and which share of what was sent did not."""
    udp.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    udp.settimeout(patience)
    buffer = bytearray(65536)
    received, sent, first, last = 0, None, None, None
    while True:
        try:
            length, ancillary, _, _ = udp.recvmsg_into([buffer], 64)
        except TimeoutError:
            break
        if buffer[:4] == b"END ":
            sent = int(bytes(buffer[4:length]).split(b"E")[0])
            udp.settimeout(0.3)
            continue
        if first is None and length > 0:
            udp.settimeout(2)
        last = time.monotonic()
        first = first or last
        size = next((int.from_bytes(data[:2], "little") for _, kind, data in ancillary if kind == UDP_GRO), length)
        received += -(-length // size)
    udp.settimeout(None)
    if first is None or last == first:
        return json.dumps({"error": "no datagram arrived"})
    loss = None if not sent else 100 * (1 - received / sent)
    return json.dumps({"perSecond": received / (last - first), "loss": loss})
