/* The network inside: loopback, TAP, sysctls, address and routes, in the network namespace of this process. */
#ifndef LAUNCHER_NETWORK_H
#define LAUNCHER_NETWORK_H

#include "options.h"
#include "protocol.h"

struct tap {
  int queues[MAX_QUEUES]; /* non-blocking, close-on-exec, virtio-net header of 12 bytes */
  unsigned count;
  int offloads; /* OFFLOAD_ bits */
};

struct tap create_network(const struct options *options);

#endif
