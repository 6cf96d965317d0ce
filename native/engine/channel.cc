// Theory of operation. A channel makes a socket pair, watches one end with a uv_poll and leaves the other to be given to
// the launcher; or it takes an end whose other one somebody has already: a launcher that was started before us, or who connected
// to a listener (listener.cc). Every packet is one call of `message` with its bytes and the descriptors that came with it
// (SCM_RIGHTS, close-on-exec); the end of the peer is one call of `closed`, and so is a packet of more than kMaxPacket bytes,
// which nobody who means well sends. The protocols are not known here: launcher-protocol.ts.
//
// Sending never waits. The kernel takes some 200 KiB on the way to a peer that does not read, then send() says EAGAIN;
// whenWritable() tells once when there is room again. What to keep until then, and how much, is the caller's to decide.
//
// Life. While the channel is open it holds its JavaScript object and callbacks and keeps the loop alive. It closes once:
// by close(), by the end of the peer, or with the environment. The memory is freed when both libuv has closed the handle
// and JavaScript has let the object go.
#include "channel.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <new>

namespace netns {
namespace {

constexpr size_t kMaxPacket = 64 * 1024;
constexpr uint32_t kMaxDescriptors = 32;  // MAX_SOCKETS of launcher/protocol.h
constexpr int kMaxBurst = 64;  // packets at once: a peer that sends without end keeps nobody else waiting

class Channel {
 public:
  explicit Channel(napi_env env) : env_(env) {}
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Takes the descriptor `own`; where that is -1 it makes a pair, of which `peer` becomes the other end. Returns 0 or -errno, and
  // has taken nothing then.
  int open(napi_value self, napi_value message, napi_value closed, int own, int* peer);
  int send(const void* bytes, size_t length, const int* fds, size_t count);
  void when_writable(napi_value callback);
  void close();
  static void finalize(napi_env, void* data, void*) {
    auto* channel = static_cast<Channel*>(data);
    channel->finalized_ = true;
    channel->close();
    channel->free_if_unused();
  }

 private:
  static void on_ready(uv_poll_t* handle, int status, int events);
  static void on_environment_end(napi_async_cleanup_hook_handle, void* data) {
    static_cast<Channel*>(data)->close();
  }
  void watch() { uv_poll_start(&poll_, UV_READABLE | (writable_ != nullptr ? UV_WRITABLE : 0), on_ready); }
  void tell_writable();
  bool receive_one();  // false when there is nothing more for now
  napi_value value_of(napi_ref reference) const;
  void call(napi_value self, napi_value function, size_t count, const napi_value* arguments);
  void free_if_unused() {
    if (finalized_ && handle_closed_) delete this;
  }

  napi_env env_;
  uv_poll_t poll_{};
  int fd_ = -1;
  bool handle_closed_ = true;  // libuv does not hold poll_
  bool finalized_ = false;
  napi_ref self_ = nullptr;
  napi_ref message_ = nullptr;
  napi_ref closed_ = nullptr;
  napi_ref writable_ = nullptr;  // null: nobody waits for room
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

int Channel::open(napi_value self, napi_value message, napi_value closed, int own, int* peer) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return -EINVAL;
  int pair[2] = {own, -1};
  if (own < 0) {
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) return -errno;
  } else {
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(own, SOL_SOCKET, SO_TYPE, &type, &length) < 0) return -errno;
    if (type != SOCK_SEQPACKET) return -EPROTOTYPE;
    if (fcntl(own, F_SETFD, FD_CLOEXEC) < 0) return -errno;
  }
  int error = uv_poll_init(loop, &poll_, pair[0]);
  if (error != 0) {
    if (own < 0) {
      ::close(pair[0]);
      ::close(pair[1]);
    }
    return error;
  }
  fd_ = pair[0];
  *peer = pair[1];
  poll_.data = this;
  handle_closed_ = false;
  napi_create_reference(env_, self, 1, &self_);
  napi_create_reference(env_, message, 1, &message_);
  napi_create_reference(env_, closed, 1, &closed_);
  napi_add_async_cleanup_hook(env_, on_environment_end, this, &cleanup_);
  watch();
  return 0;
}

