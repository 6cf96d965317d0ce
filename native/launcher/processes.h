/* Ending everything that descends from this process, for hosts where no PID namespace does it. */
#ifndef LAUNCHER_PROCESSES_H
#define LAUNCHER_PROCESSES_H

/* Kills and reaps all descendants. The caller is a child subreaper (PR_SET_CHILD_SUBREAPER), so orphans stay below it. */
void end_descendants(void);

#endif
