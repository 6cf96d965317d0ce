// The last part of a turn: the commands, in order, each checked before anything of it is done.
//
// Payload for one stream that comes in several commands leaves with one system call, and so do equally long datagrams for one
// place. Frames may be written in between: their order to sends is of no meaning.
#include <errno.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "engine.h"

namespace netns {

// Remembers what is wrong with a command; process() ends with it. Always false.
bool Engine::bad(const char* what, const int32_t* c) {
  snprintf(bad_, sizeof(bad_), "bad command: %s (op %d, id %d, offset %d, length %d, a %d, b %d)", what, c[0], c[1], c[2],
           c[3], c[4], c[5]);
  return false;
}

// The slot of this turn that holds all of [offset, offset + length); `slots_` for the area of small frames; -1 for neither.
int32_t Engine::slotOf(int32_t offset, int32_t length) const {
  if (offset < 0 || length < 0) return -1;
  const int64_t end = static_cast<int64_t>(offset) + length;
  const int32_t slot = offset / kSlotSize;
  if (slot >= slots_) return end <= static_cast<int64_t>(slab_size_) ? slots_ : -1;
  if (turn_of_[slot] != turn_ || end > (static_cast<int64_t>(slot) + 1) * kSlotSize) return -1;
  return slot;
}

bool Engine::commit() {
  const int32_t count = control_[kCommandCount];
  const int32_t used = control_[kSpareUsed];
  control_[kCommandCount] = 0;
  control_[kSpareUsed] = 0;
  bool good = true;
  const int32_t none[kCommandStride] = {0};
  if (count < 0 || count > kMaxCommands) good = bad("the number of commands is out of range", none);
  else if (used < 0 || used > spare_count_) good = bad("the number of spares is out of range", none);
  if (good) {
    for (int32_t i = 0; i < count && good; i++) {
      good = carryOut(commands_ + static_cast<ptrdiff_t>(i) * kCommandStride, command_addresses_ + 2 * i);
    }
    flushSends();
    flushDatagrams();
    startSplices();
    endSplices();
  }
  releaseTurnSlots();
  return good;
}

bool Engine::carryOut(const int32_t* command, const Endpoint* addresses) {
  const int32_t id = command[1];
  const int32_t offset = command[2];
  const int32_t length = command[3];
  const int32_t a = command[4];
  const Op op = static_cast<Op>(command[0]);

  if (op == Op::Write) {
    if (id < 0 || id >= kMaxLinks || !links_[id].ever) return bad("no such link", command);
    if (length == 0 || slotOf(offset, length) < 0) return bad("the frame is not in memory of this turn", command);
    if (links_[id].plain && length <= kVnetHeader) return bad("the frame is no longer than its virtio header", command);
    writeFrame(links_[id], offset, length);
    return true;
  }

  if (id < 0 || id >= max_sockets_ || sockets_[id].kind == Kind::Free || sockets_[id].state == State::Closing) {
    return bad("no such socket", command);
  }
  Socket& s = sockets_[id];
  const bool stream = s.kind == Kind::Stream;
  if (op != Op::Send || sends_.socket != id) flushSends();
  if (op != Op::SendTo || datagrams_.socket != id) flushDatagrams();

  switch (op) {
    case Op::Send: {
      if (!stream || s.state == State::Spliced) return bad("Send wants a stream", command);
      const int32_t slot = slotOf(offset, length);
      if (slot < 0 || slot >= slots_) return bad("the payload is not in a slot of this turn", command);
      if (length == 0 || s.state == State::Failed || s.error != 0) return true;
      if (s.backlog > 0 || s.state == State::Connecting) {
        if (!keep(id, slot, offset, length)) {
          counters_.backlog_overflows++;
          fail(id, ENOBUFS);
        }
        return true;
      }
      if (sends_.count == kSendVectors) flushSends();
      if (s.backlog > 0) return carryOut(command, addresses);
      sends_.socket = id;
      sends_.vectors[sends_.count++] = {slab_ + offset, static_cast<size_t>(length)};
      sends_.bytes += static_cast<size_t>(length);
      return true;
    }
    case Op::SendTo: {
      if (s.kind != Kind::Datagram && s.kind != Kind::Ping) return bad("SendTo wants a datagram socket", command);
      if (a < 0 || a > UINT16_MAX) return bad("the segment size is out of range", command);
      int32_t path = command[5];
      if (path < 0 || path > (kPathHops | kPathFragments) || (path & kPathFragments) == kPathFragments) {
        return bad("no such path", command);
      }
      if (slotOf(offset, length) < 0) return bad("the datagram is not in memory of this turn", command);
      if ((path & kPathFragments) == 0) path |= s.path & kPathFragments;
      if (path != s.path) {
        flushDatagrams();
        setPath(s, path);
      }
      auto& batch = datagrams_;
      const auto size = static_cast<size_t>(length);
      const bool mergeable = a == 0 && length > 0 && (s.flags & kGso);
      if (batch.socket >= 0 && !(mergeable && length <= batch.size && batch.bytes + size <= kMaxPayload &&
                                 memcmp(addresses, batch.addresses, sizeof(batch.addresses)) == 0)) {
        flushDatagrams();
      }
      if (!mergeable) {
        iovec vector{slab_ + offset, size};
        sendDatagrams(id, addresses, &vector, 1, a);
        return true;
      }
      if (batch.socket < 0) {
        batch.socket = id;
        batch.size = length;
        memcpy(batch.addresses, addresses, sizeof(batch.addresses));
      }
      batch.vectors[batch.count++] = {slab_ + offset, size};
      batch.bytes += size;
      if (batch.count == kSendVectors || length < batch.size) flushDatagrams();  // only the last may be shorter
      return true;
    }
    case Op::Consume:
      if (!stream || a < 0) return bad("Consume wants a stream and a number of bytes", command);
      if (s.state == State::Failed) return true;
      if (a > s.reported) return bad("more bytes are consumed than were reported", command);
      consume(id, a);
      return true;
    case Op::Rewind:
      if (!stream || a < 0) return bad("Rewind wants a stream and an offset", command);
      if (s.state == State::Failed) return true;
      if (a > s.reported) return bad("the offset lies behind what was reported", command);
      rewind(s, a);
      activate(id);
      return true;
    case Op::Credit:
      if (!stream || a < 0 || command[5] < 0 || command[5] > kMaxPayload) {
        return bad("Credit wants a stream, a number of bytes, and at most MAX_PAYLOAD in one record", command);
      }
      s.credit = a;
      s.chunk = command[5];
      if (a > 0 && (s.flags & kReadable)) activate(id);
      return true;
    case Op::Shutdown:
      if (!stream) return bad("Shutdown wants a stream", command);
      if (s.state == State::Failed || (s.flags & kShutdownDone)) return true;
      s.flags |= kShutdownWanted;
      if (s.backlog == 0 && s.state == State::Open) {
        s.flags |= kShutdownDone;
        (void)shutdown(s.fd, SHUT_WR);
      }
      return true;
    case Op::Close:
      closeSocket(id, false);
      return true;
    case Op::Reset:
      closeSocket(id, true);
      return true;
    case Op::Write:
      break;
  }
  return bad("no such operation", command);
}

void Engine::flushSends() {
  if (sends_.socket < 0) return;
  const int32_t id = sends_.socket;
  sends_.socket = -1;
  Socket& s = sockets_[id];
  if (s.flags & kSent) noDelay(s);
  s.flags |= kSent;
  msghdr message{};
  message.msg_iov = sends_.vectors;
  message.msg_iovlen = static_cast<size_t>(sends_.count);
  ssize_t sent;
  do sent = sendmsg(s.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  counters_.stream_sends++;
  if (sent < 0 && errno != EAGAIN) {
    sendFailed(id, errno);
  } else {
    size_t taken = sent < 0 ? 0 : static_cast<size_t>(sent);
    counters_.stream_bytes_sent += taken;
    noteSent(s, static_cast<ssize_t>(taken));
    if (taken < sends_.bytes) s.flags &= ~kWritable;
    for (int32_t i = 0; i < sends_.count; i++) {
      const iovec& vector = sends_.vectors[i];
      if (taken >= vector.iov_len) {
        taken -= vector.iov_len;
        continue;
      }
      const auto offset = static_cast<int32_t>(static_cast<uint8_t*>(vector.iov_base) - slab_ + static_cast<ptrdiff_t>(taken));
      const auto length = static_cast<int32_t>(vector.iov_len - taken);
      taken = 0;
      if (!keep(id, offset / kSlotSize, offset, length)) {
        counters_.backlog_overflows++;
        fail(id, ENOBUFS);
        break;
      }
    }
  }
  sends_.count = 0;
  sends_.bytes = 0;
}

void Engine::flushDatagrams() {
  if (datagrams_.socket < 0) return;
  const int32_t id = datagrams_.socket;
  datagrams_.socket = -1;
  sendDatagrams(id, datagrams_.addresses, datagrams_.vectors, datagrams_.count, datagrams_.count > 1 ? datagrams_.size : 0);
  datagrams_.count = 0;
  datagrams_.bytes = 0;
}

}  // namespace netns
