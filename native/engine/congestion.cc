// The congestion control of streams that never leave this machine.
//
// The path between two sockets of one machine is memory: it loses nothing and has no bandwidth to find out, so a control that
// paces what it sends (BBR, where that is the host's default) only slows it down. Such streams get the first of the wished
// controls that the kernel lets an ordinary user have; all others keep what the host chose. How it is known which are which:
//
//   connecting to a loopback address   before it connects
//   accepted                           the listener has the control, and hands it down. A stream from another machine
//                                      gets the host's back at once, before anything is sent
//   connecting to any other address    after it has sent a good deal, so that short ones pay nothing: if both ends have one
//                                      address, and its segments are larger than any real network's (behind an address of
//                                      our own may be a translation to another machine's)
//
// The last is the second best: the timer of a pacing control outlives it, and then reorders what splice() sends from another
// processor. A route's own control (ip-route(8), congctl) is stronger than the first two.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <cstring>

#include "endpoint.h"
#include "engine.h"

namespace netns {

namespace {

// More than a jumbo frame holds; over the loopback interface it is half of the peer's window, or 64 KiB.
constexpr int kSegmentOfMemory = 16384;

bool getControl(int fd, char (&name)[kControlName]) {
  socklen_t length = sizeof(name) - 1;
  memset(name, 0, sizeof(name));
  return getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length) == 0;
}

bool setControl(int fd, const char* name) {
  return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, static_cast<socklen_t>(strlen(name))) == 0;
}

bool ownEndpoint(int fd, Endpoint* out) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return false;
  fromSockaddr(reinterpret_cast<sockaddr*>(&address), out);
  return true;
}

int segmentSize(int fd) {
  int size = 0;
  socklen_t length = sizeof(size);
  return getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &size, &length) == 0 ? size : 0;
}

}  // namespace

bool Engine::isWished(const char* name) const {
  for (const char* wish = options_.congestion; *wish != '\0';) {
    const size_t length = strcspn(wish, ",");
    if (length == strlen(name) && memcmp(wish, name, length) == 0) return true;
    wish += length + (wish[length] == ',' ? 1 : 0);
  }
  return false;
}

// Finds out once what may be used. Nothing is ever changed where the host's own control is one of the wished.
void Engine::chooseControl() {
  if (options_.congestion[0] == '\0') return;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (getControl(fd, host_control_) && !isWished(host_control_)) {
    for (const char* wish = options_.congestion; *wish != '\0' && memory_control_[0] == '\0';) {
      const size_t length = strcspn(wish, ",");
      char name[kControlName] = {0};
      if (length > 0 && length < sizeof(name)) memcpy(name, wish, length);
      if (name[0] != '\0' && setControl(fd, name)) memcpy(memory_control_, name, sizeof(name));
      wish += length + (wish[length] == ',' ? 1 : 0);
    }
  }
  close(fd);
}

void Engine::useMemoryControl(int fd) {
  if (memory_control_[0] != '\0') (void)setControl(fd, memory_control_);
}

void Engine::controlAccepted(int fd, const Endpoint& peer) {
  if (memory_control_[0] == '\0' || isLoopback(peer)) return;
  Endpoint own;
  char current[kControlName];
  if (ownEndpoint(fd, &own) && sameAddress(peer, own)) return;
  if (getControl(fd, current) && strcmp(current, memory_control_) == 0) (void)setControl(fd, host_control_);
}

void Engine::examinePath(const Socket& s) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  if (getpeername(s.fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return;
  Endpoint peer;
  Endpoint own;
  fromSockaddr(reinterpret_cast<sockaddr*>(&address), &peer);
  if (!ownEndpoint(s.fd, &own) || !sameAddress(peer, own) || segmentSize(s.fd) < kSegmentOfMemory) return;
  char current[kControlName];
  if (getControl(s.fd, current) && !isWished(current)) (void)setControl(s.fd, memory_control_);
}

}  // namespace netns
