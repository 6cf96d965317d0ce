/* What /proc tells of processes, and ending everything that descends from this one, where no PID namespace does it. */
#ifndef LAUNCHER_PROCESSES_H
#define LAUNCHER_PROCESSES_H

#include <stdint.h>

/* When a process started, in ticks since the host did; `directory` is its /proc/PID. 0: it has ended. */
uint64_t start_time(int directory);

/* Kills and reaps all descendants. The caller is a child subreaper (PR_SET_CHILD_SUBREAPER), so orphans stay below it. */
void end_descendants(void);

#endif
