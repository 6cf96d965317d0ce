// Links: one read per frame into a slot of its own, one write per frame. A link is a TAP, or one end of a pair of sockets
// that hands frames from one engine to another. Only a plain TAP's descriptor has no virtio header before each frame: it is zero
// then, and left away in writing.
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine.h"

namespace netns {

namespace {

constexpr int kFramesPerTurn = 64;
constexpr int kBytesPerTurn = 256 * 1024;
// The smallest share of a turn.
constexpr int kLeastFrames = 4;
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

int32_t Engine::addLink(int fd, bool plain) {
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
  link = Link{fd, true, plain, true, false, link.queued, generation};
  queueLink(number);
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
  return true;
}

void Engine::queueLink(int32_t number) {
  if (links_[number].queued) return;
  links_[number].queued = true;
  ready_links_[ready_tail_++ % kMaxLinks] = number;
}

// A burst of frames. Links that have some take turns, each with a share of what one turn takes, so that none waits for another
// that never ends. Idle ones cost nothing.
void Engine::readLinks() {
  int frames = kFramesPerTurn;
  int bytes = kBytesPerTurn;
  const int ready = std::max(1, static_cast<int>(ready_tail_ - ready_head_));
  const int frame_share = std::max(kLeastFrames, kFramesPerTurn / ready);
  const int byte_share = kBytesPerTurn / std::min(ready, kFramesPerTurn);
  while (ready_head_ != ready_tail_) {
    const int32_t number = ready_links_[ready_head_ % kMaxLinks];
    Link& link = links_[number];
    const int frames_until = frames - frame_share;
    const int bytes_until = bytes - byte_share;
    while (link.readable && frames > frames_until && bytes > bytes_until) {
      if (frames <= 0 || bytes <= 0 || free_count_ <= kSlotsForSockets || eventsFull()) return;
      uint8_t* slot = slotAt(free_slots_[free_count_ - 1]);
      const int32_t header = link.plain ? kVnetHeader : 0;
      const ssize_t n = read(link.fd, slot + header, static_cast<size_t>(kSlotSize - header));
      if (n > 0) {
        memset(slot, 0, static_cast<size_t>(header));
        int32_t* record = event(EventKind::Frame, number);
        record[2] = takeSlot();
        record[3] = header + static_cast<int32_t>(n);
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
    ready_head_++;
    link.queued = false;
    if (link.readable) queueLink(number);
  }
}

void Engine::writeFrame(Link& link, int32_t offset, int32_t length) {
  if (link.plain) {
    offset += kVnetHeader;
    length -= kVnetHeader;
  }
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
