// The first part of a turn: what is ready, and what of it fits this turn.
#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

#include <cstring>
#include <limits>

#include "engine.h"

namespace netns {

namespace {

constexpr int kEpollEvents = 256;
constexpr int kDataPerTurn = 32;
constexpr int kDataBytesPerTurn = 512 * 1024;
constexpr int kSpliceBytesPerTurn = 4 << 20;
constexpr int kVisitsPerTurn = 2048;
constexpr uint32_t kLinkBit = 1u << 31;
// A socket that was given back with a backlog is aborted when its peer takes nothing for so long.
constexpr double kCloseTimeout = 60'000;
constexpr double kSweepInterval = 5'000;

}  // namespace

double monotonicMilliseconds() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
}

// Turns readiness into flags. Returns how many descriptors were ready.
int Engine::pollEvents() {
  epoll_event ready[kEpollEvents];
  const int count = epoll_wait(epoll_, ready, kEpollEvents, 0);
  for (int i = 0; i < count; i++) {
    const uint32_t low = static_cast<uint32_t>(ready[i].data.u64);
    const uint32_t generation = static_cast<uint32_t>(ready[i].data.u64 >> 32);
    const uint32_t events = ready[i].events;
    if (low & kLinkBit) {
      Link& link = links_[low & ~kLinkBit];
      if (link.generation == generation && link.fd >= 0 && !link.down) {
        link.readable = true;
        queueLink(static_cast<int32_t>(low & ~kLinkBit));
      }
      continue;
    }
    const int32_t id = static_cast<int32_t>(low);
    Socket& s = sockets_[id];
    if (s.generation != generation || s.kind == Kind::Free) continue;
    if (events & EPOLLIN) s.flags |= kReadable;
    if (events & EPOLLOUT) s.flags |= kWritable;
    if (events & EPOLLRDHUP) s.flags |= kReadable | kPeerShut;
    if (events & EPOLLHUP) s.flags |= kReadable | kHangup;
    if (events & EPOLLERR) s.flags |= kReadable | kError;
    if (events & EPOLLPRI) s.flags |= kUrgent;
    activate(id);
  }
  return count < 0 ? 0 : count;
}

void Engine::activate(int32_t id) {
  Socket& s = sockets_[id];
  if (s.flags & kActive) return;
  s.flags |= kActive;
  ring_[ring_tail_++ & ring_mask_] = id;
}

// A record, zeroed but for kind and id. The caller has made sure that there is room.
int32_t* Engine::event(EventKind kind, int32_t id) {
  int32_t* record = events_ + static_cast<ptrdiff_t>(event_count_++) * kEventStride;
  memset(record, 0, kEventStride * sizeof(int32_t));
  record[0] = static_cast<int32_t>(kind);
  record[1] = id;
  return record;
}

void Engine::collect() {
  now_ = monotonicMilliseconds();
  event_count_ = 0;
  data_budget_ = kDataPerTurn;
  byte_budget_ = kDataBytesPerTurn;
  splice_budget_ = kSpliceBytesPerTurn;
  turn_datagrams_ = 0;
  if (now_ >= sweep_at_) sweepClosing();
  if (now_ >= gather_at_) lookAfterGatherers();
  refillSpares();
  if (refusal_count_ > 0) reportRefusals();
  readLinks();
  visitActive();
  clock_[0] = now_;
  control_[kEventCount] = event_count_;
  control_[kFreeSlots] = slots_ - kept_slots_;
}

// Visits the active sockets in the order in which they came, each once or, while it has more, again and again in turn.
void Engine::visitActive() {
  for (int visits = 0; visits < kVisitsPerTurn && ring_head_ != ring_tail_; visits++) {
    if (eventsFull() || data_budget_ <= 0 || byte_budget_ <= 0 || splice_budget_ <= 0 || free_count_ == 0) return;
    if (turn_datagrams_ >= kDatagramsPerTurn) return;
    const int32_t id = ring_[ring_head_++ & ring_mask_];
    Socket& s = sockets_[id];
    s.flags &= ~kActive;
    bool more = false;
    switch (s.kind) {
      case Kind::Free:
        break;
      case Kind::Listener:
        more = !(s.flags & kPaused) && visitListener(id);
        break;
      case Kind::Stream:
        more = s.state == State::Spliced ? visitSpliced(id) : visitStream(id);
        break;
      case Kind::Datagram:
      case Kind::Ping:
        more = visitDatagram(id);
        break;
    }
    if (more) activate(id);
  }
}

// Now and then: what closes in the background must not do so for ever, and paused listeners are tried again.
void Engine::sweepClosing() {
  for (int32_t id = 0; id < socket_high_ && (closing_count_ > 0 || paused_count_ > 0); id++) {
    Socket& s = sockets_[id];
    if (s.kind == Kind::Free) continue;
    if (s.flags & kPaused) {
      s.flags &= ~kPaused;
      paused_count_--;
      activate(id);
    } else if (s.state == State::Closing && now_ - s.progress_at >= kCloseTimeout) {
      counters_.background_given_up++;
      closeSocket(id, true);
    }
  }
  sweep_at_ = closing_count_ > 0 ? now_ + kSweepInterval : std::numeric_limits<double>::infinity();
}

}  // namespace netns
