/* What a process of ours that only waits keeps in memory. */
#ifndef LAUNCHER_MEMORY_H
#define LAUNCHER_MEMORY_H

/* Gives the pages of code and constants back that the set-up used; what is used again comes from the page cache. */
void forget_code(void);

#endif
