"""Connects by TCP and prints `NAME MILLISECONDS`, where NAME is `connected` or the errno's name. Usage: connect.py ADDRESS PORT [TIMES]"""

import errno
import socket
import sys
import time

address, port, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
for _ in range(times):
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
        client.settimeout(5)
        start = time.monotonic()
        try:
            client.connect((address, port))
            result = "connected"
        except TimeoutError:
            result = "ETIMEDOUT"
        except OSError as error:
            result = errno.errorcode[error.errno]
        print(result, round((time.monotonic() - start) * 1000, 1))
