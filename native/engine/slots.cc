// Slots and backlogs.
//
// A slot is free, of this turn (an event named it, or it is a spare), kept (pieces of backlog lie in it), or the last two
// at once until the turn ends. A backlog is a list of pieces. A payload that a socket did not take stays where it is and
// becomes a piece; but a small one is copied behind the piece before it, or into a slot of its own, so that a writer of
// small payloads cannot tie up a slot with each. Copies never go into a slot of this turn: a later command may still
// point there.
#include <cstring>

#include "engine.h"

namespace netns {

constexpr int32_t kSmallPayload = 8192;
// Below a quarter of free slots, large payloads are copied together as well.
constexpr int32_t kScarceShare = 4;

int32_t Engine::takeSlot() {
  const int32_t slot = free_slots_[--free_count_];
  markOfTurn(slot);
  return slot;
}

void Engine::markOfTurn(int32_t slot) {
  turn_of_[slot] = turn_;
  turn_slots_[turn_slot_count_++] = slot;
}

// After the commit: what was of this turn and is not kept is free. Spares stay spares, so that neither they nor the slots
// of frames wander through memory; those that a backlog keeps are replaced with the next refill.
void Engine::releaseTurnSlots() {
  int32_t spares = 0;
  for (int32_t i = 0; i < spare_count_; i++) {
    if (kept_[own_spares_[i]] == 0) own_spares_[spares++] = own_spares_[i];
  }
  spare_count_ = spares;
  for (int32_t i = turn_slot_count_ - 1; i >= 0; i--) {
    const int32_t slot = turn_slots_[i];
    if (kept_[slot] == 0) free_slots_[free_count_++] = slot;
  }
  turn_slot_count_ = 0;
  if (++turn_ == 0) turn_ = 1;
}

void Engine::refillSpares() {
  while (spare_count_ < kSpares && free_count_ > kSlotsForSockets) own_spares_[spare_count_++] = free_slots_[--free_count_];
  memcpy(spares_, own_spares_, sizeof(own_spares_));
  control_[kSpareCount] = spare_count_;
}

void Engine::setBacklog(int32_t id, int64_t bytes) {
  Socket& s = sockets_[id];
  if (bytes > 0 && s.backlog == 0) counters_.flushing++;
  if (bytes == 0 && s.backlog > 0) counters_.flushing--;
  s.backlog = bytes;
  backlog_[id] = bytes > INT32_MAX ? INT32_MAX : static_cast<int32_t>(bytes);
}

// Appends to the backlog. False when no piece is left, which only an endless number of orders for one slot can cause.
bool Engine::keep(int32_t id, int32_t slot, int32_t offset, int32_t length) {
  Socket& s = sockets_[id];
  if (s.backlog == 0) s.progress_at = now_;
  Piece* tail = s.backlog_tail >= 0 ? &pieces_[s.backlog_tail] : nullptr;
  const bool scarce = free_count_ < slots_ / kScarceShare;
  if (tail != nullptr && tail->slot == slot && tail->offset + tail->length == offset) {
    tail->length += length;
  } else {
    const bool copy = length <= kSmallPayload || scarce;
    const bool own_tail = tail != nullptr && turn_of_[tail->slot] != turn_ && kept_[tail->slot] == 1;
    const int32_t room = own_tail ? (tail->slot + 1) * kSlotSize - tail->offset - tail->length : 0;
    if (copy && room >= length) {
      memcpy(slab_ + tail->offset + tail->length, slab_ + offset, static_cast<size_t>(length));
      tail->length += length;
      counters_.backlog_copies++;
    } else {
      if (free_piece_ < 0) return false;
      const int32_t number = free_piece_;
      Piece& piece = pieces_[number];
      free_piece_ = piece.next;
      if (length <= kSmallPayload && !scarce && free_count_ > 0) {
        piece.slot = free_slots_[--free_count_];
        turn_of_[piece.slot] = 0;
        piece.offset = piece.slot * kSlotSize;
        memcpy(slab_ + piece.offset, slab_ + offset, static_cast<size_t>(length));
        counters_.backlog_copies++;
      } else {
        piece.slot = slot;
        piece.offset = offset;
        counters_.backlog_kept++;
      }
      piece.length = length;
      piece.next = -1;
      if (kept_[piece.slot]++ == 0) kept_slots_++;
      if (tail != nullptr) tail->next = number;
      else s.backlog_head = number;
      s.backlog_tail = number;
    }
  }
  setBacklog(id, s.backlog + length);
  if (s.backlog > s.drain_mark) s.drain_mark = s.backlog;
  return true;
}

void Engine::dropHeadPiece(Socket& s) {
  const int32_t number = s.backlog_head;
  Piece& piece = pieces_[number];
  s.backlog_head = piece.next;
  if (s.backlog_head < 0) s.backlog_tail = -1;
  if (--kept_[piece.slot] == 0) {
    kept_slots_--;
    if (turn_of_[piece.slot] != turn_) free_slots_[free_count_++] = piece.slot;
  }
  piece.next = free_piece_;
  free_piece_ = number;
}

void Engine::dropBacklog(int32_t id) {
  Socket& s = sockets_[id];
  while (s.backlog_head >= 0) dropHeadPiece(s);
  s.drain_mark = 0;
  setBacklog(id, 0);
}

}  // namespace netns
