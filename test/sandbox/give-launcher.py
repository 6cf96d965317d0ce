"""
In Node's place behind `launcher front`: gives the channel of the launcher that was forked for us to who listens at a path, as the
program does for a server: give-launcher.py create|run PATH WHAT -- COMMAND... WHAT: `leave` at once, or `wait` for the end of input.
"""
import array, os, socket, sys

server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
server.connect(sys.argv[2])
fd, pid = map(int, os.environ["NETNS_ROOTLESS_LAUNCHER"].split())
server.sendmsg([f"{pid} {os.getpid()}".encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
os.close(fd)
server.recv(1)
if sys.argv[3] == "wait":
    sys.stdin.read()
