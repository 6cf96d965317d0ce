// Making and ending sockets: the direct calls of the contract.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cstring>

#include "endpoint.h"
#include "engine.h"

namespace netns {

namespace {

// Descriptors belong to the process: the one thing that its engines share.
std::atomic<int32_t> process_sockets{0};

constexpr uint32_t kReadEvents = EPOLLIN | EPOLLET;

void setOption(int fd, int level, int name, int value) { (void)setsockopt(fd, level, name, &value, sizeof(value)); }

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t length = sizeof(value);
  return getsockopt(fd, level, name, &value, &length) == 0 ? value : -1;
}

bool setNonBlocking(int fd) {
  const int flags = fcntl(fd, F_GETFL);
  return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

int domainOf(int family) { return family == 4 ? AF_INET : AF_INET6; }

int closeWith(int fd, int error) {
  close(fd);
  return -error;
}

// What is closed from now on ends with a reset.
void lingerNot(int fd) {
  const linger abort{1, 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
}

// Urgent data crosses as ordinary data (RFC 6093): nothing is lost and offsets stay what they are.
void setStreamOptions(int fd) { setOption(fd, SOL_SOCKET, SO_OOBINLINE, 1); }

// A listener's socket, bound. `shared`: beside others that are.
int bindListener(const Endpoint& local, bool shared) {
  sockaddr_storage address;
  const socklen_t length = toSockaddr(local, &address);
  if (length == 0) return -EAFNOSUPPORT;
  const int fd = socket(domainOf(local.family), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (shared) setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (local.family == 6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  // All are inherited by what is accepted.
  setStreamOptions(fd);
  setOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) return closeWith(fd, errno);
  return fd;
}

// Listens on what was bound. Closes it on failure.
int listenOnBound(int fd, int backlog) {
  if (fd < 0 || listen(fd, backlog < 1 ? 1 : backlog) == 0) return fd;
  return closeWith(fd, errno);
}

int endpointOf(int fd, Endpoint* out) {
  sockaddr_storage address;
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return -errno;
  fromSockaddr(reinterpret_cast<sockaddr*>(&address), out);
  return 0;
}

}  // namespace

void abortAndClose(int fd) {
  lingerNot(fd);
  close(fd);
}

// The first is bound alone, and its port is shared only then: so the port is refused where somebody else has it, be it
// another one of us, and nobody can come in between.
int openListeners(const Endpoint& local, int backlog, int count, int* fds) {
  int made = 0;
  int error = 0;
  Endpoint place = local;
  for (; made < count && error == 0; made += error == 0) {
    int fd = bindListener(place, made > 0);
    if (fd >= 0 && made == 0) {
      setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      (void)endpointOf(fd, &place);
    }
    fd = listenOnBound(fd, backlog);
    if (fd < 0) error = fd;
    else fds[made] = fd;
  }
  if (error != 0) {
    while (made > 0) close(fds[--made]);
  }
  return error;
}

bool Engine::full() const {
  return free_socket_count_ == 0 || process_sockets.load(std::memory_order_relaxed) >= options_.process_sockets;
}

// A number for a descriptor; -EMFILE when the table is full.
int32_t Engine::allocate(int fd, Kind kind, int family, State state) {
  if (full()) {
    counters_.sockets_refused++;
    return -EMFILE;
  }
  const int32_t id = free_sockets_[--free_socket_count_];
  if (id >= socket_high_) socket_high_ = id + 1;
  Socket& s = sockets_[id];
  const uint32_t generation = s.generation + 1;
  const uint32_t active = s.flags & (kActive | kDeferring);
  memset(&s, 0, sizeof(s));
  s.fd = fd;
  s.kind = kind;
  s.state = state;
  s.family = static_cast<uint8_t>(family);
  s.flags = active;
  s.generation = generation;
  s.backlog_head = s.backlog_tail = -1;
  s.peer = -1;
  s.pipe = -1;
  backlog_[id] = 0;
  counters_.sockets_open++;
  process_sockets.fetch_add(1, std::memory_order_relaxed);
  return id;
}

// allocate(), and watch it. Closes the descriptor on failure.
int32_t Engine::adopt(int fd, Kind kind, int family, State state, uint32_t epoll_events) {
  const int32_t id = allocate(fd, kind, family, state);
  if (id < 0) return closeWith(fd, -id);
  epoll_event watch{};
  watch.events = epoll_events;
  watch.data.u64 = static_cast<uint64_t>(sockets_[id].generation) << 32 | static_cast<uint32_t>(id);
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &watch) != 0) {
    const int error = errno;
    freeSocket(id);
    return -error;
  }
  return id;
}

int32_t Engine::startConnect(int fd, const Endpoint& remote) {
  sockaddr_storage address;
  const socklen_t length = toSockaddr(remote, &address);
  if (length == 0) return closeWith(fd, EAFNOSUPPORT);
  if (isLoopback(remote)) useMemoryControl(fd);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 && errno != EINPROGRESS) {
    return closeWith(fd, errno);
  }
  return adopt(fd, Kind::Stream, remote.family, State::Connecting, kStreamEvents);
}

