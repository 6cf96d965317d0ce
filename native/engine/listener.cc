// Theory of operation. A listener is a socket at a path, watched by a uv_poll; each connection is one call of `accepted` with its
// descriptor and who made it, as the kernel says (SO_PEERCRED), so that a caller can turn others away before reading a byte.
//
// The file's mode is 0600 from the first moment: Linux gives a socket's file the mode of the socket itself, less the umask, and
// fchmod() sets the former. The umask would be one for all threads.
//
// A path that is taken stays so: to find out whether its owner lives (connectChannel() says ECONNREFUSED where not), and to remove
// the file, is the caller's, under a lock.
//
// Without a descriptor left, accept() fails and the connection stays in the queue, which stays readable. So watching pauses for
// kPauseMs then.
//
// Life: as a channel's. Two handles of libuv, and JavaScript, have to let go before the memory is freed.
#include "listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

namespace netns {
namespace {

constexpr int kBacklog = 128;
constexpr uint64_t kPauseMs = 100;
constexpr int kMaxBurst = 64;  // connections at once

class Listener {
 public:
  explicit Listener(napi_env env) : env_(env) {}
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Returns 0 or -errno, and holds nothing then.
  int open(const sockaddr_un& address, socklen_t length, napi_value self, napi_value accepted);
  void close();
  static void finalize(napi_env, void* data, void*) {
    auto* listener = static_cast<Listener*>(data);
    listener->finalized_ = true;
    listener->close();
    listener->free_if_unused();
  }

 private:
  static void on_readable(uv_poll_t* handle, int status, int events);
  static void on_pause_end(uv_timer_t* handle) { static_cast<Listener*>(handle->data)->watch(); }
  static void on_environment_end(napi_async_cleanup_hook_handle, void* data) { static_cast<Listener*>(data)->close(); }
  void watch() { uv_poll_start(&poll_, UV_READABLE, on_readable); }
  bool accept_one();  // false when there is nothing more for now
  void tell(int fd);
  void handle_closed() {
    if (--handles_ > 0) return;
    napi_remove_async_cleanup_hook(cleanup_);
    free_if_unused();
  }
  void free_if_unused() {
    if (finalized_ && handles_ == 0) delete this;
  }

  napi_env env_;
  uv_poll_t poll_{};
  uv_timer_t pause_{};
  int fd_ = -1;
  int handles_ = 0;  // those that libuv holds
  bool finalized_ = false;
  napi_ref self_ = nullptr;
  napi_ref accepted_ = nullptr;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

// A listening socket, or -errno.
int listen_at(const sockaddr_un& address, socklen_t length) {
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  int error = 0;
  if (fchmod(fd, 0600) < 0 || bind(fd, reinterpret_cast<const sockaddr*>(&address), length) < 0) {
    error = errno;
  } else if (listen(fd, kBacklog) < 0) {
    error = errno;
    unlink(address.sun_path);
  }
  if (error == 0) return fd;
  ::close(fd);
  return -error;
}

int Listener::open(const sockaddr_un& address, socklen_t length, napi_value self, napi_value accepted) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return -EINVAL;
  const int fd = listen_at(address, length);
  if (fd < 0) return fd;
  const int error = uv_poll_init(loop, &poll_, fd);
  if (error != 0) {
    unlink(address.sun_path);
    ::close(fd);
    return error;
  }
  uv_timer_init(loop, &pause_);
  fd_ = fd;
  handles_ = 2;
  poll_.data = this;
  pause_.data = this;
  napi_create_reference(env_, self, 1, &self_);
  napi_create_reference(env_, accepted, 1, &accepted_);
  napi_add_async_cleanup_hook(env_, on_environment_end, this, &cleanup_);
  watch();
  return 0;
}

void Listener::close() {
  if (fd_ < 0) return;
  uv_poll_stop(&poll_);
  uv_timer_stop(&pause_);
  ::close(fd_);
  fd_ = -1;
  napi_delete_reference(env_, self_);
  napi_delete_reference(env_, accepted_);
  const auto closed = [](uv_handle_t* handle) { static_cast<Listener*>(handle->data)->handle_closed(); };
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&pause_), closed);
}

void Listener::on_readable(uv_poll_t* handle, int, int) {
  auto* listener = static_cast<Listener*>(handle->data);
  for (int i = 0; i < kMaxBurst && listener->fd_ >= 0 && listener->accept_one(); i++) continue;
}

bool Listener::accept_one() {
  const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) return true;
  if (fd < 0 && errno != EAGAIN) {
    uv_poll_stop(&poll_);
    uv_timer_start(&pause_, on_pause_end, kPauseMs, 0);
  }
  if (fd < 0) return false;
  tell(fd);
  return true;
}

