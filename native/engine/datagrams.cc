// Datagram sockets: UDP, and ICMP echo (ping sockets).
//
// In: recvmsg() until nothing is left. Datagrams of one length that follow each other from one place to one place lie behind
// each other in one slot and are one record, a run, so that they enter the sandbox as one frame: the kernel made it
// (UDP_GRO), or each datagram is received directly behind the one before, where all but the last must be equally long.
// Out: runs leave with one call (UDP_SEGMENT), one by one where the kernel refuses that.
//
// Errors come in three ways. Those that an ICMP message reported lie in the socket's error queue (IP_RECVERR), with the
// beginning of the datagram; the kernel also fails the next call on the socket once, which is therefore tried again.
// What fails twice was refused by the host itself (no route, too long, forbidden): the next turn reports it as such.
// A full send buffer drops the datagram, and counts it.
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "endpoint.h"
#include "engine.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace netns {

namespace {

constexpr int kErrorsPerVisit = 32;
constexpr int kMaxSegments = 64;
// Payload of the longest datagram of IPv4 (as much leaves with one call), and of IPv6.
constexpr int32_t kMaxDatagram = 65507;
constexpr int32_t kLongestDatagram = 65527;
constexpr int kReceiveBuffer = 1 << 20;
constexpr size_t kControlSize = 512;

bool setOption(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof(value)) == 0;
}

bool isPassing(int error) { return error == EAGAIN || error == ENOBUFS || error == ENOMEM; }

template <typename T>
void addControl(msghdr* message, uint8_t* control, int level, int type, const T& value) {
  auto* header = reinterpret_cast<cmsghdr*>(control + message->msg_controllen);
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(sizeof(T));
  memcpy(CMSG_DATA(header), &value, sizeof(T));
  message->msg_control = control;
  message->msg_controllen += CMSG_SPACE(sizeof(T));
}

// Datagrams of one record that more may join.
struct Run {
  int32_t* record = nullptr;
  uint8_t* end = nullptr;
  size_t size = 0;   // of each
  int32_t room = 0;  // how many more
};

// Whom a received datagram is from and to. Returns the length of each of several that the kernel put together, else 0.
int32_t readAncillary(msghdr* message, ssize_t length, const Endpoint& local, Endpoint* endpoints) {
  int segment = 0;
  fromSockaddr(static_cast<sockaddr*>(message->msg_name), &endpoints[0]);
  endpoints[1] = local;
  for (cmsghdr* c = CMSG_FIRSTHDR(message); c != nullptr; c = CMSG_NXTHDR(message, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof(info));
      // The one that it came to, or where that was everybody's, the one to answer from.
      setAddress4(&endpoints[1], &info.ipi_spec_dst);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      memcpy(&info, CMSG_DATA(c), sizeof(info));
      if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) setAddress6(&endpoints[1], &info.ipi6_addr, info.ipi6_ifindex);
    } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      memcpy(&segment, CMSG_DATA(c), sizeof(segment));
    }
  }
  return segment < length ? segment : 0;
}

}  // namespace