int32_t Engine::connectTo(const Endpoint& remote, const Endpoint* local, int32_t hops) {
  if (full()) {
    counters_.sockets_refused++;
    return -EMFILE;
  }
  if (remote.family != 4 && remote.family != 6) return -EAFNOSUPPORT;
  const auto open = [&] { return socket(domainOf(remote.family), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); };
  int fd = open();
  if (fd < 0 && ended_count_ > 0) {
    closeEnded();
    fd = open();
  }
  if (fd < 0) return -errno;
  setStreamOptions(fd);
  if (local != nullptr && local->family != 0) {
    sockaddr_storage address;
    const socklen_t length = toSockaddr(*local, &address);
    // Without a port, the choice of one waits for connect(), where it may be shared by connections to other places.
    if (portOf(*local) == 0) setOption(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    else setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (length == 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
      return closeWith(fd, length == 0 ? EAFNOSUPPORT : errno);
    }
  }
  if (hops > 0) traceConnect(fd, remote.family, hops);
  const int32_t id = startConnect(fd, remote);
  if (id >= 0 && hops > 0) sockets_[id].flags |= kTraced;
  if (id >= 0 && memory_control_[0] != '\0' && !isLoopback(remote)) sockets_[id].unexamined = kExaminedAfter;
  return id;
}

int32_t Engine::connectWith(int fd, const Endpoint& remote) {
  if (fd < 0) return -EBADF;
  if (option(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM) return closeWith(fd, EPROTOTYPE);
  if (!setNonBlocking(fd)) return closeWith(fd, errno);
  setStreamOptions(fd);
  const int32_t id = startConnect(fd, remote);
  if (id >= 0) sockets_[id].flags |= kForeign;
  return id;
}

// Both begin as Connecting, so that their owners hear of them as of any other.
int32_t Engine::pair(int32_t out[2]) {
  int fds[2];
  if (free_socket_count_ < 2) return -EMFILE;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return -errno;
  out[0] = adopt(fds[0], Kind::Stream, 0, State::Connecting, kStreamEvents);
  if (out[0] < 0) {
    close(fds[1]);
    return out[0];
  }
  out[1] = adopt(fds[1], Kind::Stream, 0, State::Connecting, kStreamEvents);
  if (out[1] >= 0) return 0;
  freeSocket(out[0]);
  return out[1];
}

int32_t Engine::listenOn(const Endpoint& local, int backlog) {
  const int fd = listenOnBound(bindListener(local, false), backlog);
  if (fd < 0) return fd;
  useMemoryControl(fd);
  return adopt(fd, Kind::Listener, local.family, State::Open, kReadEvents);
}

int32_t Engine::listenWith(int fd) {
  if (fd < 0) return -EBADF;
  if (option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1) return closeWith(fd, EINVAL);
  if (!setNonBlocking(fd)) return closeWith(fd, errno);
  const int family = option(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET ? 4 : 6;
  useMemoryControl(fd);
  return adopt(fd, Kind::Listener, family, State::Open, kReadEvents);
}

int32_t Engine::localEndpoint(int32_t id, Endpoint* out) {
  if (id < 0 || id >= max_sockets_ || sockets_[id].kind == Kind::Free) return -EBADF;
  return endpointOf(sockets_[id].fd, out);
}

int32_t Engine::keepAlive(int32_t id) {
  if (id < 0 || id >= max_sockets_ || sockets_[id].kind != Kind::Stream) return -EBADF;
  setOption(sockets_[id].fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  return 0;
}

// Gives back descriptor, backlog and number.
void Engine::freeSocket(int32_t id) {
  Socket& s = sockets_[id];
  dropBacklog(id);
  if (s.pipe >= 0) givePipe(s.pipe, s.piped == 0);
  if (s.flags & kGathering) stopGathering(id);
  if (s.state == State::Closing) closing_count_--;
  if (s.flags & kPaused) paused_count_--;
  // A duplicate that lives on elsewhere would keep reporting: take it out by name.
  if (s.flags & kForeign) (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, s.fd, nullptr);
  if ((s.flags & kCloseLater) && paused_count_ == 0) {
    if (ended_count_ == kEndedFds) closeEnded();
    if (ended_count_ == 0) ended_since_ = now_;
    ended_fds_[ended_count_++] = s.fd;
  } else {
    close(s.fd);
  }
  s.fd = -1;
  s.kind = Kind::Free;
  s.flags &= kActive | kDeferring;
  s.pipe = -1;
  s.peer = -1;
  free_sockets_[free_socket_count_++] = id;
  counters_.sockets_open--;
  process_sockets.fetch_sub(1, std::memory_order_relaxed);
  if (paused_count_ > 0) {
    for (int32_t i = 0; i < socket_high_; i++) {
      if (!(sockets_[i].flags & kPaused)) continue;
      sockets_[i].flags &= ~kPaused;
      paused_count_--;
      activate(i);
    }
  }
}

// What closing a stream takes of the kernel need not come before the next connection's answer.
void Engine::closeEnded() {
  while (ended_count_ > 0) close(ended_fds_[--ended_count_]);
}

// Close and Reset of the contract. Of a pair, both end.
void Engine::closeSocket(int32_t id, bool reset) {
  Socket& s = sockets_[id];
  const int32_t peer = s.peer;
  if (peer >= 0) {
    s.peer = -1;
    sockets_[peer].peer = -1;
    closeSocket(peer, true);
    reset = true;
  }
  // Unread bytes would make of the end a reset.
  if (s.kind == Kind::Stream && !reset && s.deferred > 0) discard(s, s.deferred);
  if (s.kind == Kind::Stream && !reset && s.backlog > 0 && (s.state == State::Open || s.state == State::Connecting)) {
    s.state = State::Closing;
    s.flags &= ~kReadable;
    s.progress_at = now_;
    closing_count_++;
    if (sweep_at_ > now_ + 5000) sweep_at_ = now_ + 5000;
    return;
  }
  if (s.kind == Kind::Stream && reset) lingerNot(s.fd);
  // Events that it still has are nobody's: whoever gets its number is of another generation.
  if (s.kind == Kind::Stream && !reset && (s.flags & kEnded)) s.flags |= kCloseLater;
  freeSocket(id);
}

}  // namespace netns
