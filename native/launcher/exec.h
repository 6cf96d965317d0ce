/*
 * One more command in a sandbox that runs already:
 *
 *   launcher exec --pid PID --start TICKS [--cwd DIR] [--nofile NUMBER] -- PROGRAM [ARGUMENT...]
 *
 *   PID, TICKS: the sandbox's init as seen from here, and its start time (protocol.h, REPLY_READY), so that no other process that
 *   has got its number since is entered.  DIR: where the command starts, by default here.  NUMBER: its soft limit of descriptors.
 *
 * Needs no channel: the user's program becomes this one. What goes wrong before the command runs is a line on standard error.
 */
#ifndef LAUNCHER_EXEC_H
#define LAUNCHER_EXEC_H

/* Returns the exit code: the command's, 128 + n where signal n ended it, 127 not found, 126 not executable, 125 it could not be started. */
int execute_inside(int count, char **arguments);

#endif
