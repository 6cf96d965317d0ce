/* The few rtnetlink requests (rtnetlink(7)) that bring an interface to life. All return 0 or -errno. */
#ifndef LAUNCHER_NETLINK_H
#define LAUNCHER_NETLINK_H

#include "options.h"

int netlink_open(void);
/* `mac` NULL, `mtu` 0, `queue` (frames) 0: leave as it is. `up`: also sets the interface up. */
int netlink_set_link(int netlink, int index, bool up, const unsigned char *mac, unsigned mtu, unsigned queue);
/* Adds the subnet's address without the route that the kernel would add by itself, so that ours can carry metrics. */
int netlink_add_address(int netlink, int index, const struct subnet *subnet);
/* A route from the subnet's address: to everywhere by its gateway (`everywhere`), or to the subnet itself on the link.
   `congestion` NULL: the kernel's default. */
int netlink_add_route(int netlink, int index, const struct subnet *subnet, bool everywhere, const char *congestion);
/* Puts a congestion control on the route that the kernel made to an IPv4 address of our own, or to the network that is all ours. */
int netlink_change_local_route(int netlink, int index, const struct subnet *subnet, const char *congestion);

#endif
