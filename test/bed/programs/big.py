"""Writes SIZE bytes to standard output, of which no two megabytes are the same: random ones, again and again, each time after its number.

Usage: big.py SIZE
"""

import os
import sys

left = int(sys.argv[1])
block = os.urandom(16_000_000)
number = 0
while left > 0:
    piece = (number.to_bytes(8, "big") + block)[:left]
    sys.stdout.buffer.write(piece)
    left -= len(piece)
    number += 1
