/* The few rtnetlink requests (rtnetlink(7)) that bring an interface to life. All return 0 or -errno. */
#ifndef LAUNCHER_NETLINK_H
#define LAUNCHER_NETLINK_H

#include <netinet/in.h>

int netlink_open(void);
/* `mac` NULL, `mtu` 0, `queue` (frames) 0: leave as it is. Also sets the interface up. */
int netlink_link_up(int netlink, int index, const unsigned char *mac, unsigned mtu, unsigned queue);
/* Adds the address without the route that the kernel would add by itself, so that ours can carry metrics. */
int netlink_add_address(int netlink, int index, struct in_addr address, unsigned prefix);
/* A route to `destination`/`prefix`, on the link if `gateway` is 0. `congestion` NULL: the kernel's default. */
int netlink_add_route(int netlink, int index, struct in_addr destination, unsigned prefix, struct in_addr gateway,
                      struct in_addr source, const char *congestion);

#endif