int Channel::send(const void* bytes, size_t length, const int* fds, size_t count) {
  if (fd_ < 0) return -EPIPE;
  iovec part{const_cast<void*>(bytes), length};
  alignas(cmsghdr) char ancillary[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = ancillary;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
    std::memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
  }
  ssize_t sent;
  do sent = sendmsg(fd_, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

// A later one takes the place of an earlier one.
void Channel::when_writable(napi_value callback) {
  if (fd_ < 0) return;
  if (writable_ != nullptr) napi_delete_reference(env_, writable_);
  napi_create_reference(env_, callback, 1, &writable_);
  watch();
}

void Channel::tell_writable() {
  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  napi_value callback = value_of(writable_);
  napi_delete_reference(env_, writable_);
  writable_ = nullptr;  // the callback may ask again
  watch();
  call(value_of(self_), callback, 0, nullptr);
  napi_close_handle_scope(env_, scope);
}

void Channel::close() {
  if (fd_ < 0) return;
  uv_poll_stop(&poll_);
  ::close(fd_);
  fd_ = -1;
  for (napi_ref reference : {self_, message_, closed_}) napi_delete_reference(env_, reference);
  if (writable_ != nullptr) napi_delete_reference(env_, writable_);
  writable_ = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), [](uv_handle_t* handle) {
    auto* channel = static_cast<Channel*>(handle->data);
    channel->handle_closed_ = true;
    napi_remove_async_cleanup_hook(channel->cleanup_);
    channel->free_if_unused();
  });
}

napi_value Channel::value_of(napi_ref reference) const {
  napi_value value;
  napi_get_reference_value(env_, reference, &value);
  return value;
}

void Channel::call(napi_value self, napi_value function, size_t count, const napi_value* arguments) {
  // No async context: the callback may close the channel, and the context would go while it is in use.
  if (napi_make_callback(env_, nullptr, self, function, count, arguments, nullptr) != napi_pending_exception) return;
  napi_value error;
  napi_get_and_clear_last_exception(env_, &error);
  napi_fatal_exception(env_, error);
}

void Channel::on_ready(uv_poll_t* handle, int status, int events) {
  auto* channel = static_cast<Channel*>(handle->data);
  if (status < 0 || (events & UV_READABLE) != 0) {
    for (int i = 0; i < kMaxBurst && channel->fd_ >= 0 && channel->receive_one(); i++) continue;
  }
  if (channel->fd_ >= 0 && status < 0) channel->watch();  // an error of the socket, which reading it has cleared, ends libuv's looking
  if (channel->fd_ >= 0 && channel->writable_ != nullptr && (events & UV_WRITABLE) != 0) channel->tell_writable();
}

// What came beside a packet that nobody gets.
void close_received(msghdr* message) {
  for (cmsghdr* part = CMSG_FIRSTHDR(message); part != nullptr; part = CMSG_NXTHDR(message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = CMSG_LEN(0); at + sizeof(int) <= part->cmsg_len; at += sizeof(int)) {
      int fd;
      std::memcpy(&fd, reinterpret_cast<char*>(part) + at, sizeof fd);
      ::close(fd);
    }
  }
}

bool Channel::receive_one() {
  uint8_t packet[kMaxPacket];
  alignas(cmsghdr) char ancillary[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
  iovec part{packet, sizeof packet};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = ancillary;
  message.msg_controllen = sizeof ancillary;
  ssize_t length = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  // That the peer ended with something of ours unread is told before what it said last.
  if (length < 0 && (errno == EINTR || errno == ECONNRESET)) return true;
  if (length < 0 && errno == EAGAIN) return false;

  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  const bool too_long = (message.msg_flags & MSG_TRUNC) != 0;
  if (too_long) close_received(&message);
  if (length <= 0 || too_long) {
    napi_value self = value_of(self_), closed = value_of(closed_);
    close();
    call(self, closed, 0, nullptr);
  } else {
    napi_value arguments[2], buffer;
    void* copy = nullptr;
    napi_create_arraybuffer(env_, static_cast<size_t>(length), &copy, &buffer);
    std::memcpy(copy, packet, static_cast<size_t>(length));
    napi_create_typedarray(env_, napi_uint8_array, static_cast<size_t>(length), buffer, 0, &arguments[0]);
    napi_create_array(env_, &arguments[1]);
    uint32_t count = 0;
    for (cmsghdr* part_of = CMSG_FIRSTHDR(&message); part_of != nullptr; part_of = CMSG_NXTHDR(&message, part_of)) {
      if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
      size_t bytes = part_of->cmsg_len - CMSG_LEN(0);
      for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(part_of) + at, sizeof fd);
        napi_value number;
        napi_create_int32(env_, fd, &number);
        napi_set_element(env_, arguments[1], count++, number);
      }
    }
    call(value_of(self_), value_of(message_), 2, arguments);
  }
  napi_close_handle_scope(env_, scope);
  return fd_ >= 0;
}

Channel* unwrap(napi_env env, napi_callback_info info, size_t* count, napi_value* arguments) {
  napi_value self;
  void* data = nullptr;
  napi_get_cb_info(env, info, count, arguments, &self, nullptr);
  if (napi_unwrap(env, self, &data) == napi_ok) return static_cast<Channel*>(data);
  napi_throw_type_error(env, nullptr, "not a channel");
  return nullptr;
}

