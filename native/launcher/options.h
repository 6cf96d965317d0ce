/*
 * The launcher's command line:
 *
 *   launcher run    NETWORK [--root] [--hostname NAME] [--resolv-conf TEXT] [--hosts TEXT] -- PROGRAM [ARGUMENT...]
 *   launcher attach NETWORK (--pid PID | --path FILE)
 *
 *   NETWORK: --ifname NAME --mac AA:BB:CC:DD:EE:FF --mtu BYTES --address A.B.C.D --prefix BITS --gateway A.B.C.D
 *            [--congestion NAME,NAME...] [--ipv6 on|off] [--queues N]
 *
 * It is written by src/sandbox/launcher-protocol.ts, never by a person; a wrong one is reported as the step "options".
 */
#ifndef LAUNCHER_OPTIONS_H
#define LAUNCHER_OPTIONS_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

struct options {
  bool attach;
  const char *ifname;
  unsigned char mac[6];
  unsigned mtu;
  struct in_addr address;
  unsigned prefix;
  struct in_addr gateway;
  const char *congestion; /* names with commas between them; empty: the kernel's default */
  bool ipv6;
  unsigned queues; /* of the TAP, 1 to MAX_QUEUES */
  bool root;
  const char *hostname, *resolv_conf, *hosts; /* NULL: leave the host's */
  pid_t pid;                                  /* attach: 0 if by path */
  const char *path;
  char **command;
};

struct options parse_options(int count, char **arguments);

#endif
