"""
Types into a terminal and waits for answers: terminal.py RUNNER, run by terminal.test.ts and exec.test.ts. RUNNER is the beginning
of a command line that runs its end in a sandbox. Says what did not come.

Commands that get a signal right after their first word exec their program: a shell that is just starting a child loses a Ctrl-C
(which then is the child's alone, and gone with its exec), and a dash never reports a Ctrl-Z, in any terminal.
"""
import fcntl, os, pty, re, select, struct, sys, termios, time

runner = sys.argv[1]
process, terminal = pty.fork()
if process == 0:
    os.environ["PS1"] = "OUT> "
    os.environ["TERM"] = "dumb"
    os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting"])

seen = ""


def wait_for(pattern):
    """Waits until what came since the last match has the pattern."""
    global seen
    end = time.monotonic() + 20
    while not (match := re.search(pattern, seen)):
        if not select.select([terminal], [], [], max(0, end - time.monotonic()))[0]:
            sys.exit(f"no {pattern!r} in {seen!r}")
        try:
            seen += os.read(terminal, 4096).decode(errors="replace")
        except OSError:
            sys.exit(f"the terminal ended before {pattern!r}: {seen!r}")
    seen = seen[match.end() :]


def type_in(text):
    os.write(terminal, text.encode())


def run(line, *answers):
    type_in(line + "\n")
    for answer in answers:
        wait_for(answer)


def continue_job():
    """Types fg at a prompt, and waits until the job has the terminal: what is typed before that is the shell's."""
    shell = os.tcgetpgrp(terminal)
    type_in("fg\n")
    end = time.monotonic() + 20
    while os.tcgetpgrp(terminal) == shell:
        if time.monotonic() > end:
            sys.exit("the job did not get the terminal")
        time.sleep(0.01)


wait_for("OUT> ")
# An interactive shell inside: job control, Ctrl-C, window size, exit code.
run(f"PS1='IN> ' {runner} bash --norc --noprofile --noediting", "IN> ")
run("sh -c 'echo r''uns; exec sleep 100'", "runs\r\n")
type_in("\x1a")
wait_for("Stopped")
wait_for("IN> ")
run("bg", "IN> ")
continue_job()
type_in("\x03")
wait_for("IN> ")
type_in("\x03")
wait_for("IN> ")
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
run("stty size", "33 77\r\n", "IN> ")
run("exit 5", "OUT> ")
run("echo code=$?", "code=5\r\n", "OUT> ")
# A plain command: stops and continues as one job with the program around it, and gets Ctrl-C once.
run(f"{runner} bash -c 'trap \"echo o\"ne INT; sh -c \"echo r\\\"\\\"uns; exec sleep 1000\"; echo w''oken; sleep 0.3'", "runs\r\n")
type_in("\x1a")
wait_for("Stopped")
wait_for("OUT> ")
continue_job()
type_in("\x03")
wait_for("one\r\nwoken\r\n")
wait_for("OUT> ")
run(f"{runner} sleep 1000 & sleep 1; kill %%; wait; echo code=$?", "code=")
wait_for("OUT> ")
run(f"{runner} sh -c 'echo r''uns; exec sleep 1000'; echo code=$?", "runs\r\n")
type_in("\x03")
wait_for("code=130\r\n")
wait_for("OUT> ")
# A script that is not interactive gets the terminal back from a shell inside.
run(f"sh -c \"{runner} bash --norc --noprofile --noediting -i; echo re'ady'; cat; echo after\"", r"[$#>] ")
run("exit", "ready\r\n")
run("words", "words\r\nwords\r\n")
type_in("\x04")
wait_for("after\r\n")
wait_for("OUT> ")
type_in("exit\n")
print("all answered")
