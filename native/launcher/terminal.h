/* The terminal's foreground process group, which a shell inside takes and may not be able to give back. */
#ifndef LAUNCHER_TERMINAL_H
#define LAUNCHER_TERMINAL_H

#include <sys/types.h>

struct terminal {
  int fd;           /* the controlling terminal, or -1 */
  pid_t foreground; /* the group that had it at the start */
};

struct terminal open_terminal(void);
/*
 * Gives the terminal back to the group that had it at the start, if the group that has it now is gone. To be called with
 * SIGTTOU blocked.
 */
void restore_terminal(struct terminal terminal);

#endif
