"""knock.py ADDRESS PORT open|closed: connects again and again until it succeeds, or is refused, and says when, by the clock
that all processes share."""
import socket
import sys
import time

address, port, wanted = sys.argv[1], int(sys.argv[2]), sys.argv[3]
print("ready", flush=True)
while True:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    refused = one.connect_ex((address, port)) != 0
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    one.close()
    if refused == (wanted == "closed"):
        break
    time.sleep(0.002)
print("said", now)
