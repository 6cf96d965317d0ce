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

int netlink_link_up(int netlink, int index, const unsigned char *mac, unsigned mtu, unsigned queue) {
  struct request request;
  struct ifinfomsg *link = begin(&request, RTM_NEWLINK, 0, sizeof *link);
  link->ifi_index = index;
  link->ifi_flags = IFF_UP;
  link->ifi_change = IFF_UP;
  if (mac) put(&request, IFLA_ADDRESS, mac, 6);
  if (mtu) put(&request, IFLA_MTU, &mtu, sizeof mtu);
  if (queue) put(&request, IFLA_TXQLEN, &queue, sizeof queue);
  return talk(netlink, &request);
}

int netlink_add_address(int netlink, int index, struct in_addr address, unsigned prefix) {
  struct request request;
  struct ifaddrmsg *entry = begin(&request, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof *entry);
  entry->ifa_family = AF_INET;
  entry->ifa_prefixlen = (uint8_t)prefix;
  entry->ifa_index = (uint32_t)index;
  put(&request, IFA_LOCAL, &address, sizeof address);
  put(&request, IFA_ADDRESS, &address, sizeof address);
  struct in_addr broadcast = {.s_addr = address.s_addr | htonl(UINT32_MAX >> prefix)};
  if (prefix < 31) put(&request, IFA_BROADCAST, &broadcast, sizeof broadcast);
  uint32_t flags = IFA_F_NOPREFIXROUTE;
  put(&request, IFA_FLAGS, &flags, sizeof flags);
  return talk(netlink, &request);
}

int netlink_add_route(int netlink, int index, struct in_addr destination, unsigned prefix, struct in_addr gateway,
                      struct in_addr source, const char *congestion) {
  struct request request;
  struct rtmsg *route = begin(&request, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof *route);
  route->rtm_family = AF_INET;
  route->rtm_dst_len = (uint8_t)prefix;
  route->rtm_table = RT_TABLE_MAIN;
  route->rtm_protocol = RTPROT_STATIC;
  route->rtm_scope = gateway.s_addr ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
  route->rtm_type = RTN_UNICAST;
  if (prefix) put(&request, RTA_DST, &destination, sizeof destination);
  if (gateway.s_addr) put(&request, RTA_GATEWAY, &gateway, sizeof gateway);
  put(&request, RTA_PREFSRC, &source, sizeof source);
  put(&request, RTA_OIF, &index, sizeof index);
  if (congestion) {
    struct rtattr *metrics = put(&request, RTA_METRICS, NULL, 0);
    put(&request, RTAX_CC_ALGO, congestion, strlen(congestion));
    metrics->rta_len = (uint16_t)((char *)&request + request.header.nlmsg_len - (char *)metrics);
  }
  return talk(netlink, &request);
}
