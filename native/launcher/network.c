/*
 * The order matters: what an interface does when it comes up (IPv6 addresses, duplicate address detection) is switched
 * before; routes want it up. The host's kernel may lack some of it, which is then a note and not a failure, except for
 * what nothing works without: TAP, address, routes.
 *
 * The congestion control is set on the routes, since the sysctl for a whole namespace is refused to ordinary users: the way
 * through the TAP loses nothing and has no bandwidth to find out, so a paced control (BBR) only slows it down. The same holds
 * for the way to the namespace's own addresses, over which spliced connections come (those of IPv4: an IPv6 route of the kernel's
 * has a metric that no request can name). A namespace that is not of our making keeps those routes as they are.
 *
 * Such a namespace may also be wanted as it was found: then only what is the interface's own is set, or (unconfigured) nothing
 * but its address on the link and its queue, and whoever is inside does the rest.
 */
#include "network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "control.h"
#include "netlink.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* The first queue makes the device, the others join it. Each is a descriptor of its own; all settings are the device's. */
static int open_queue(const struct options *options) {
  /* The device belongs to the network namespace in which the node was opened. */
  int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail("tun-open", errno, "/dev/net/tun");
  short several = options->queues > 1 ? IFF_MULTI_QUEUE : 0;
  struct ifreq request = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | several)};
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", options->ifname);
  if (ioctl(fd, TUNSETIFF, &request) < 0) fail("tap-create", errno, "%s", options->ifname);
  return fd;
}

static struct tap create_tap(const struct options *options) {
  struct tap tap = {.count = options->queues};
  for (unsigned i = 0; i < tap.count; i++) tap.queues[i] = open_queue(options);
  int fd = tap.queues[0], header = 12;
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) fail("tap-header", errno, "%s", options->ifname);

  static const struct {
    unsigned flags;
    int offloads;
  } choices[] = {
      {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6,
       OFFLOAD_CHECKSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6 | OFFLOAD_USO},
      {TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, OFFLOAD_CHECKSUM | OFFLOAD_TSO4 | OFFLOAD_TSO6},
      {TUN_F_CSUM, OFFLOAD_CHECKSUM},
      {0, 0},
  };
  for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
    if (ioctl(fd, TUNSETOFFLOAD, choices[i].flags) == 0) {
      tap.offloads = choices[i].offloads;
      break;
    }
  }
  /* A device that ends with its descriptor is waited for, some 20 ms. One in a namespace of ours may as well end with that, for
     which nobody waits. */
  if (!options->attach) ioctl(fd, TUNSETPERSIST, 1);
  return tap;
}

