#include "netlink.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
  struct nlmsghdr header;
  char body[512]; /* all attributes that we ever put together are below 200 bytes */
};

static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t family_header) {
  memset(request, 0, sizeof *request);
  request->header.nlmsg_len = NLMSG_LENGTH((uint32_t)family_header);
  request->header.nlmsg_type = type;
  request->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
  return NLMSG_DATA(&request->header);
}

static struct rtattr *put(struct request *request, uint16_t type, const void *value, size_t length) {
  struct rtattr *attribute = (struct rtattr *)((char *)request + NLMSG_ALIGN(request->header.nlmsg_len));
  attribute->rta_type = type;
  attribute->rta_len = (uint16_t)RTA_LENGTH(length);
  if (length) memcpy(RTA_DATA(attribute), value, length);
  request->header.nlmsg_len = NLMSG_ALIGN(request->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
  return attribute;
}

static int talk(int netlink, struct request *request) {
  if (send(netlink, request, request->header.nlmsg_len, 0) < 0) return -errno;
  char buffer[4096];
  ssize_t length = recv(netlink, buffer, sizeof buffer, 0);
  if (length < 0) return -errno;
  if ((size_t)length < NLMSG_LENGTH(sizeof(struct nlmsgerr))) return -EPROTO;
  struct nlmsgerr answer;
  memcpy(&answer, buffer + NLMSG_HDRLEN, sizeof answer);
  return answer.error;
}

int netlink_open(void) {
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  return fd < 0 ? -errno : fd;
}

int netlink_set_link(int netlink, int index, bool up, const unsigned char *mac, unsigned mtu, unsigned queue) {
  struct request request;
  struct ifinfomsg *link = begin(&request, RTM_NEWLINK, 0, sizeof *link);
  link->ifi_index = index;
  if (up) link->ifi_flags = link->ifi_change = IFF_UP;
  if (mac) put(&request, IFLA_ADDRESS, mac, 6);
  if (mtu) put(&request, IFLA_MTU, &mtu, sizeof mtu);
  if (queue) put(&request, IFLA_TXQLEN, &queue, sizeof queue);
  return talk(netlink, &request);
}

static size_t length_of(const struct address *address) { return address->family == AF_INET ? 4 : 16; }

/* The address with the bits behind the prefix set to 0, or to 1. */
static struct address edge(const struct subnet *subnet, bool last) {
  struct address address = subnet->address;
  for (size_t bit = subnet->prefix; bit < 8 * length_of(&address); bit++) {
    unsigned char mask = (unsigned char)(0x80 >> bit % 8);
    if (last) address.bytes[bit / 8] |= mask;
    else address.bytes[bit / 8] &= (unsigned char)~mask;
  }
  return address;
}

int netlink_add_address(int netlink, int index, const struct subnet *subnet) {
  struct request request;
  const struct address *address = &subnet->address;
  struct ifaddrmsg *entry = begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *entry);
  entry->ifa_family = (uint8_t)address->family;
  entry->ifa_prefixlen = (uint8_t)subnet->prefix;
  entry->ifa_index = (uint32_t)index;
  put(&request, IFA_LOCAL, address->bytes, length_of(address));
  put(&request, IFA_ADDRESS, address->bytes, length_of(address));
  uint32_t flags = IFA_F_NOPREFIXROUTE;
  if (address->family == AF_INET6) {
    flags |= IFA_F_NODAD; /* usable at once: nobody else is on this link */
  } else if (subnet->prefix < 31) {
    struct address broadcast = edge(subnet, true);
    put(&request, IFA_BROADCAST, broadcast.bytes, length_of(&broadcast));
  }
  put(&request, IFA_FLAGS, &flags, sizeof flags);
  return talk(netlink, &request);
}

static void put_congestion(struct request *request, const char *congestion) {
  struct rtattr *metrics = put(request, RTA_METRICS, NULL, 0);
  put(request, RTAX_CC_ALGO, congestion, strlen(congestion));
  metrics->rta_len = (uint16_t)((char *)request + request->header.nlmsg_len - (char *)metrics);
}

int netlink_add_route(int netlink, int index, const struct subnet *subnet, bool everywhere, const char *congestion) {
  struct request request;
  const struct address *source = &subnet->address;
  size_t length = length_of(source);
  struct rtmsg *route = begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *route);
  route->rtm_family = (uint8_t)source->family;
  route->rtm_dst_len = (uint8_t)(everywhere ? 0 : subnet->prefix);
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_scope = everywhere || source->family == AF_INET6 ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  route->rtm_type = RTN_UNICAST;
  if (everywhere) {
    put(&request, RTA_GATEWAY, subnet->gateway.bytes, length);
  } else {
    struct address network = edge(subnet, false);
    put(&request, RTA_DST, network.bytes, length);
  }
  put(&request, RTA_PREFSRC, source->bytes, length);
  put(&request, RTA_OIF, &index, sizeof index);
  if (congestion) put_congestion(&request, congestion);
  return talk(netlink, &request);
}

int netlink_change_local_route(int netlink, int index, const struct subnet *subnet, const char *congestion) {
  struct request request;
  struct address network = edge(subnet, false);
  struct rtmsg *route = begin(&request, RTM_NEWROUTE, NLM_F_REPLACE, sizeof *route);
  route->rtm_family = AF_INET;
  route->rtm_dst_len = (uint8_t)subnet->prefix;
  route->rtm_table = RT_TABLE_LOCAL;
  route->rtm_protocol = RTPROT_KERNEL;
  route->rtm_scope = RT_SCOPE_HOST;
  route->rtm_type = RTN_LOCAL;
  put(&request, RTA_DST, network.bytes, length_of(&network));
  put(&request, RTA_PREFSRC, subnet->address.bytes, length_of(&network));
  put(&request, RTA_OIF, &index, sizeof index);
  put_congestion(&request, congestion);
  return talk(netlink, &request);
}