void Listener::tell(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) {
    ::close(fd);
    return;
  }
  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  napi_value self, function, arguments[3];
  napi_get_reference_value(env_, self_, &self);
  napi_get_reference_value(env_, accepted_, &function);
  napi_create_int32(env_, fd, &arguments[0]);
  napi_create_uint32(env_, peer.uid, &arguments[1]);
  napi_create_int32(env_, peer.pid, &arguments[2]);
  // No async context, as in a channel.
  if (napi_make_callback(env_, nullptr, self, function, 3, arguments, nullptr) == napi_pending_exception) {
    napi_value error;
    napi_get_and_clear_last_exception(env_, &error);
    napi_fatal_exception(env_, error);
  }
  napi_close_handle_scope(env_, scope);
}

// Makes the path at `value` an address. Returns 0, -errno where there can be no such socket, or 1 with an exception pending.
int read_path(napi_env env, napi_value value, sockaddr_un* address, socklen_t* length) {
  size_t bytes = 0;
  if (value == nullptr || napi_get_value_string_utf8(env, value, nullptr, 0, &bytes) != napi_ok || bytes == 0) {
    napi_throw_type_error(env, nullptr, "a path is wanted");
    return 1;
  }
  *address = {};
  address->sun_family = AF_UNIX;
  if (bytes >= sizeof address->sun_path) return -ENAMETOOLONG;
  napi_get_value_string_utf8(env, value, address->sun_path, sizeof address->sun_path, nullptr);
  if (std::strlen(address->sun_path) != bytes) return -EINVAL;
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + bytes + 1);
  return 0;
}

napi_value number(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value close_listener(napi_env env, napi_callback_info info) {
  napi_value self;
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, &self, nullptr);
  if (napi_unwrap(env, self, &data) == napi_ok) static_cast<Listener*>(data)->close();
  else napi_throw_type_error(env, nullptr, "not a listener");
  return nullptr;
}

napi_value listen_channel(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], object;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  napi_valuetype type = napi_undefined;
  if (count > 1) napi_typeof(env, arguments[1], &type);
  if (type != napi_function) {
    napi_throw_type_error(env, nullptr, "listenChannel() wants a path and a function");
    return nullptr;
  }
  sockaddr_un address;
  socklen_t length = 0;
  int error = read_path(env, arguments[0], &address, &length);
  if (error > 0) return nullptr;
  if (error < 0) return number(env, error);
  napi_property_descriptor methods[] = {
      {"close", nullptr, close_listener, nullptr, nullptr, nullptr, napi_enumerable, nullptr},
  };
  napi_create_object(env, &object);
  napi_define_properties(env, object, 1, methods);
  auto* listener = new (std::nothrow) Listener(env);
  error = listener == nullptr ? -ENOMEM : listener->open(address, length, object, arguments[1]);
  if (error != 0) {
    delete listener;
    return number(env, error);
  }
  napi_wrap(env, object, listener, Listener::finalize, nullptr, nullptr);
  return object;
}

napi_value connect_channel(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  sockaddr_un address;
  socklen_t length = 0;
  const int error = read_path(env, count > 0 ? argument : nullptr, &address, &length);
  if (error > 0) return nullptr;
  if (error < 0) return number(env, error);
  const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return number(env, -errno);
  int result;
  do result = connect(fd, reinterpret_cast<const sockaddr*>(&address), length);
  while (result < 0 && errno == EINTR);
  if (result == 0) return number(env, fd);
  const int reason = errno;
  ::close(fd);
  return number(env, -reason);
}

napi_value peer_credentials(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value argument, object, value;
  int32_t fd;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count < 1 || napi_get_value_int32(env, argument, &fd) != napi_ok || fd < 0) {
    napi_throw_type_error(env, nullptr, "peerCredentials() wants a descriptor");
    return nullptr;
  }
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0) return number(env, -errno);
  napi_create_object(env, &object);
  napi_set_named_property(env, object, "pid", number(env, peer.pid));
  napi_create_uint32(env, peer.uid, &value);
  napi_set_named_property(env, object, "uid", value);
  napi_create_uint32(env, peer.gid, &value);
  napi_set_named_property(env, object, "gid", value);
  return object;
}

}  // namespace
}  // namespace netns

napi_value listener_init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {
      {"listenChannel", netns::listen_channel},
      {"connectChannel", netns::connect_channel},
      {"peerCredentials", netns::peer_credentials},
  };
  for (const auto& each : functions) {
    napi_value function;
    napi_create_function(env, each.name, NAPI_AUTO_LENGTH, each.call, nullptr, &function);
    napi_set_named_property(env, exports, each.name, function);
  }
  return exports;
}
