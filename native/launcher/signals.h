/* A process that gets the signals of its process group, and tells which of them the command has got already. */
#ifndef LAUNCHER_SIGNALS_H
#define LAUNCHER_SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct witness {
  int signals;        /* a signalfd */
  int64_t seen[NSIG]; /* when each signal came to us, 0: not, or told already */
};

/*
 * Blocks all that may stay blocked, and watches those but SIGCHLD. Returns false with errno; else `before` is the mask that was
 * in force before.
 */
bool watch_signals(struct witness *witness, sigset_t *before);

/* To be called when `signals` is readable. */
void note_signals(struct witness *witness);

/* Whether `command`, a process id or 0, has a signal already that is to be passed on to it: it came to the group of us both. */
bool command_has(struct witness *witness, int number, pid_t command);

#endif
