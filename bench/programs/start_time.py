"""start_time.py RUNS COMMAND...: runs the command so often, one after the other; prints the median of the times as JSON (ms)."""

import json
import statistics
import subprocess
import sys
import time


def run(command):
    start = time.monotonic_ns()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=20)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} exited with {done.returncode}: {done.stderr.decode(errors='replace').strip()[-200:]}")
    return (time.monotonic_ns() - start) / 1e6


runs, command = int(sys.argv[1]), sys.argv[2:]
print(json.dumps({"ms": statistics.median(run(command) for _ in range(runs))}))
