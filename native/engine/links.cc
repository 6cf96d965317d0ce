// Links: one read per frame into a slot of its own, one write per frame. A link is a TAP, or one end of a pair of sockets
// that hands frames from one engine to another.
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine.h"

namespace netns {

namespace {

constexpr int kFramesPerTurn = 64;
constexpr int kBytesPerTurn = 256 * 1024;
// Links are marked among the sockets of epoll by this bit of the id.
constexpr uint64_t kLinkBit = 1u << 31;

// Bytes that may wait in a pair; the kernel may grant less (net.core.wmem_max).
constexpr int kPairBuffer = 4 << 20;

}  // namespace

int openPair(int fds[2]) {
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) return -errno;
  for (int i = 0; i < 2; i++) (void)setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &kPairBuffer, sizeof(kPairBuffer));
  return 0;
}

int32_t Engine::addLink(int fd) {
  if (fd < 0) return -EBADF;
  int32_t number = 0;
  while (number < kMaxLinks && links_[number].fd >= 0) number++;
  if (number == kMaxLinks) {
    close(fd);
    return -EMFILE;
  }
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  Link& link = links_[number];
  const uint32_t generation = link.generation + 1;
  epoll_event watch{};
  watch.events = EPOLLIN | EPOLLET;
  watch.data.u64 = static_cast<uint64_t>(generation) << 32 | kLinkBit | static_cast<uint32_t>(number);
  if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &watch) != 0) {
    const int error = errno;
    close(fd);
    return -error;
  }
  link = Link{fd, true, true, false, false, generation};
  if (number >= link_high_) link_high_ = number + 1;
  wake();
  return number;
}

bool Engine::removeLink(int32_t number) {
  if (number < 0 || number >= kMaxLinks || !links_[number].ever) return false;
  Link& link = links_[number];
  if (link.fd < 0) return true;
  (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, link.fd, nullptr);
  close(link.fd);
  link.fd = -1;
  link.readable = false;
  link.report_down = false;
  return true;
}

// A burst of frames. Links take turns in being first.
void Engine::readLinks() {
  int frames = kFramesPerTurn;
  int bytes = kBytesPerTurn;
  for (int32_t i = 0; i < link_high_; i++) {
    const int32_t number = (next_link_ + i) % link_high_;
    Link& link = links_[number];
    while (link.readable && frames > 0 && bytes > 0 && free_count_ > kSlotsForSockets && !eventsFull()) {
      const ssize_t n = read(link.fd, slotAt(free_slots_[free_count_ - 1]), kSlotSize);
      if (n > 0) {
        int32_t* record = event(EventKind::Frame, number);
        record[2] = takeSlot();
        record[3] = static_cast<int32_t>(n);
        frames--;
        bytes -= static_cast<int>(n);
        counters_.frames_read++;
        counters_.frame_bytes_read += static_cast<uint64_t>(n);
        continue;
      }
      if (n < 0 && errno == EINTR) continue;
      link.readable = false;
      if (n < 0 && errno == EAGAIN) break;
      link.down = true;
      (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, link.fd, nullptr);
      event(EventKind::LinkDown, number);
    }
  }
  if (link_high_ > 0) next_link_ = (next_link_ + 1) % link_high_;
}

void Engine::writeFrame(Link& link, int32_t offset, int32_t length) {
  ssize_t n = -1;
  if (link.fd >= 0 && !link.down) {
    do n = write(link.fd, slab_ + offset, static_cast<size_t>(length));
    while (n < 0 && errno == EINTR);
  }
  if (n < 0) {
    counters_.frame_write_drops++;
    return;
  }
  counters_.frames_written++;
  counters_.frame_bytes_written += static_cast<uint64_t>(length);
}

}  // namespace netns
