// Pairs: two stream sockets joined by pipes inside the kernel.
//
// Each socket of a pair stands for the direction from it to its peer: Readable of the one, Writable of the other, and a
// pipe between them that is held only while bytes are in it. A direction is done when the end of the stream was passed on
// (shutdown of the peer), or when it broke; the pair is over when both are, or as soon as a socket has an error and
// nothing more to give. With an error both sockets are aborted, so that a reset crosses as a reset; without, closed.
//
// Gathering. A stream that goes on and on would wake us for every few segments, and what we then move is too little for a
// system call. So from its 64th MiB on a socket asks to be told only when a whole pipe can be filled (SO_RCVLOWAT), or when the
// stream ends or breaks. One that came no further within a millisecond or two may have paused with less than that in its
// queue: it is read at once, and gathers again after another 64 MiB.
//
// Where no pipe can be had, and of a stream with urgent data, before which splice() stops, bytes are peeked into a free slot, sent,
// and what was taken is consumed.
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "engine.h"

namespace netns {

namespace {

constexpr int kPipeSize = 1 << 20;
constexpr int kCopySize = 65536;
constexpr int64_t kGatherAfter = 64 << 20;
constexpr double kGatherLook = 1;
constexpr int kQuietLooks = 4;

}  // namespace

const char* Engine::splicePair(int32_t first, int32_t second) {
  if (first == second) return "a socket cannot be spliced to itself";
  for (const int32_t id : {first, second}) {
    if (id < 0 || id >= max_sockets_) return "no such socket";
    const Socket& s = sockets_[id];
    if (s.kind != Kind::Stream || s.family == 0 || (s.state != State::Open && s.state != State::Failed) || (s.flags & kSpliceWanted)) {
      return "only connected streams can be spliced";
    }
  }
  for (const int32_t id : {first, second}) {
    Socket& s = sockets_[id];
    s.flags |= kSpliceWanted;
    s.peer = id == first ? second : first;
    s.leader = id == first;
  }
  splice_starts_[splice_start_count_++] = first;
  again_ = true;
  if (!in_turn_) wake();
  return nullptr;
}

// After the commit, since it may still have held orders for the two.
void Engine::startSplices() {
  for (int32_t i = 0; i < splice_start_count_; i++) {
    const int32_t first = splice_starts_[i];
    if (sockets_[first].kind != Kind::Stream || !(sockets_[first].flags & kSpliceWanted)) continue;
    for (const int32_t id : {first, sockets_[first].peer}) {
      Socket& s = sockets_[id];
      if (s.deferred > 0) discard(s, s.deferred);
      const Socket& to = sockets_[s.peer];
      s.flags &= ~(kSpliceWanted | kEnded | kReportFailed | kReportDrained);
      if (s.error != 0) s.flags |= kPeerBroken;
      if (s.state == State::Failed || (to.flags & kShutdownWanted)) s.flags |= kDirectionDone;
      s.flags |= kReadable;
      s.state = State::Spliced;
      s.credit = 0;
      noDelay(s);
      if (s.flags & kPeekOffset) setPeekOffset(s, -1);
      activate(id);
    }
    counters_.spliced_pairs++;
  }
  splice_start_count_ = 0;
}

bool Engine::leadsPair(int32_t first) const {
  if (first < 0 || first >= max_sockets_) return false;
  const Socket& s = sockets_[first];
  return s.kind == Kind::Stream && s.leader && s.peer >= 0 && (s.state == State::Spliced || (s.flags & kSpliceWanted));
}

// Within a turn the commit may still hold orders for the two.
void Engine::unsplice(int32_t first) {
  if (!leadsPair(first) || (sockets_[first].flags & kUnsplice)) return;
  if (!in_turn_) {
    closeSocket(first, true);
    return;
  }
  sockets_[first].flags |= kUnsplice;
  splice_ends_[splice_end_count_++] = first;
}

void Engine::endSplices() {
  for (int32_t i = 0; i < splice_end_count_; i++) {
    const int32_t first = splice_ends_[i];
    if (leadsPair(first) && (sockets_[first].flags & kUnsplice)) closeSocket(first, true);
  }
  splice_end_count_ = 0;
}

bool Engine::answers(int32_t first) const {
  if (!leadsPair(first)) return false;
  return !(sockets_[sockets_[first].peer].flags & kDirectionDone);
}

bool Engine::visitSpliced(int32_t id) {
  Socket& s = sockets_[id];
  const int32_t peer = s.peer;
  Socket& p = sockets_[peer];
  if (s.backlog > 0 && (s.flags & kWritable)) flushBacklog(id);
  bool more = pump(id);
  more |= pump(peer);
  if ((s.flags & kDirectionDone) && s.error == 0 && (s.flags & kError)) s.error = takeError(s.fd);
  if ((s.flags & kDirectionDone) && (s.error != 0 || (p.flags & kDirectionDone))) {
    endSplice(id, s.error != 0 ? s.error : p.error);
    return false;
  }
  if ((p.flags & kDirectionDone) && p.error != 0) {
    endSplice(id, p.error);
    return false;
  }
  return more;
}

// Moves what can be moved from a socket to its peer. True: the budget of this turn ended it.
bool Engine::pump(int32_t from) {
  Socket& s = sockets_[from];
  Socket& to = sockets_[s.peer];
  while (!(s.flags & kDirectionDone)) {
    if (splice_budget_ <= 0) return true;
    if (to.flags & kPeerBroken) {
      if (s.pipe >= 0) givePipe(s.pipe, s.piped == 0);
      s.pipe = -1;
      s.piped = 0;
      s.flags |= kDirectionDone;
    } else if (to.backlog > 0) {
      return false;
    } else if (s.piped > 0) {
      if (!(to.flags & kWritable)) return false;
      const ssize_t n = ::splice(pipes_[s.pipe].read, nullptr, to.fd, nullptr, static_cast<size_t>(s.piped),
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n > 0) {
        s.piped -= static_cast<int32_t>(n);
        splice_budget_ -= static_cast<int32_t>(n);
        counters_.spliced_bytes += static_cast<uint64_t>(n);
        if (s.piped == 0) {
          givePipe(s.pipe, true);
          s.pipe = -1;
        }
      } else if (n < 0 && errno == EAGAIN) {
        to.flags &= ~kWritable;
      } else if (n == 0 || errno != EINTR) {
        to.flags |= kPeerBroken;
        to.error = n == 0 || errno == EPIPE ? ECONNRESET : errno;
      }
    } else if (s.flags & kEnded) {
      (void)shutdown(to.fd, SHUT_WR);
      to.flags |= kShutdownDone;
      s.flags |= kDirectionDone;
    } else if (!(s.flags & kReadable)) {
      return false;
    } else {
      if (s.pipe < 0 && !(s.flags & kUrgent)) s.pipe = takePipe();
      if (s.pipe < 0) {
        if (!copyThroughSlot(from)) return false;
        continue;
      }
      const ssize_t n = ::splice(s.fd, nullptr, pipes_[s.pipe].write, nullptr, static_cast<size_t>(pipes_[s.pipe].size),
                                 SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (n > 0) {
        s.piped = static_cast<int32_t>(n);
        s.streak += n;
        if (s.streak >= kGatherAfter && !(s.flags & kGathering) && pipes_[s.pipe].size == kPipeSize) gather(from);
        continue;
      }
      const int error = n == 0 ? 0 : errno;
      if (error == EINTR) continue;
      givePipe(s.pipe, true);
      s.pipe = -1;
      if (error == 0) {
        // Before urgent data splice() goes no further, and tells the end where the stream has one behind that.
        s.flags |= unread(s.fd) > 0 ? kUrgent : kEnded;
      } else if (error == EAGAIN) {
        s.flags &= ~kReadable;
      } else {
        s.error = error;
        s.flags |= kDirectionDone;
      }
    }
  }
  return false;
}

// One run of bytes without a pipe. False when either side has to be waited for.
bool Engine::copyThroughSlot(int32_t from) {
  Socket& s = sockets_[from];
  Socket& to = sockets_[s.peer];
  if (!(to.flags & kWritable) || free_count_ == 0) return false;
  uint8_t* bytes = slotAt(free_slots_[free_count_ - 1]);
  const ssize_t got = recv(s.fd, bytes, kCopySize, MSG_PEEK | MSG_DONTWAIT);
  if (got < 0) {
    if (errno == EAGAIN) s.flags &= ~kReadable;
    if (errno == EAGAIN || errno == EINTR) return errno == EINTR;
    s.error = errno;
    s.flags |= kDirectionDone;
    return true;
  }
  if (got == 0) {
    s.flags |= kEnded;
    return true;
  }
  const ssize_t sent = send(to.fd, bytes, static_cast<size_t>(got), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (errno == EAGAIN) to.flags &= ~kWritable;
    if (errno == EAGAIN || errno == EINTR) return errno == EINTR;
    to.error = errno == EPIPE ? ECONNRESET : errno;
    to.flags |= kPeerBroken;
    return true;
  }
  counters_.splice_copies++;
  counters_.spliced_bytes += static_cast<uint64_t>(sent);
  splice_budget_ -= static_cast<int32_t>(sent);
  for (ssize_t left = sent; left > 0;) {
    const ssize_t n = recv(s.fd, discard_, static_cast<size_t>(left), MSG_TRUNC | MSG_DONTWAIT);
    if (n <= 0 && errno != EINTR) break;
    left -= std::max<ssize_t>(n, 0);
  }
  return true;
}

void Engine::gather(int32_t id) {
  if (gatherer_count_ == kGatherers) return;
  Socket& s = sockets_[id];
  const int least = kPipeSize;
  if (setsockopt(s.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least)) != 0) return;
  gatherers_[gatherer_count_++] = id;
  s.flags |= kGathering;
  s.streak_seen = s.streak;
  s.quiet_looks = 0;
  gather_at_ = std::min(gather_at_, now_ + kGatherLook);
}

void Engine::stopGathering(int32_t id) {
  Socket& s = sockets_[id];
  const int least = 1;
  (void)setsockopt(s.fd, SOL_SOCKET, SO_RCVLOWAT, &least, sizeof(least));
  s.flags &= ~kGathering;
  s.streak = 0;
  for (int32_t i = 0; i < gatherer_count_; i++) {
    if (gatherers_[i] == id) gatherers_[i] = gatherers_[--gatherer_count_];
  }
}

void Engine::lookAfterGatherers() {
  for (int32_t i = gatherer_count_ - 1; i >= 0; i--) {
    const int32_t id = gatherers_[i];
    Socket& s = sockets_[id];
    if (s.streak != s.streak_seen || (s.flags & kActive) || s.piped > 0) {
      s.streak_seen = s.streak;
      s.quiet_looks = 0;
      continue;
    }
    // An empty queue may also mean that the sender waits for a processor: that is no pause yet.
    int queued = 0;
    if (ioctl(s.fd, SIOCINQ, &queued) == 0 && queued == 0 && ++s.quiet_looks < kQuietLooks) continue;
    stopGathering(id);
    s.flags |= kReadable;
    activate(id);
  }
  gather_at_ = gatherer_count_ > 0 ? now_ + kGatherLook : std::numeric_limits<double>::infinity();
}

void Engine::endSplice(int32_t id, int error) {
  const int32_t peer = sockets_[id].peer;
  const int32_t first = sockets_[id].leader ? id : peer;
  int32_t* record = event(EventKind::Spliced, first);
  record[4] = first == id ? peer : id;
  record[5] = error;
  for (const int32_t socket : {id, peer}) {
    sockets_[socket].peer = -1;
    closeSocket(socket, error != 0);
  }
}

// An empty pipe of the pool, or a new one; -1 when there are no descriptors for it.
int32_t Engine::takePipe() {
  if (idle_pipe_count_ > 0) return idle_pipes_[--idle_pipe_count_];
  if (unused_pipe_count_ == 0) return -1;
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return -1;
  // Beyond a share of each user (pipe-user-pages-soft) the kernel refuses, and what it gave is what we take.
  int size = fcntl(ends[1], F_SETPIPE_SZ, kPipeSize);
  if (size <= 0) size = fcntl(ends[1], F_GETPIPE_SZ);
  const int32_t number = unused_pipes_[--unused_pipe_count_];
  pipes_[number] = {ends[0], ends[1], size > 0 ? size : 4096};
  return number;
}

void Engine::givePipe(int32_t number, bool empty) {
  if (empty && idle_pipe_count_ < kIdlePipes) {
    idle_pipes_[idle_pipe_count_++] = number;
    return;
  }
  close(pipes_[number].read);
  close(pipes_[number].write);
  unused_pipes_[unused_pipe_count_++] = number;
}

}  // namespace netns
