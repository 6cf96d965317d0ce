"""Starts a program as a container engine starts slirp4netns: with a descriptor that is to get a "1" (the ready descriptor), and
one that hangs up at the end (the exit descriptor). Usage: descriptors.py PROGRAM [ARGUMENT...], where READY and EXIT in the
arguments stand for their numbers; one that is not named is not handed down.

Prints `ready TEXT` when the ready descriptor was closed, with what came on it, and `ended N` with the exit code, negative for a
signal; the last line. Reads commands, a line each: `write` (something on the exit descriptor), `hangup` (closes it), `kill N`."""

import os
import subprocess
import sys
import threading


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def read_all(fd):
    text = b""
    while piece := os.read(fd, 100):
        text += piece
    say(f"ready {text.decode()}")


def obey():
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "write":
            os.write(exit_write, b"x")
        elif word == "hangup":
            os.close(exit_write)
        elif word == "kill":
            program.send_signal(int(rest[0]))


ready_read, ready_write = os.pipe()
exit_read, exit_write = os.pipe()
numbers = {"READY": ready_write, "EXIT": exit_read}
command, handed = sys.argv[1:], []
for name, fd in numbers.items():
    if any(name in word for word in command):
        handed.append(fd)
    command = [word.replace(name, str(fd)) for word in command]
program = subprocess.Popen(command, pass_fds=handed, stdin=subprocess.DEVNULL, stdout=sys.stderr)
os.close(ready_write)
os.close(exit_read)
reader = threading.Thread(target=read_all, args=(ready_read,), daemon=True)
reader.start()
threading.Thread(target=obey, daemon=True).start()
status = program.wait()
reader.join()
say(f"ended {status}")
