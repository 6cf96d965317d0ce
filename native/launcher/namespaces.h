/* Making and entering namespaces. A failure is reported and ends the process. */
#ifndef LAUNCHER_NAMESPACES_H
#define LAUNCHER_NAMESPACES_H

#include "options.h"

/* New user and network namespaces, in which the caller is nobody yet. */
void create_namespaces(void);
/* Maps the caller to itself, or to root, and gives the namespaces their hostname. */
void configure_namespaces(const struct options *options);

struct target {
  int pidfd; /* readable when the process has ended; -1: by path, or the kernel has none */
  char path[64];
  dev_t device; /* of the network namespace's file */
  ino_t inode;
};

/* Enters the network namespace of a process or a file, and the user namespace that owns it. */
struct target enter_namespaces(const struct options *options);
/* Whether the target still names the namespace that was entered. */
bool target_exists(const struct target *target, const struct options *options);

#endif
