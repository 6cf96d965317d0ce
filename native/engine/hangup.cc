// Theory of operation. Somebody hands us a descriptor whose hangup tells us to end (slirp4netns's --exit-fd), and Node has no
// way to hear of that alone: it would read. A watch is a uv_poll for nothing but the disconnection, which is what poll(2) reports
// unasked; it calls back once. The descriptor stays its owner's: it is never closed, and its flags, which it may share with
// other processes, are put back after libuv has made it non-blocking.
//
// Life. A watch ends with its event or with the environment.
#include "hangup.h"

#include <fcntl.h>
#include <uv.h>

#include <cstdint>
#include <new>

namespace netns {
namespace {

class Watch {
 public:
  Watch(napi_env env, napi_ref callback) : env_(env), callback_(callback) {}
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Returns 0 or -errno; then the watch is not under way.
  int start(int fd) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return UV_EINVAL;
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0) return UV_EBADF;
    const int error = uv_poll_init(loop, &poll_, fd);
    fcntl(fd, F_SETFL, flags);
    if (error != 0) return error;
    poll_.data = this;
    napi_add_async_cleanup_hook(env_, [](napi_async_cleanup_hook_handle, void* data) { static_cast<Watch*>(data)->close(); },
                                this, &cleanup_);
    uv_poll_start(&poll_, UV_DISCONNECT, [](uv_poll_t* handle, int, int) { static_cast<Watch*>(handle->data)->fire(); });
    return 0;
  }

 private:
  void fire() {
    napi_handle_scope scope;
    napi_open_handle_scope(env_, &scope);
    napi_value function, receiver;
    napi_get_reference_value(env_, callback_, &function);
    napi_get_global(env_, &receiver);
    uv_poll_stop(&poll_);
    if (napi_make_callback(env_, nullptr, receiver, function, 0, nullptr, nullptr) == napi_pending_exception) {
      napi_value error;
      napi_get_and_clear_last_exception(env_, &error);
      napi_fatal_exception(env_, error);
    }
    napi_close_handle_scope(env_, scope);
    close();
  }

  void close() {
    if (closing_) return;
    closing_ = true;
    napi_delete_reference(env_, callback_);
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), [](uv_handle_t* handle) {
      auto* watch = static_cast<Watch*>(handle->data);
      napi_remove_async_cleanup_hook(watch->cleanup_);
      delete watch;
    });
  }

  napi_env env_;
  napi_ref callback_;
  uv_poll_t poll_{};
  bool closing_ = false;
  napi_async_cleanup_hook_handle cleanup_ = nullptr;
};

napi_value watch_hangup(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2], result;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  int32_t fd = -1;
  napi_valuetype type = napi_undefined;
  if (count > 1) napi_typeof(env, arguments[1], &type);
  if (type != napi_function || napi_get_value_int32(env, arguments[0], &fd) != napi_ok || fd < 0) {
    napi_throw_type_error(env, nullptr, "watchHangup() wants a descriptor and a function");
    return nullptr;
  }
  napi_ref callback;
  napi_create_reference(env, arguments[1], 1, &callback);
  auto* watch = new (std::nothrow) Watch(env, callback);
  const int error = watch == nullptr ? UV_ENOMEM : watch->start(fd);
  if (error != 0) {
    napi_delete_reference(env, callback);
    delete watch;
  }
  napi_create_int32(env, error, &result);
  return result;
}

}  // namespace
}  // namespace netns

napi_value hangup_init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "watchHangup", NAPI_AUTO_LENGTH, netns::watch_hangup, nullptr, &function);
  napi_set_named_property(env, exports, "watchHangup", function);
  return exports;
}
