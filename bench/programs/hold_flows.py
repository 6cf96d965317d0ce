"""hold_flows.py ADDRESS PORT COUNT COMMAND...: opens COUNT connections that stay idle, then runs the command beside them.

One in a hundred may be missing, since a peer that lost a SYN would otherwise not be measured at all. Its exit status is the command's. The connections end with a reset, so that none of them lingers.
"""

import errno
import resource
import selectors
import socket
import struct
import subprocess
import sys
import time

AT_ONCE = 200
PATIENCE = 15
STALLED = 4


def main():
    address, count, command = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3]), sys.argv[4:]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    waiting, opened, started = selectors.DefaultSelector(), [], 0
    deadline, progress = time.monotonic() + PATIENCE, time.monotonic()
    while len(opened) < count and (now := time.monotonic()) < min(deadline, progress + STALLED):
        while started < count and started - len(opened) < AT_ONCE:
            flow = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            flow.setblocking(False)
            flow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if flow.connect_ex(address) not in (0, errno.EINPROGRESS):
                raise SystemExit(f"flow {started + 1} could not be opened")
            waiting.register(flow, selectors.EVENT_WRITE)
            started += 1
        for key, _ in waiting.select(timeout=0.1):
            if error := key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise SystemExit(f"only {len(opened)} of {count} idle flows: {errno.errorcode.get(error, error)}")
            waiting.unregister(key.fileobj)
            opened.append(key.fileobj)
            progress = now
    if len(opened) < count * 0.99:
        raise SystemExit(f"only {len(opened)} of {count} idle flows were opened within {PATIENCE} s")
    # One that was closed again shows up as readable.
    for flow in opened:
        waiting.register(flow, selectors.EVENT_READ)
    time.sleep(0.5)
    if lost := len(waiting.select(timeout=0)):
        raise SystemExit(f"{lost} of {count} idle flows were closed at once")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raise SystemExit(subprocess.run(command, check=False).returncode)


main()
