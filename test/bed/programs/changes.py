"""What a program has of the network while it changes. Opens a TCP connection and a connected UDP socket to an echo server at each ADDRESS,
port 7000, and then, for each line of input, prints a line of JSON:

new [SECONDS]    what opens now: `tcpF` (a new connection), `udpF` (the old socket), `pingF` (F the family) and `dns` (a question for NAME),
                 each `ok`, an errno's name, `unreachable`, `silence` (after SECONDS, 1 without them) or the DNS status; `ms`, the slowest
say              sends a word on each old TCP connection
old [SECONDS]    `oldF`: whether the echo of every word that was ever said on it came back

Usage: changes.py NAME ADDRESS..."""

import errno
import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

PORT = 7000


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def digit(address):
    return "6" if ":" in address else "4"


def name(error):
    return "silence" if isinstance(error, TimeoutError) else errno.errorcode[error.errno]


def tcp(address, within):
    try:
        with socket.create_connection((address, PORT), within) as client:
            client.sendall(b"new")
            return "ok" if client.recv(3) == b"new" else "closed"
    except OSError as error:
        return name(error)


def udp(client, within):
    try:
        client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        client.settimeout(within)
        client.send(b"datagram")
        return "ok" if client.recv(100) == b"datagram" else "other bytes"
    except OSError as error:
        return name(error)


def ping(address, within):
    command = ["ping", "-n", "-c1", f"-W{within}", address]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if "1 received" in done.stdout:
        return "ok"
    return "unreachable" if re.search("unreachable", done.stdout, re.IGNORECASE) else "silence"


def dns(question, within):
    command = ["dig", "+tries=1", f"+time={within}", question]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    status = re.search(r"status: (\w+)", done.stdout)
    return status.group(1) if status else "silence"


def heard(flow, within):
    client, said, echoed = flow["client"], flow["said"], flow["echoed"]
    client.settimeout(within)
    try:
        while len(echoed) < len(said):
            block = client.recv(100)
            if not block:
                return "closed"
            echoed += block
        return "ok" if echoed == said else "other bytes"
    except OSError as error:
        return name(error)


def main(question, addresses):
    flows, datagrams = {}, {}
    for address in addresses:
        client = socket.create_connection((address, PORT), 5)
        flows[address] = {"client": client, "said": bytearray(), "echoed": bytearray()}
        datagrams[address] = socket.socket(family(address), socket.SOCK_DGRAM)
        datagrams[address].connect((address, PORT))
    print("ready to ask", flush=True)
    pool = ThreadPoolExecutor(16)
    for line in sys.stdin:
        command, *rest = line.split()
        within = int(rest[0]) if rest else 1
        start, jobs = time.monotonic(), {}
        if command == "say":
            for flow in flows.values():
                flow["said"] += b"word "
                flow["client"].sendall(b"word ")
        for address in addresses:
            which = digit(address)
            if command == "new":
                jobs[f"tcp{which}"] = pool.submit(tcp, address, within)
                jobs[f"udp{which}"] = pool.submit(udp, datagrams[address], within)
                jobs[f"ping{which}"] = pool.submit(ping, address, within)
            elif command == "old":
                jobs[f"old{which}"] = pool.submit(heard, flows[address], within)
        if command == "new":
            jobs["dns"] = pool.submit(dns, question, within)
        results = {key: job.result() for key, job in jobs.items()}
        print(json.dumps({**results, "ms": round((time.monotonic() - start) * 1000)}), flush=True)


main(sys.argv[1], sys.argv[2:])
