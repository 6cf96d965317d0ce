/*
 * What the launcher and the program that started it say to each other over descriptor 3, a SOCK_SEQPACKET pair: one
 * message per packet, a header of four 32-bit words in the byte order of the machine, then text or nothing, and
 * descriptors beside it (SCM_RIGHTS). src/sandbox/launcher-protocol.ts is the other half and must agree.
 *
 * A message that is too short, of an unknown kind, or out of range is a bug of the other side: the launcher ends.
 */
#ifndef LAUNCHER_PROTOCOL_H
#define LAUNCHER_PROTOCOL_H

#include <stdint.h>

enum { CONTROL_FD = 3, MAX_TEXT = 8192, MAX_SOCKETS = 32, MAX_QUEUES = 16, MAX_CONFIGURATION = 65536 };

struct message {
  uint32_t kind;
  int32_t a, b, c;
};

/* To the launcher. */
enum request {
  REQUEST_START = 1,   /* run the command */
  REQUEST_SOCKETS = 2, /* a: family 4 or 6, or 0 with SOCKET_DIAGNOSTIC; b: SOCKET_; c: how many, 1 to MAX_SOCKETS */
  REQUEST_SIGNAL = 3,  /* a: number; b: 1 if it may have come from the terminal */
  REQUEST_RELEASE = 4, /* end everything */
  REQUEST_CONFIGURE = 5, /* the first one to a launcher that front.c forked, and to no other. a: how many of the last
                            arguments are the command, 0 with --hold; text: the words of options.h from `run` to before
                            `--`, each with a zero byte behind it, MAX_CONFIGURATION bytes at most */
};

enum {
  SOCKET_STREAM = 1,
  SOCKET_DATAGRAM = 2,
  SOCKET_DIAGNOSTIC = 3, /* NETLINK_SOCK_DIAG: asks the kernel which sockets there are inside */
};

/* From the launcher. */
enum reply {
  REPLY_READY = 1,   /* a: OFFLOAD_ bits, and READY_OUTPUT; b: the process id of init as seen from outside, 0 without one;
                        text: when init started (start time of /proc/PID/stat), 0 without one, then a note per line;
                        descriptors: the queues of the TAP, and with READY_OUTPUT the end of a pipe to read the command's
                        output from; then, always the last, a broker's (below) */
  REPLY_SOCKETS = 2, /* a, b: as asked; c: errno of the one that failed, or 0; descriptors: those made before */
  REPLY_EXITED = 3,  /* a: exit code or -1; b: signal or -1 */
  REPLY_FAILED = 4,  /* a: errno; text: the step, a line feed, a detail */
};

/*
 * To a broker (broker.h), over a SOCK_SEQPACKET socket of its own. It answers each with the same kind, `a` and `c`, and with an errno or
 * 0 as `b`. `c` is the asker's, to tell answers apart.
 */
enum broker_request {
  BROKER_FILE = 1,   /* a: one of the following; the answer's text is what is in it, MAX_BROKER_TEXT bytes at most */
  BROKER_REMOVE = 2, /* removes the sockets that it would remove at the end, now */
};

enum { BROKER_RESOLV_CONF = 1 };

enum { MAX_BROKER_TEXT = 65536 };

enum { OFFLOAD_TSO4 = 1, OFFLOAD_TSO6 = 2, OFFLOAD_USO = 4, OFFLOAD_CHECKSUM = 8, READY_OUTPUT = 16 };

#endif
