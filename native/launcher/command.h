/* The command's own process, from fork to exec. */
#ifndef LAUNCHER_COMMAND_H
#define LAUNCHER_COMMAND_H

#include <signal.h>

/* Never returns: executes the command, or says why not on standard error and ends with 127 (not found) or 126. */
_Noreturn void execute_command(char **command, const sigset_t *mask);

#endif
