/*
 * The launcher's command line:
 *
 *   launcher run    NETWORK [--root] [--hostname NAME] [--resolv-conf TEXT] [--hosts TEXT] [--detach]
 *                   (-- PROGRAM [ARGUMENT...] | --hold)
 *   launcher attach NETWORK (--pid PID | --path FILE) [--userns FILE] [--as-found] [--unconfigured]
 *
 *   NETWORK: --ifname NAME --mac AA:BB:CC:DD:EE:FF --mtu BYTES [--congestion NAME,NAME...] [--queues N]
 *            [--address ADDRESS/BITS --gateway ADDRESS]     IPv4
 *            [--address6 ADDRESS/BITS --gateway6 ADDRESS]   IPv6
 *
 *   --hold: there is no command, init lives until it is released.  --detach: see detach.h
 *   --as-found: settings of the whole namespace stay. --unconfigured: so does all else, and the interface is made but left down.
 *
 * It is written by src/sandbox/launcher-protocol.ts, never by a person; a wrong one is reported as the step "options".
 */
#ifndef LAUNCHER_OPTIONS_H
#define LAUNCHER_OPTIONS_H

#include <net/if.h>
#include <stdbool.h>
#include <sys/types.h>

/* Of one family: `bytes` are 4 or 16. */
struct address {
  int family; /* AF_INET, AF_INET6; AF_UNSPEC: none */
  unsigned char bytes[16];
};

/* What the interface has of one family. */
struct subnet {
  struct address address;
  unsigned prefix;
  struct address gateway;
};

struct options {
  bool attach;
  const char *ifname;
  unsigned char mac[6];
  unsigned mtu;
  struct subnet v4, v6;   /* of family AF_UNSPEC where the sandbox does not have it */
  const char *congestion; /* names with commas between them; empty: the kernel's default */
  unsigned queues; /* of the TAP, 1 to MAX_QUEUES */
  bool root;
  const char *hostname, *resolv_conf, *hosts; /* NULL: leave the host's */
  pid_t pid;                                  /* attach: 0 if by path */
  const char *path;
  const char *userns; /* the user namespace to enter before; NULL: the one that owns the network namespace */
  bool as_found, unconfigured;
  bool hold;
  bool detach;
  char **command; /* NULL: hold, attach */
};

struct options parse_options(int count, char **arguments);

/*
 * The same for a launcher that front.c forked: waits for REQUEST_CONFIGURE, and takes the command from the end of `arguments`.
 * Ends this process when the channel ends instead.
 */
struct options receive_options(int count, char **arguments);

#endif