// Up to kMaxDescriptors of an array; false with an exception pending.
bool read_descriptors(napi_env env, napi_value array, int* fds, uint32_t* count) {
  bool is_array = false;
  napi_is_array(env, array, &is_array);
  bool good = is_array && napi_get_array_length(env, array, count) == napi_ok && *count <= kMaxDescriptors;
  for (uint32_t i = 0; good && i < *count; i++) {
    napi_value element;
    good = napi_get_element(env, array, i, &element) == napi_ok &&
           napi_get_value_int32(env, element, &fds[i]) == napi_ok && fds[i] >= 0;
  }
  if (good) return true;
  bool pending = false; // an array's element may be a getter that throws
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, nullptr, "send() wants an array of at most 32 descriptors");
  return false;
}

napi_value send_bytes(napi_env env, napi_callback_info info) {
  size_t count = 2, length = 0;
  napi_value arguments[2], result;
  Channel* channel = unwrap(env, info, &count, arguments);
  if (channel == nullptr) return nullptr;
  napi_valuetype fds_type = napi_undefined;
  if (count > 1) napi_typeof(env, arguments[1], &fds_type);
  int fds[kMaxDescriptors];
  uint32_t fds_count = 0;
  if (fds_type != napi_undefined && !read_descriptors(env, arguments[1], fds, &fds_count)) return nullptr;
  napi_typedarray_type type;
  void* bytes = nullptr;
  if (count < 1 || napi_get_typedarray_info(env, arguments[0], &type, &length, &bytes, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array || length == 0) {
    napi_throw_type_error(env, nullptr, "send() wants a Uint8Array that is not empty");
    return nullptr;
  }
  napi_create_int32(env, length > kMaxPacket ? -EMSGSIZE : channel->send(bytes, length, fds, fds_count), &result);
  return result;
}

napi_value when_writable(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value callback;
  Channel* channel = unwrap(env, info, &count, &callback);
  if (channel == nullptr) return nullptr;
  napi_valuetype type = napi_undefined;
  if (count > 0) napi_typeof(env, callback, &type);
  if (type == napi_function) channel->when_writable(callback);
  else napi_throw_type_error(env, nullptr, "whenWritable() wants a function");
  return nullptr;
}

napi_value close_channel(napi_env env, napi_callback_info info) {
  size_t count = 0;
  Channel* channel = unwrap(env, info, &count, nullptr);
  if (channel != nullptr) channel->close();
  return nullptr;
}

napi_value open_channel(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value callbacks[3], object, peer_value;
  napi_get_cb_info(env, info, &count, callbacks, nullptr, nullptr);
  for (size_t i = 0; i < 2; i++) {
    napi_valuetype type = napi_undefined;
    if (i < count) napi_typeof(env, callbacks[i], &type);
    if (type == napi_function) continue;
    napi_throw_type_error(env, nullptr, "openChannel() wants two functions");
    return nullptr;
  }
  int32_t own = -1;
  napi_valuetype own_type = napi_undefined;
  if (count > 2) napi_typeof(env, callbacks[2], &own_type);
  if (own_type != napi_undefined && (napi_get_value_int32(env, callbacks[2], &own) != napi_ok || own < 3)) {
    napi_throw_type_error(env, nullptr, "openChannel() wants a descriptor above 2, or none");
    return nullptr;
  }
  napi_property_descriptor methods[] = {
      {"send", nullptr, send_bytes, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"whenWritable", nullptr, when_writable, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
      {"close", nullptr, close_channel, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_create_object(env, &object);
  napi_define_properties(env, object, sizeof methods / sizeof *methods, methods);
  auto* channel = new (std::nothrow) Channel(env);
  int peer = -1, error = channel == nullptr ? -ENOMEM : channel->open(object, callbacks[0], callbacks[1], own, &peer);
  if (error != 0) {
    delete channel;
    napi_throw_error(env, uv_err_name(error), uv_strerror(error));
    return nullptr;
  }
  napi_wrap(env, object, channel, Channel::finalize, nullptr, nullptr);
  napi_create_int32(env, peer, &peer_value);
  napi_set_named_property(env, object, "peer", peer_value);
  return object;
}

}  // namespace
}  // namespace netns

napi_value channel_init(napi_env env, napi_value exports) {
  napi_value open;
  napi_create_function(env, "openChannel", NAPI_AUTO_LENGTH, netns::open_channel, nullptr, &open);
  napi_set_named_property(env, exports, "openChannel", open);
  return exports;
}
