/* A sandbox that nobody sits in front of. */
#ifndef LAUNCHER_DETACH_H
#define LAUNCHER_DETACH_H

/*
 * Leaves the terminal for a session of our own, with /dev/null as standard input and a pipe as standard output and error. Returns
 * the pipe's other end, non-blocking and close-on-exec.
 */
int detach(void);

#endif
