// Becoming another program, and a lock on a file: what the command line needs besides a network.
//
// A program that comes in our place must not see that Node was here: descriptors of ours, a description of the terminal that was
// made non-blocking, a signal that Node ignores (SIGPIPE) or has a handler for. Where execve() fails Node goes on, so the
// dispositions are put back then.
#include "execute.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

namespace netns {
namespace {

constexpr unsigned kCloseOnExec = 1 << 2;    // CLOSE_RANGE_CLOEXEC
constexpr int kLockTries = 20;               // a few ms in all
constexpr long kLockPauseNs = 200'000;
constexpr uint32_t kMostStrings = 1 << 20;

napi_value number(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

napi_value lock_file(napi_env env, napi_callback_info info) {
  size_t count = 2;
  napi_value arguments[2];
  int32_t fd;
  bool wait = false;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count < 2 || napi_get_value_int32(env, arguments[0], &fd) != napi_ok || fd < 0 ||
      napi_get_value_bool(env, arguments[1], &wait) != napi_ok) {
    napi_throw_type_error(env, nullptr, "lockFile() wants a descriptor, and whether to wait");
    return nullptr;
  }
  for (int tries = wait ? kLockTries : 1;; tries--) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return number(env, 0);
    if (errno != EINTR && (errno != EWOULDBLOCK || tries <= 1)) return number(env, -errno);
    const timespec pause{0, kLockPauseNs};
    nanosleep(&pause, nullptr);
  }
}

// A string without a zero byte; false with an exception pending.
bool read_string(napi_env env, napi_value value, std::string* out) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) == napi_ok) {
    out->resize(length + 1);
    napi_get_value_string_utf8(env, value, out->data(), length + 1, nullptr);
    out->resize(length);
    if (out->find('\0') == std::string::npos) return true;
  }
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, nullptr, "execute() wants strings without a zero byte");
  return false;
}

bool read_strings(napi_env env, napi_value array, std::vector<std::string>* out) {
  bool is_array = false;
  uint32_t length = 0;
  napi_is_array(env, array, &is_array);
  if (!is_array || napi_get_array_length(env, array, &length) != napi_ok || length > kMostStrings) {
    napi_throw_type_error(env, nullptr, "execute() wants a path, an array of arguments, and an array of NAME=value");
    return false;
  }
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    std::string text;
    if (napi_get_element(env, array, i, &element) != napi_ok || !read_string(env, element, &text)) return false;
    out->push_back(std::move(text));
  }
  return true;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> result;
  result.reserve(strings.size() + 1);
  for (std::string& each : strings) result.push_back(each.data());
  result.push_back(nullptr);
  return result;
}

void close_on_exec() {
  if (syscall(SYS_close_range, 3u, ~0u, kCloseOnExec) == 0) return;
  rlimit limit{}; // before Linux 5.11
  getrlimit(RLIMIT_NOFILE, &limit);
  const auto end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 1 << 20));
  for (int fd = 3; fd < end; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
}

// Node marks these close-on-exec, and may have made their descriptions non-blocking.
void hand_over(int fd) {
  fcntl(fd, F_SETFD, 0);
  const int flags = fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

// Returns errno.
int become(const char* path, char* const* arguments, char* const* environment) {
  struct sigaction before[NSIG];
  bool saved[NSIG] = {};
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  sigset_t none, mask;
  sigemptyset(&none);
  close_on_exec();
  for (int fd = 0; fd < 3; fd++) hand_over(fd);
  for (int each = 1; each < NSIG; each++) saved[each] = sigaction(each, &standard, &before[each]) == 0;
  pthread_sigmask(SIG_SETMASK, &none, &mask);
  execve(path, arguments, environment);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  for (int each = 1; each < NSIG; each++) {
    if (saved[each]) sigaction(each, &before[each], nullptr);
  }
  return error;
}

napi_value execute(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  std::vector<std::string> words(1), environment;
  if (!read_string(env, arguments[0], &words[0]) || !read_strings(env, arguments[1], &words) ||
      !read_strings(env, arguments[2], &environment)) {
    return nullptr;
  }
  const std::string path = words[0];
  return number(env, -become(path.c_str(), pointers(words).data(), pointers(environment).data()));
}

}  // namespace
}  // namespace netns

napi_value execute_init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {{"lockFile", netns::lock_file}, {"execute", netns::execute}};
  for (const auto& each : functions) {
    napi_value function;
    napi_create_function(env, each.name, NAPI_AUTO_LENGTH, each.call, nullptr, &function);
    napi_set_named_property(env, exports, each.name, function);
  }
  return exports;
}
