// The way that packets take outside: TTL (hop limit), whether they may be fragmented, and what is known of their MTU.
//
// A datagram socket remembers what was last set (`path`, the word of SendTo), so that only a change costs system calls. A
// stream is given its TTL before its SYN leaves; then the error queue says which router gave up the SYN, until the
// connection stands: later a report of one (RFC 1122, 4.2.3.9) must not end it.
#include <errno.h>
#include <time.h>

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstring>

#include "endpoint.h"
#include "engine.h"

// <linux/in.h> does not go with <netinet/in.h>.
#ifndef IP_MTU
#define IP_MTU 14
#endif

namespace netns {

namespace {

constexpr uint16_t kDiscard = 9;  // a port, where any will do

void setOption(int fd, int level, int name, int value) { (void)setsockopt(fd, level, name, &value, sizeof(value)); }

void setHops(int fd, int family, int hops) {
  const int value = hops == 0 ? -1 : hops;  // -1: the kernel's own
  if (family == 4) setOption(fd, IPPROTO_IP, IP_TTL, value);
  else setOption(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, value);
}

void setReports(int fd, int family, int on) {
  if (family == 4) setOption(fd, IPPROTO_IP, IP_RECVERR, on);
  else setOption(fd, IPPROTO_IPV6, IPV6_RECVERR, on);
}

}  // namespace

// What SendTo asks for; a word without a wish about fragments leaves that as it is.
void Engine::setPath(Socket& s, int32_t path) {
  const int32_t hops = path & kPathHops;
  if (hops != (s.path & kPathHops)) setHops(s.fd, s.family, hops);
  const int32_t fragments = path & kPathFragments;
  if (fragments != (s.path & kPathFragments)) {
    // An IPv4 datagram that the sandbox lets routers fragment is lost nowhere. With IPv6 only the sender fragments.
    if (s.family == 4) {
      setOption(s.fd, IPPROTO_IP, IP_MTU_DISCOVER, fragments == kPathWhole ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
    } else {
      setOption(s.fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, fragments == kPathWhole ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_WANT);
    }
  }
  s.path = path;
}

// What the kernel knows of the MTU towards a place; 0: nothing. Only a connected socket can tell: one is made for the question.
int32_t Engine::pathMtu(const Endpoint& destination) {
  Endpoint place = destination;
  if (portOf(place) == 0) place.port[1] = kDiscard;
  sockaddr_storage address;
  const socklen_t length = toSockaddr(place, &address);
  if (length == 0) return 0;
  const bool v4 = place.family == 4;
  const int fd = socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  int mtu = 0;
  socklen_t size = sizeof(mtu);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      getsockopt(fd, v4 ? static_cast<int>(IPPROTO_IP) : static_cast<int>(IPPROTO_IPV6), v4 ? IP_MTU : IPV6_MTU, &mtu,
                 &size) != 0) {
    mtu = 0;
  }
  close(fd);
  return mtu;
}

// Before connect().
void Engine::traceConnect(int fd, int family, int32_t hops) {
  setHops(fd, family, hops);
  setReports(fd, family, 1);
}

void Engine::endTrace(Socket& s) {
  s.flags &= ~kTraced;
  setReports(s.fd, s.family, 0);
}

// Failed, with who reported it where the error queue knows.
void Engine::reportFailed(int32_t id) {
  Socket& s = sockets_[id];
  int32_t* record = event(EventKind::Failed, id);
  record[4] = s.error;
  record[5] = -1;
  Endpoint* endpoints = eventEndpoints();
  memset(endpoints, 0, 2 * sizeof(Endpoint));
  if (!(s.flags & kTraced)) return;
  alignas(cmsghdr) uint8_t control[256];
  msghdr message{};
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(s.fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
    const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
    const size_t least = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    sock_extended_err error;
    if ((!v4 && !v6) || c->cmsg_len < CMSG_LEN(sizeof(error) + least)) continue;
    memcpy(&error, CMSG_DATA(c), sizeof(error));
    if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) continue;
    record[5] = error.ee_type;
    record[6] = error.ee_code;
    sockaddr_storage offender;
    memcpy(&offender, CMSG_DATA(c) + sizeof(error), least);
    fromSockaddr(reinterpret_cast<sockaddr*>(&offender), &endpoints[1]);
  }
}

}  // namespace netns
