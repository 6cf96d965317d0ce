/* The sandbox's first process: prepares what the command sees, starts it, reaps, and reports how the command ended. */
#ifndef LAUNCHER_INIT_H
#define LAUNCHER_INIT_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "options.h"

/* On the link between supervisor and init, a SOCK_SEQPACKET pair with the messages of protocol.h. */
enum link_message {
  LINK_PREPARED = 1,     /* init: mounts are done, START may come; a: 1 if the host's name services are closed */
  LINK_PROC_REFUSED = 2, /* init: the host refuses a new /proc; a: errno; init ends */
  LINK_START = 3,        /* supervisor */
  LINK_STARTED = 4,      /* the command itself, right before exec: its credentials tell its process id */
  LINK_SIGNAL = 5,       /* supervisor; a: number */
  LINK_EXITED = 6,       /* init: the command has ended; a: code or -1; b: signal or -1 */
};

struct init {
  pid_t pid;
  int link;
};

/*
 * Starts init, in a new PID namespace if `isolated`, always in a new mount namespace, and returns at once.
 * `mask`: the signal mask that the command gets.
 */
struct init start_init(const struct options *options, bool isolated, const sigset_t *mask);

#endif
