// Streams: accepting, receiving by peeking, sending what the backlog holds.
//
// What the sandbox has not acknowledged stays in the kernel's receive buffer: bytes are read with MSG_PEEK at a moving
// offset (SO_PEEK_OFF, for TCP since Linux 6.9; before that the bytes in front are peeked over into a buffer that nobody
// reads) and taken out with MSG_TRUNC when they are acknowledged.
//
// The order of what is reported: all data first, then End or Failed. Without credit the socket is not read; its end is then
// found by asking how much is unread (SIOCINQ).
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "endpoint.h"
#include "engine.h"

namespace netns {

namespace {

constexpr int kAcceptsPerVisit = 64;
constexpr size_t kDiscardSize = 65536;
constexpr int kDiscardVectors = 1000;
// What may stay behind of a stream that was acknowledged. More pieces in front make each look at the queue slower.
constexpr int kDeferrals = 16;
constexpr int64_t kDeferredBytes = 16384;

bool noDescriptorLeft(int error) { return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM; }

}  // namespace

int takeError(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

int64_t unread(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCINQ, &bytes) == 0 ? bytes : 0;
}

bool Engine::visitListener(int32_t id) {
  Socket& s = sockets_[id];
  for (int i = 0; i < kAcceptsPerVisit && (s.flags & kReadable); i++) {
    if (eventsFull()) return true;
    sockaddr_storage address;
    socklen_t length = sizeof(address);
    const int fd = accept4(s.fd, reinterpret_cast<sockaddr*>(&address), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    const int error = errno;
    if (fd < 0) {
      if (error == EAGAIN || error == EINVAL || error == EBADF) {
        s.flags &= ~kReadable;
      } else if (noDescriptorLeft(error) && ended_count_ > 0) {
        closeEnded();
      } else if (noDescriptorLeft(error)) {
        // No spinning: it is tried again when a socket is freed, and with the next sweep.
        s.flags |= kPaused;
        paused_count_++;
        counters_.accept_paused++;
        sweep_at_ = std::min(sweep_at_, now_ + 1000);
        return false;
      }
      continue;  // ECONNABORTED and the like concern one connection only
    }
    if (full()) {
      // Better told at once than left to wait for one that ends.
      abortAndClose(fd);
      counters_.accept_refused++;
      continue;
    }
    const int32_t accepted = adopt(fd, Kind::Stream, s.family, State::Open, kStreamEvents);
    if (accepted < 0) continue;
    sockets_[accepted].flags |= kNoDelay;
    counters_.accepted++;
    event(EventKind::Accepted, id)[4] = accepted;
    Endpoint* endpoints = eventEndpoints();
    fromSockaddr(reinterpret_cast<sockaddr*>(&address), &endpoints[0]);
    memset(&endpoints[1], 0, sizeof(Endpoint));
    controlAccepted(fd, endpoints[0]);
  }
  return (s.flags & kReadable) != 0;
}

bool Engine::visitStream(int32_t id) {
  Socket& s = sockets_[id];
  bool more = false;
  if (s.state == State::Connecting) {
    if (!(s.flags & (kWritable | kError | kHangup))) return false;
    const int error = s.flags & (kError | kHangup) ? takeError(s.fd) : 0;
    if (error != 0 && unread(s.fd) > 0) {
      // It was connected, brought something, and is dead already: all in the order in which it happened.
      s.state = State::Open;
      s.error = error;
      s.flags &= ~kTraced;
      counters_.connected++;
      event(EventKind::Connected, id);
    } else if (error != 0) {
      fail(id, error);
    } else if (s.flags & kWritable) {
      s.state = State::Open;
      if (s.flags & kTraced) endTrace(s);
      counters_.connected++;
      event(EventKind::Connected, id);
      if (s.backlog == 0 && (s.flags & kShutdownWanted)) {
        s.flags |= kShutdownDone;
        (void)shutdown(s.fd, SHUT_WR);
      }
    }
  }
  if (s.backlog > 0 && (s.flags & kWritable)) flushBacklog(id);
  if (s.kind == Kind::Free) return false;
  if (s.state == State::Closing) {
    if (s.backlog == 0) freeSocket(id);
    return false;
  }
  if (s.state == State::Open) {
    if (s.flags & kReportDrained) {
      s.flags &= ~kReportDrained;
      event(EventKind::Drained, id);
    }
    more = receive(id);
  }
  if (s.flags & kReportFailed) {
    s.flags &= ~kReportFailed;
    reportFailed(id);
    return false;
  }
  return more;
}

// Reports one run of payload, or the end of the stream. True: there may be more.
bool Engine::receive(int32_t id) {
  Socket& s = sockets_[id];
  if (s.flags & kEnded) {
    // Half of it lives: a reset, or a peer that does not answer any more, is the end of that.
    if (!(s.flags & kError)) return false;
    s.flags &= ~kError;
    const int error = takeError(s.fd);
    if (error != 0) fail(id, error);
    return false;
  }
  if (!(s.flags & kReadable)) return false;
  if (s.credit <= 0 || s.chunk <= 0) {
    if (s.flags & (kPeerShut | kError | kHangup)) finishReading(id);
    return false;
  }
  if (free_count_ == 0 || data_budget_ <= 0 || byte_budget_ <= 0) return true;
  const int32_t want = std::min({s.credit, s.chunk, kMaxPayload});
  const ssize_t n = peek(s, slotAt(free_slots_[free_count_ - 1]) + kHeadroom, static_cast<size_t>(want));
  counters_.stream_receives++;
  if (n > 0) {
    const int32_t length = static_cast<int32_t>(n);
    int32_t* record = event(EventKind::Data, id);
    record[2] = takeSlot();
    record[3] = length;
    s.peeked += length;
    s.reported = std::max(s.reported, s.peeked);
    s.credit -= length;
    data_budget_--;
    byte_budget_ -= length;
    counters_.stream_bytes_received += static_cast<uint64_t>(length);
    const bool ending = (s.flags & (kPeerShut | kError | kHangup)) != 0;
    // A short read emptied the queue; what comes later makes a new edge.
    if (length < want && !ending && !(s.flags & kUrgent)) {
      s.flags &= ~kReadable;
      return false;
    }
    return s.credit > 0 || ending;
  }
  if (n == 0) {
    s.flags &= ~kReadable;
    s.flags |= kEnded;
    if (s.error != 0) fail(id, s.error);
    else event(EventKind::End, id);
    return false;
  }
  if (errno == EINTR) return true;
  if (errno == EAGAIN) {
    s.flags &= ~kReadable;
    if (s.error != 0) fail(id, s.error);
  } else {
    fail(id, errno);
  }
  return false;
}

// True where the kernel remembers how far was peeked (SO_PEEK_OFF; Unix sockets have had it for ever).
bool Engine::peeksAhead(const Socket& s) const { return s.family == 0 || peek_offset_[s.family == 4 ? 0 : 1]; }

// Peeks at the first byte that was not reported.
ssize_t Engine::peek(Socket& s, void* into, size_t length) {
  const bool offset = peeksAhead(s);
  // Many streams end before anything must be peeked at behind what is not consumed yet: the offset waits until then.
  if (offset && s.deferred + s.peeked > 0 && !(s.flags & kPeekOffset)) setPeekOffset(s, s.peeked);
  if (s.peeked == 0 || offset) return recv(s.fd, into, length, MSG_PEEK | MSG_DONTWAIT);
  size_t over = static_cast<size_t>(s.peeked);
  int count = 0;
  while (over > 0 && count < kDiscardVectors) {
    const size_t part = std::min(over, kDiscardSize);
    discard_vectors_[count++] = {discard_, part};
    over -= part;
  }
  if (over > 0) {
    errno = EAGAIN;
    return -1;
  }
  discard_vectors_[count++] = {into, length};
  msghdr message{};
  message.msg_iov = discard_vectors_;
  message.msg_iovlen = static_cast<size_t>(count);
  const ssize_t n = recvmsg(s.fd, &message, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0) return n;
  if (n > s.peeked) return n - static_cast<ssize_t>(s.peeked);
  // Nothing beyond what was reported. While bytes are queued recvmsg() tells neither the end nor an error.
  if (s.flags & kError) {
    const int error = takeError(s.fd);
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  if (s.flags & (kPeerShut | kHangup)) return 0;
  errno = EAGAIN;
  return -1;
}

// Without credit: the end can be told if nothing is left that would have to be reported before it.
void Engine::finishReading(int32_t id) {
  Socket& s = sockets_[id];
  if (unread(s.fd) > s.deferred + s.peeked) return;
  if (s.error == 0 && (s.flags & kError)) s.error = takeError(s.fd);
  if (s.error != 0) {
    fail(id, s.error);
  } else if (s.flags & (kPeerShut | kHangup)) {
    s.flags &= ~kReadable;
    s.flags |= kEnded;
    event(EventKind::End, id);
  }
}

void Engine::fail(int32_t id, int error) {
  Socket& s = sockets_[id];
  dropBacklog(id);
  s.state = State::Failed;
  s.error = error == EPIPE ? ECONNRESET : error;
  s.flags = (s.flags & ~(kReadable | kReportDrained)) | kReportFailed;
  activate(id);
}

// A send was refused: the connection is dead, but what it brought before is still to be reported.
void Engine::sendFailed(int32_t id, int error) {
  Socket& s = sockets_[id];
  dropBacklog(id);
  if (s.state == State::Closing) {
    freeSocket(id);
    return;
  }
  s.error = error == EPIPE ? ECONNRESET : error;
  if (s.state == State::Spliced) {
    s.flags |= kPeerBroken;
    activate(id);
    return;
  }
  if ((s.flags & kEnded) || unread(s.fd) <= s.deferred + s.peeked) {
    fail(id, s.error);
    return;
  }
  s.flags |= kReadable | kError;
  activate(id);
}

void Engine::flushBacklog(int32_t id) {
  Socket& s = sockets_[id];
  const int64_t before = s.backlog;
  noDelay(s);
  while (s.backlog > 0 && (s.flags & kWritable)) {
    iovec vectors[kSendVectors];
    int count = 0;
    size_t total = 0;
    for (int32_t p = s.backlog_head; p >= 0 && count < kSendVectors; p = pieces_[p].next) {
      vectors[count++] = {slab_ + pieces_[p].offset, static_cast<size_t>(pieces_[p].length)};
      total += static_cast<size_t>(pieces_[p].length);
    }
    msghdr message{};
    message.msg_iov = vectors;
    message.msg_iovlen = static_cast<size_t>(count);
    const ssize_t sent = sendmsg(s.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    counters_.stream_sends++;
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        s.flags &= ~kWritable;
        break;
      }
      sendFailed(id, errno);
      return;
    }
    counters_.stream_bytes_sent += static_cast<uint64_t>(sent);
    noteSent(s, sent);
    if (static_cast<size_t>(sent) < total) s.flags &= ~kWritable;
    setBacklog(id, s.backlog - sent);
    int32_t left = static_cast<int32_t>(sent);
    while (left > 0) {
      Piece& head = pieces_[s.backlog_head];
      const int32_t part = std::min(left, head.length);
      head.offset += part;
      head.length -= part;
      left -= part;
      if (head.length == 0) dropHeadPiece(s);
    }
  }
  if (s.backlog < before) s.progress_at = now_;
  if (s.backlog == 0 && (s.flags & kShutdownWanted) && !(s.flags & kShutdownDone)) {
    s.flags |= kShutdownDone;
    (void)shutdown(s.fd, SHUT_WR);
  }
  if (s.backlog == 0 || s.backlog * 2 < s.drain_mark) {
    s.drain_mark = s.backlog;
    s.flags |= kReportDrained;
  }
}

// Takes acknowledged bytes out of the receive queue. A few of them may stay a while, where the kernel keeps the offset: of many
// small answers that follow each other, one call takes out several.
void Engine::consume(int32_t id, int64_t bytes) {
  Socket& s = sockets_[id];
  // Beyond the place of the next peek, the kernel must learn of it: its offset is from the front.
  const bool passed = bytes > s.peeked;
  s.reported -= bytes;
  s.peeked = std::max<int64_t>(s.peeked - bytes, 0);
  if (passed || !peek_offset_[s.family == 4 ? 0 : 1] || s.deferrals == kDeferrals || s.deferred + bytes > kDeferredBytes) {
    discard(s, s.deferred + bytes);
    return;
  }
  s.deferred += static_cast<int32_t>(bytes);
  s.deferrals++;
  if (s.flags & kDeferring) return;
  s.flags |= kDeferring;
  deferring_[deferring_count_++] = id;
}

// Before a sleep: nothing that is acknowledged stays in the kernel.
void Engine::consumeDeferred() {
  while (deferring_count_ > 0) {
    Socket& s = sockets_[deferring_[--deferring_count_]];
    s.flags &= ~kDeferring;
    if (s.kind == Kind::Stream && s.deferred > 0) discard(s, s.deferred);
  }
}

void Engine::discard(Socket& s, int64_t bytes) {
  s.deferred = 0;
  s.deferrals = 0;
  while (bytes > 0) {
    // A Unix socket does not only skip the bytes, it copies them.
    const int64_t most = s.family == 0 ? std::min<int64_t>(bytes, kDiscardSize) : bytes;
    const ssize_t n = recv(s.fd, discard_, static_cast<size_t>(most), MSG_TRUNC | MSG_DONTWAIT);
    if (n <= 0) {
      if (n < 0 && errno == EINTR) continue;
      break;  // the connection died meanwhile; its end is reported by receive()
    }
    bytes -= n;
  }
}

void Engine::rewind(Socket& s, int64_t offset) {
  s.peeked = offset;
  s.flags = (s.flags & ~kEnded) | kReadable;
  if (s.flags & kPeekOffset) setPeekOffset(s, offset);
}

void Engine::setPeekOffset(Socket& s, int64_t offset) {
  const int value = static_cast<int>(s.deferred + offset);
  (void)setsockopt(s.fd, SOL_SOCKET, SO_PEEK_OFF, &value, sizeof(value));
  s.flags |= kPeekOffset;
}

// Many streams send once: a first send never waits, since a short segment only waits for the answer to a short one before it.
void Engine::noDelay(Socket& s) {
  if (s.flags & kNoDelay) return;
  const int on = 1;
  (void)setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  s.flags |= kNoDelay;
}

}  // namespace netns
