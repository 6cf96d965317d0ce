/* The network inside: loopback, TAP, sysctls, address and routes, in the network namespace of this process. */
#ifndef LAUNCHER_NETWORK_H
#define LAUNCHER_NETWORK_H

#include "options.h"

struct tap {
  int fd;       /* non-blocking, close-on-exec, virtio-net header of 12 bytes */
  int offloads; /* OFFLOAD_ bits */
};

struct tap create_network(const struct options *options);

#endif
