/* The launcher's life after the set-up. */
#ifndef LAUNCHER_SUPERVISOR_H
#define LAUNCHER_SUPERVISOR_H

#include "namespaces.h"
#include "network.h"
#include "options.h"

/*
 * Both return the launcher's own exit code when there is nothing left of the sandbox. `output`: where to read what the command
 * says, to be passed on to who started us; -1: it says that itself.
 */
int supervise_command(const struct options *options, int output);
int supervise_target(const struct options *options, const struct target *target, struct tap tap);

#endif
