"""Captures all that enters and leaves each sandbox of a bed, with offloads off, in the form that it would have on a cable.

What enters a sandbox on its TAP has open checksums and many segments in one frame, which a capture on it would call wrong; and with
offloads, what leaves it has not met our own checks. So the TAP is put behind a bridge, and another interface takes its name, its
address and its routes:

    the TAP, renamed ── bridge ── veth without offloads ── veth without offloads, with its name: here the programs are, and the capture

Run by the bed's owner, who has every capability over the sandboxes, which have none. A program that waits for its capture
(test/bed/capture.ts) asks by a line in DIR/ask, its network namespace and a name, and is answered by a file of that name. Others of
the same sandbox may ask again.
A capture ends with its sandbox, or when it has the first LIMIT kilobytes. SIGTERM ends all of them.

Usage: captures.py DIR PREFIX      the captures are PREFIX-1.pcap, PREFIX-2.pcap, ...
"""

import os
import re
import select
import signal
import subprocess
import sys
import time

LIMIT = 10_000
# Seconds until a capture has what was captured: dumpcap looks every quarter of one.
PATIENCE = 0.5
OFFLOADS = "tx off tso off gso off gro off"
SYSCTLS = ["accept_ra", "accept_dad", "dad_transmits", "autoconf", "router_solicitations", "disable_ipv6"]
CONF = "/proc/sys/net/ipv6/conf"


def said(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def in_namespace(pid, *command):
    return ("nsenter", f"--net=/proc/{pid}/ns/net", *command)


def first_of(namespace):
    """The first process of a network namespace: the sandbox ends with it."""
    pids = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{name}/ns/net") == namespace:
                pids.append(int(name))
        except OSError:
            pass
    return min(pids)


QUESTIONS = f"""
ip -o link show $tap; echo ---
ip -o address show dev $tap; echo ---
ip -4 route show dev $tap; ip -6 route show dev $tap; echo ---
ip neighbour show dev $tap; echo ---
# Where the MTU is too small for IPv6, there is nothing of it.
cd {CONF}/$tap 2>/dev/null && cat {" ".join(SYSCTLS)} || :
"""


def tap_of(pid):
    """The name of the sandbox's only TAP."""
    [name] = re.findall(r"^\d+: (\S+?):", said(*in_namespace(pid, "ip", "-o", "link", "show", "type", "tun")), re.M)
    return name


def rewire(pid, tap):
    questions = f"tap={tap}\n{QUESTIONS}"
    link, addresses, routes, neighbours, kept = said(*in_namespace(pid, "sh", "-c", questions)).split("---\n")
    mtu = re.search(r"mtu (\d+)", link)[1]
    mac = re.search(r"ether (\S+)", link)[1]
    links = [
        f"link set {tap} down",
        f"link set {tap} name behind",
        "address flush dev behind",
        f"link add cable type veth peer name {tap}",
        # It has no address, but would answer for those of the others.
        "link add bridge type bridge",
        "link set bridge arp off",
        "link set behind address 02:00:00:00:00:01",
        f"link set {tap} address {mac}",
        *(f"link set {each} mtu {mtu}" for each in (tap, "cable")),
        *(f"link set {each} master bridge" for each in ("behind", "cable")),
    ]
    settings = [(f"{each}/disable_ipv6", "1") for each in ("behind", "cable", "bridge")]
    settings += [(f"{tap}/{name}", value) for name, value in zip(SYSCTLS, kept.split())]
    ups = [f"link set {each} up" for each in ("behind", "cable", "bridge", tap)]
    for address in re.findall(r"inet6? (\S+)", addresses):
        if not address.startswith("fe80:"):
            ups.append(f"address add {address} dev {tap}" + (" nodad" if ":" in address else ""))
    for address, where in re.findall(r"^(\S+) lladdr (\S+)", neighbours, re.M):
        ups.append(f"neighbour replace {address} lladdr {where} dev {tap} nud reachable")
    # Those without a gateway first.
    for route in sorted(routes.splitlines(), key=lambda line: " via " in line):
        if not route.startswith("fe80:"):
            ups.append(f"route replace {route.replace(' linkdown', '')} dev {tap}")
    steps = [
        "ip -batch - <<END\n" + "\n".join(links) + "\nEND",
        *(f"[ ! -e {CONF}/{name} ] || echo {value} >{CONF}/{name}" for name, value in settings),
        *(f"ethtool -K {each} {OFFLOADS}" for each in ("cable", tap)),
        "ip -batch - <<END\n" + "\n".join(ups) + "\nEND",
    ]
    said(*in_namespace(pid, "sh", "-ec", "\n".join(steps)))


def capture(pid, tap, path):
    dump = subprocess.Popen(
        in_namespace(pid, "dumpcap", "-q", "-P", "-B", "16", "-a", f"filesize:{LIMIT}", "-i", tap, "-w", path),
        stderr=subprocess.PIPE,
        text=True,
    )
    # It says where it writes when it has begun.
    for line in dump.stderr:
        if line.startswith("File:"):
            return dump
    raise SystemExit(f"dumpcap ended with {dump.wait()}")


def main(directory, prefix):
    os.makedirs(directory, mode=0o777)
    os.chmod(directory, 0o777)
    os.mkfifo(f"{directory}/ask", 0o666)
    os.chmod(f"{directory}/ask", 0o666)
    # Held open for writing too, so that it never ends.
    ask = os.fdopen(os.open(f"{directory}/ask", os.O_RDWR), "rb", buffering=0)
    stop, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    running, ending, captured, count = {}, [], set(), 0
    poll = select.poll()
    for each in (ask.fileno(), stop):
        poll.register(each, select.POLLIN)
    open(f"{directory}/ready", "w").close()
    while True:
        while ending and ending[0][0] <= time.monotonic():
            finish(ending.pop(0)[1])
        for number, _ in poll.poll(max(0, ending[0][0] - time.monotonic()) * 1000 + 1 if ending else None):
            if number == stop:
                time.sleep(PATIENCE)
                for dump in [dump for _, dump in ending] + [dump for dump, _ in running.values()]:
                    finish(dump)
                return
            if number != ask.fileno():
                poll.unregister(number)
                dump, namespace = running.pop(number)
                captured.discard(namespace)
                ending.append((time.monotonic() + PATIENCE, dump))
                os.close(number)
                continue
            for line in ask.read(4096).decode().splitlines():
                namespace, name = line.split()
                if namespace in captured:
                    open(f"{directory}/{name}", "w").close()
                    continue
                count += 1
                alive = None
                try:
                    pid = first_of(namespace)
                    # Before the capture: a sandbox that ends meanwhile ends it too.
                    alive = os.pidfd_open(pid)
                    tap = tap_of(pid)
                    rewire(pid, tap)
                    dump = capture(pid, tap, f"{prefix}-{count}.pcap")
                except (subprocess.CalledProcessError, SystemExit, ValueError, ProcessLookupError) as error:
                    if alive is not None:
                        os.close(alive)
                    print(f"{namespace}: {getattr(error, 'stderr', None) or error}", flush=True)
                    open(f"{directory}/{name}", "w").write("failed\n")
                    continue
                running[alive] = dump, namespace
                captured.add(namespace)
                poll.register(alive, select.POLLIN)
                open(f"{directory}/{name}", "w").close()


def finish(dump):
    dump.terminate()
    dump.stderr.read()
    dump.wait()


main(*sys.argv[1:])