/* `name` with slashes. An entry that does not exist belongs to a kernel that needs no switch, and is no note. */
static void write_sysctl(const char *name, const char *value) {
  char path[128];
  snprintf(path, sizeof path, "/proc/sys/net/%s", name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return;
  if (fd < 0 || write(fd, value, strlen(value)) < 0) note("net/%s could not be set to %s inside: %s", name, value, strerror(errno));
  if (fd >= 0) close(fd);
}

/* Frames that wait to be read. A TAP does not stop its senders when its queue is full, it drops: with the kernel's default of 1000
   a thousand connections that begin at once lose their SYNs, with 4096 a burst of 5000 datagrams loses 500. A frame may hold 64 KiB of
   kernel memory, so not many more either. */
#define TAP_QUEUE 6144

static void write_interface_sysctl(const struct options *options, const char *name, const char *value) {
  char path[96];
  snprintf(path, sizeof path, "ipv6/conf/%s/%s", options->ifname, name);
  write_sysctl(path, value);
}

static void write_sysctls(const struct options *options) {
  char value[32];
  bool ipv6 = options->v6.address.family == AF_INET6;
  if (ipv6 || !options->as_found) write_interface_sysctl(options, "disable_ipv6", ipv6 ? "0" : "1");
  if (ipv6) {
    write_interface_sysctl(options, "accept_dad", "0"); /* nobody else is on this link */
    write_interface_sysctl(options, "accept_ra", "0");  /* all that it could tell is set here, and a second route has no congestion control */
  }
  if (options->as_found) return;
  /* The kernel chooses a frame's queue by a hash of addresses and ports, but leaves the ports out of it where there is a flow label:
     then what we write, which has none, would not lead the answers to the same queue. */
  if (options->queues > 1) write_sysctl("ipv6/auto_flowlabels", "0");
  gid_t group = getegid(); /* the only group that is surely mapped, and ranges beyond the map are refused */
  snprintf(value, sizeof value, "%u %u", group, group);
  write_sysctl("ipv4/ping_group_range", value);
  write_sysctl("ipv4/ip_unprivileged_port_start", "0");
}

static int add_routes(int netlink, int index, const struct subnet *subnet, const char *congestion) {
  int error = netlink_add_route(netlink, index, subnet, false, congestion);
  return error ? error : netlink_add_route(netlink, index, subnet, true, congestion);
}

static void change_local_routes(int netlink, int tap, const struct subnet *subnet, const char *congestion) {
  int lo = (int)if_nametoindex("lo");
  struct subnet network = {.address = {.family = AF_INET, .bytes = {127, 0, 0, 1}}, .prefix = 8}, loopback = network, own = *subnet;
  loopback.prefix = own.prefix = 32;
  int error = netlink_change_local_route(netlink, lo, &network, congestion);
  if (!error) error = netlink_change_local_route(netlink, lo, &loopback, congestion);
  if (!error) error = netlink_change_local_route(netlink, tap, &own, congestion);
  if (error) note("the loopback inside keeps the host's congestion control: %s", strerror(-error));
}

/* Tries each wished congestion control: one that the kernel does not have is refused with the first route. */
static int add_routes_with_congestion(int netlink, int index, const struct options *options, const struct subnet *subnet) {
  const char *congestion = options->congestion;
  if (!*congestion) return add_routes(netlink, index, subnet, NULL);
  char names[256];
  snprintf(names, sizeof names, "%s", congestion);
  char *rest = names, *name;
  while ((name = strsep(&rest, ","))) {
    if (!*name || strlen(name) > 15) continue;
    int error = add_routes(netlink, index, subnet, name);
    if (!error && !options->attach && subnet->address.family == AF_INET) change_local_routes(netlink, index, subnet, name);
    if (error != -EINVAL) return error;
  }
  note("none of the congestion controls %s is in this kernel: the host's default is used inside", congestion);
  return add_routes(netlink, index, subnet, NULL);
}

static void add_subnet(int netlink, int index, const struct options *options, const struct subnet *subnet) {
  if (subnet->address.family == AF_UNSPEC) return;
  int version = subnet->address.family == AF_INET ? 4 : 6;
  int error = netlink_add_address(netlink, index, subnet);
  if (error) fail("network", -error, "adding the IPv%d address to %s", version, options->ifname);
  error = add_routes_with_congestion(netlink, index, options, subnet);
  if (error) fail("network", -error, "adding the IPv%d routes through %s", version, options->ifname);
}

struct tap create_network(const struct options *options) {
  int netlink = netlink_open();
  if (netlink < 0) fail("network", -netlink, "netlink");
  int error = 0;
  if (!options->unconfigured) error = netlink_set_link(netlink, (int)if_nametoindex("lo"), true, NULL, 0, 0);
  if (error) fail("network", -error, "setting lo up");

  struct tap tap = create_tap(options);
  int index = (int)if_nametoindex(options->ifname);
  if (options->unconfigured) {
    error = netlink_set_link(netlink, index, false, options->mac, 0, TAP_QUEUE);
    if (error) fail("network", -error, "setting the address of %s", options->ifname);
    close(netlink);
    return tap;
  }
  write_sysctls(options);
  error = netlink_set_link(netlink, index, true, options->mac, options->mtu, TAP_QUEUE);
  if (error) fail("network", -error, "setting %s up with MTU %u", options->ifname, options->mtu);
  add_subnet(netlink, index, options, &options->v4);
  add_subnet(netlink, index, options, &options->v6);
  close(netlink);
  return tap;
}
