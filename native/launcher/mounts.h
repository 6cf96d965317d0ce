/* What the command sees of the file system: a /proc of its own, and /etc/resolv.conf and /etc/hosts with our text. */
#ifndef LAUNCHER_MOUNTS_H
#define LAUNCHER_MOUNTS_H

#include "options.h"

/* Cuts this mount namespace off, so that nothing of what follows reaches the host. */
void isolate_mounts(void);
/* A /proc for this PID namespace. False with errno where the host does not allow it (many containers do not). */
bool mount_proc(void);
/* Returns whether the sockets of the host's name service daemons could be closed to the command. */
bool mount_files(const struct options *options);

#endif