// Common to all: takes the (bound or connected) descriptor over.
int32_t Engine::openDatagramSocket(int fd, Kind kind, int family) {
  if (family == 4) {
    setOption(fd, IPPROTO_IP, IP_RECVERR, 1);
    setOption(fd, IPPROTO_IP, IP_PKTINFO, 1);
  } else {
    setOption(fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
    setOption(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  if (kind == Kind::Datagram) {
    setOption(fd, IPPROTO_UDP, UDP_GRO, 1);
    setOption(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBuffer);
  }
  const int32_t id = adopt(fd, kind, family, State::Open, EPOLLIN | EPOLLET);
  if (id < 0) return id;
  Socket& s = sockets_[id];
  if (kind == Kind::Datagram) s.flags |= kGso;
  memset(&s.local, 0, sizeof(s.local));
  (void)localEndpoint(id, &s.local);
  return id;
}

int32_t Engine::openDatagram(int family, const Endpoint* local) {
  const int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  if (family == 6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  // Bound even without a wish, so that the port is known from the start.
  Endpoint any{};
  any.family = static_cast<uint8_t>(family);
  sockaddr_storage address;
  const socklen_t length = toSockaddr(local != nullptr && local->family != 0 ? *local : any, &address);
  if (length == 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    const int error = length == 0 ? EAFNOSUPPORT : errno;
    close(fd);
    return -error;
  }
  return openDatagramSocket(fd, Kind::Datagram, family);
}

int32_t Engine::openDatagramWith(int fd, const Endpoint* remote) {
  if (fd < 0) return -EBADF;
  int domain = 0;
  int type = 0;
  socklen_t length = sizeof(int);
  int error = 0;
  sockaddr_storage address;
  const int flags = fcntl(fd, F_GETFL);
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 ||
      getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || flags < 0 ||
      fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    error = errno;
  } else if (type != SOCK_DGRAM || (domain != AF_INET && domain != AF_INET6)) {
    error = EPROTOTYPE;
  } else if (remote != nullptr && remote->family != 0) {
    const socklen_t size = toSockaddr(*remote, &address);
    if (size == 0) error = EAFNOSUPPORT;
    else if (::connect(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) error = errno;
  }
  if (error != 0) {
    close(fd);
    return -error;
  }
  return openDatagramSocket(fd, Kind::Datagram, domain == AF_INET ? 4 : 6);
}

int32_t Engine::openPing(int family, const Endpoint* local) {
  const int fd = socket(family == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                        family == 4 ? static_cast<int>(IPPROTO_ICMP) : static_cast<int>(IPPROTO_ICMPV6));
  if (fd < 0) return -errno;
  if (local != nullptr && local->family != 0) {
    sockaddr_storage address;
    const socklen_t length = toSockaddr(*local, &address);
    if (length == 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
      const int error = length == 0 ? EAFNOSUPPORT : errno;
      close(fd);
      return -error;
    }
  }
  return openDatagramSocket(fd, Kind::Ping, family);
}

bool Engine::visitDatagram(int32_t id) {
  Socket& s = sockets_[id];
  if (s.flags & kError) drainErrors(id);
  Run run;
  while (s.flags & kReadable) {
    if (eventsFull() || free_count_ == 0) return true;
    uint8_t* next = slotAt(free_slots_[free_count_ - 1]) + kHeadroom;
    const bool joins = run.room > 0;
    iovec vectors[2] = {{next, kLongestDatagram}, {}};
    if (joins) {
      // What is longer than the datagrams of the run ends in the next slot, and its beginning is copied there.
      vectors[0] = {run.end, run.size};
      vectors[1] = {next + run.size, kLongestDatagram - run.size};
    }
    alignas(cmsghdr) uint8_t control[kControlSize];
    sockaddr_storage from;
    from.ss_family = AF_UNSPEC;
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof(from);
    message.msg_iov = vectors;
    message.msg_iovlen = joins ? 2 : 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = recvmsg(s.fd, &message, MSG_DONTWAIT);
    if (n < 0) {
      run.room = 0;  // the errors have records of their own
      if (errno == EAGAIN) s.flags &= ~kReadable;
      else if (errno != EINTR) drainErrors(id);
      continue;
    }
    if (message.msg_flags & MSG_TRUNC) {
      counters_.datagrams_truncated++;
      continue;
    }
    Endpoint endpoints[2];
    const int32_t segment = readAncillary(&message, n, s.local, endpoints);
    const auto length = static_cast<size_t>(n);
    const bool same = joins && length > 0 && length <= run.size && segment == 0 &&
                      memcmp(endpoints, eventEndpoints(), sizeof(endpoints)) == 0;
    if (same) {
      run.record[3] += static_cast<int32_t>(n);
      run.record[4] = static_cast<int32_t>(run.size);
      run.end += length;
      run.room = length == run.size ? run.room - 1 : 0;
    } else {
      if (joins) memcpy(next, run.end, std::min(length, run.size));
      int32_t* record = event(EventKind::Datagram, id);
      record[2] = takeSlot();
      record[3] = static_cast<int32_t>(n);
      record[4] = segment;
      memcpy(eventEndpoints(), endpoints, sizeof(endpoints));
      run = Run{record, next + length, length, 0};
      if (s.kind == Kind::Datagram && segment == 0 && length > 0) {
        run.room = std::min<int32_t>(kMaxSegments, kMaxPayload / static_cast<int32_t>(n)) - 1;
      }
    }
    const int32_t datagrams = segment > 0 ? (static_cast<int32_t>(n) + segment - 1) / segment : 1;
    counters_.datagrams_received += static_cast<uint64_t>(datagrams);
    counters_.datagram_bytes_received += static_cast<uint64_t>(n);
    turn_datagrams_ += datagrams;
    byte_budget_ -= static_cast<int32_t>(n);
    if (byte_budget_ <= 0 || turn_datagrams_ >= kDatagramsPerTurn) return true;
  }
  return (s.flags & (kReadable | kError)) != 0;
}

// Reports what lies in the error queue. kError stays set while something may be left.
void Engine::drainErrors(int32_t id) {
  Socket& s = sockets_[id];
  for (int i = 0; i < kErrorsPerVisit; i++) {
    s.flags |= kError;
    if (eventsFull() || free_count_ == 0) return;
    iovec vector{slotAt(free_slots_[free_count_ - 1]) + kHeadroom, kLongestDatagram};
    alignas(cmsghdr) uint8_t control[kControlSize];
    sockaddr_storage to;
    to.ss_family = AF_UNSPEC;
    msghdr message{};
    message.msg_name = &to;
    message.msg_namelen = sizeof(to);
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = recvmsg(s.fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT);
    if (n < 0) {
      if (errno == EINTR) continue;
      s.flags &= ~kError;
      return;
    }
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      const bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR;
      const bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR;
      if (!v4 && !v6) continue;
      sock_extended_err error;
      memcpy(&error, CMSG_DATA(c), sizeof(error));
      // What the host itself refused was answered by sendmsg() already.
      if (error.ee_origin != SO_EE_ORIGIN_ICMP && error.ee_origin != SO_EE_ORIGIN_ICMP6) break;
      int32_t* record = event(EventKind::DatagramFailed, id);
      record[2] = takeSlot();
      record[3] = static_cast<int32_t>(n);
      record[4] = static_cast<int32_t>(error.ee_errno);
      record[5] = error.ee_type;
      record[6] = error.ee_code;
      record[7] = static_cast<int32_t>(error.ee_info);
      Endpoint* endpoints = eventEndpoints();
      fromSockaddr(reinterpret_cast<sockaddr*>(&to), &endpoints[0]);
      memset(&endpoints[1], 0, sizeof(Endpoint));
      sockaddr_storage offender;
      const size_t least = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      if (c->cmsg_len >= CMSG_LEN(sizeof(error) + least)) {
        memcpy(&offender, CMSG_DATA(c) + sizeof(error), least);
        fromSockaddr(reinterpret_cast<sockaddr*>(&offender), &endpoints[1]);
      }
      counters_.datagram_errors++;
      break;
    }
  }
}

// What sendmsg() refused in the turn before.
void Engine::reportRefusals() {
  int32_t done = 0;
  for (; done < refusal_count_ && free_count_ > 0 && !eventsFull(); done++) {
    const Refusal& refusal = refusals_[done];
    const Socket& s = sockets_[refusal.socket];
    if (s.kind == Kind::Free || s.generation != refusal.generation) continue;
    int32_t* record = event(EventKind::DatagramFailed, refusal.socket);
    record[2] = takeSlot();
    record[3] = refusal.length;
    record[4] = refusal.error;
    record[5] = -1;
    record[7] = refusal.mtu;
    memcpy(slotAt(record[2]) + kHeadroom, refusal.bytes, static_cast<size_t>(refusal.length));
    eventEndpoints()[0] = refusal.destination;
    memset(&eventEndpoints()[1], 0, sizeof(Endpoint));
    counters_.datagram_errors++;
  }
  refusal_count_ -= done;
  memmove(refusals_, refusals_ + done, static_cast<size_t>(refusal_count_) * sizeof(Refusal));
}

// `addresses`: destination and source. With `segment` > 0 the vectors hold datagrams of that length, the last may be shorter.
void Engine::sendDatagrams(int32_t id, const Endpoint* addresses, iovec* vectors, int count, int32_t segment) {
  if (segment <= 0 || count > 1) {
    sendOne(id, addresses, vectors, count, segment);
    return;
  }
  const int32_t run = std::max(1, std::min(kMaxSegments, kMaxDatagram / segment)) * segment;
  auto* at = static_cast<uint8_t*>(vectors->iov_base);
  int32_t left = static_cast<int32_t>(vectors->iov_len);
  while (left > 0) {
    iovec part{at, static_cast<size_t>(std::min(left, run))};
    sendOne(id, addresses, &part, 1, segment);
    at += part.iov_len;
    left -= static_cast<int32_t>(part.iov_len);
  }
}

void Engine::sendOne(int32_t id, const Endpoint* addresses, iovec* vectors, int count, int32_t segment) {
  Socket& s = sockets_[id];
  size_t total = 0;
  for (int i = 0; i < count; i++) total += vectors[i].iov_len;
  const bool several = segment > 0 && total > static_cast<size_t>(segment);
  const uint64_t datagrams = several ? (total + static_cast<size_t>(segment) - 1) / static_cast<size_t>(segment) : 1;

  sockaddr_storage destination;
  alignas(cmsghdr) uint8_t control[kControlSize];
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = static_cast<size_t>(count);
  message.msg_namelen = toSockaddr(addresses[0], &destination);
  if (message.msg_namelen > 0) message.msg_name = &destination;
  memset(control, 0, sizeof(control));
  if (addresses[1].family == 4 && s.family == 4) {
    in_pktinfo info{};
    memcpy(&info.ipi_spec_dst, addresses[1].address + 12, 4);
    addControl(&message, control, IPPROTO_IP, IP_PKTINFO, info);
  } else if (addresses[1].family == 6 && s.family == 6) {
    in6_pktinfo info{};
    memcpy(&info.ipi6_addr, addresses[1].address, 16);
    addControl(&message, control, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  if (several && (s.flags & kGso)) addControl(&message, control, IPPROTO_UDP, UDP_SEGMENT, static_cast<uint16_t>(segment));

  int error = 0;
  if (!several || (s.flags & kGso)) {
    for (int tries = 0; tries < 2;) {
      if (sendmsg(s.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) {
        counters_.datagrams_sent += datagrams;
        counters_.datagram_bytes_sent += total;
        turn_datagrams_ += static_cast<int32_t>(datagrams);
        return;
      }
      error = errno;
      if (error == EINTR) continue;
      if (isPassing(error)) {
        counters_.datagram_send_drops += datagrams;
        return;
      }
      // It may be the error of an earlier datagram: those wait in the error queue, and the call is worth another try.
      s.flags |= kError;
      activate(id);
      tries++;
    }
  }
  if (several) {
    // No segmentation here (too many bytes for the route's MTU, or the kernel or device cannot): one by one.
    counters_.segment_fallbacks++;
    for (int i = 0; i < count; i++) {
      auto* at = static_cast<uint8_t*>(vectors[i].iov_base);
      for (size_t done = 0; done < vectors[i].iov_len;) {
        iovec part{at + done, std::min(vectors[i].iov_len - done, static_cast<size_t>(segment))};
        sendOne(id, addresses, &part, 1, 0);
        done += part.iov_len;
      }
    }
    return;
  }
  if (refusal_count_ == kRefusals) {
    counters_.datagram_errors_lost++;
    return;
  }
  Refusal& refusal = refusals_[refusal_count_++];
  refusal.socket = id;
  refusal.generation = s.generation;
  refusal.error = error;
  refusal.mtu = error == EMSGSIZE ? pathMtu(addresses[0]) : 0;
  refusal.destination = addresses[0];
  refusal.length = static_cast<int32_t>(std::min(vectors[0].iov_len, sizeof(refusal.bytes)));
  memcpy(refusal.bytes, vectors[0].iov_base, static_cast<size_t>(refusal.length));
}

}  // namespace netns
