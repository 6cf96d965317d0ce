// The few system calls that Node has not, or loads much for.
#include "system.h"

#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace netns {
namespace {

// The only argument as an integer of at least `least`; false with an exception pending.
bool read_argument(napi_env env, napi_callback_info info, int32_t least, const char* wanted, int32_t* out) {
  size_t count = 1;
  napi_value argument;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count == 1 && napi_get_value_int32(env, argument, out) == napi_ok && *out >= least) return true;
  napi_throw_type_error(env, nullptr, wanted);
  return false;
}

// fs.closeSync() would do, if Node did not warn in a worker about descriptors that it did not open.
napi_value close_fd(napi_env env, napi_callback_info info) {
  int32_t fd;
  if (read_argument(env, info, 3, "closeFd() wants a descriptor above 2", &fd)) ::close(fd);
  return nullptr;
}

// For a child that Node did not start, and therefore does not wait for.
napi_value wait_for_child(napi_env env, napi_callback_info info) {
  int32_t pid;
  if (!read_argument(env, info, 2, "waitForChild() wants a process id", &pid)) return nullptr;
  int status = 0;
  pid_t ended;
  do ended = waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) status = 0;
  napi_value result;
  napi_create_int32(env, WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), &result);
  return result;
}

napi_value fill_random(napi_env env, napi_callback_info info) {
  size_t count = 1, length = 0;
  napi_value argument;
  napi_typedarray_type type;
  void* bytes = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count < 1 || napi_get_typedarray_info(env, argument, &type, &length, &bytes, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, nullptr, "fillRandom() wants a Uint8Array");
    return nullptr;
  }
  for (size_t filled = 0; filled < length;) {
    const ssize_t got = getrandom(static_cast<uint8_t*>(bytes) + filled, length - filled, 0);
    if (got > 0) {
      filled += static_cast<size_t>(got);
    } else if (errno != EINTR) {
      napi_throw_error(env, nullptr, "the kernel gives no random bytes");
      return nullptr;
    }
  }
  return nullptr;
}

// Node-API has no call for this. V8 does it when it hears of more memory that hangs on its objects than it may ever have: the only
// way in which it makes its young generation small again at once, too, as what Node has (`--expose-gc`) does not. What survives
// the first time is in two places until the second.
napi_value collect_garbage(napi_env env, napi_callback_info) {
  constexpr int64_t kBeyondAnyLimit = int64_t{1} << 42;
  for (int i = 0; i < 2; i++) {
    int64_t total;
    napi_adjust_external_memory(env, kBeyondAnyLimit, &total);
    napi_adjust_external_memory(env, -kBeyondAnyLimit, &total);
  }
  return nullptr;
}

}  // namespace
}  // namespace netns

napi_value system_init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {
      {"closeFd", netns::close_fd},
      {"waitForChild", netns::wait_for_child},
      {"fillRandom", netns::fill_random},
      {"collectGarbage", netns::collect_garbage},
  };
  for (const auto& each : functions) {
    napi_value function;
    napi_create_function(env, each.name, NAPI_AUTO_LENGTH, each.call, nullptr, &function);
    napi_set_named_property(env, exports, each.name, function);
  }
  return exports;
}
