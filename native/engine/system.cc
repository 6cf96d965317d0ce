#include "system.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/random.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <uv.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace netns {
namespace {

constexpr int kChildFd = 3;

napi_value throwErrno(napi_env env, int error) {
  napi_throw_error(env, uv_err_name(-error), uv_strerror(-error));
  return nullptr;
}

bool readString(napi_env env, napi_value value, std::string* text) {
  size_t length = 0;
  if (napi_get_value_string_utf8(env, value, nullptr, 0, &length) != napi_ok) return false;
  text->resize(length);
  napi_get_value_string_utf8(env, value, text->data(), length + 1, &length);
  return text->find('\0') == std::string::npos;
}

bool readStrings(napi_env env, napi_value value, std::vector<std::string>* texts) {
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) return false;
  texts->resize(length);
  for (uint32_t i = 0; i < length; i++) {
    napi_value element;
    if (napi_get_element(env, value, i, &element) != napi_ok || !readString(env, element, &(*texts)[i])) return false;
  }
  return true;
}

std::vector<char*> pointers(std::vector<std::string>* texts) {
  std::vector<char*> all;
  for (std::string& text : *texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

// Returns 0 or an errno. Signals are as at the start of a program: Node ignores SIGPIPE, and what is ignored is inherited.
int spawnWith(pid_t* pid, const char* path, char* const* arguments, char* const* environment, int fd) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  if (int error = posix_spawn_file_actions_init(&actions); error != 0) return error;
  if (int error = posix_spawnattr_init(&attributes); error != 0) {
    posix_spawn_file_actions_destroy(&actions);
    return error;
  }
  sigset_t signals;
  memset(&signals, 0xff, sizeof(signals));  // sigfillset() leaves out glibc's own two, which would be ignored then
  posix_spawnattr_setsigdefault(&attributes, &signals);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  int error = posix_spawn_file_actions_adddup2(&actions, fd, kChildFd);
  for (int standard = 0; standard < 3 && error == 0; standard++) {
    error = posix_spawn_file_actions_adddup2(&actions, standard, standard);  // takes FD_CLOEXEC off
    const int flags = fcntl(standard, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) != 0) fcntl(standard, F_SETFL, flags & ~O_NONBLOCK);
  }
  if (error == 0) error = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

napi_value spawnProcess(napi_env env, napi_callback_info info) {
  size_t count = 4;
  napi_value given[4], result;
  napi_get_cb_info(env, info, &count, given, nullptr, nullptr);
  std::string path;
  std::vector<std::string> arguments, environment;
  int32_t fd = -1;
  if (count < 4 || !readString(env, given[0], &path) || !readStrings(env, given[1], &arguments) ||
      !readStrings(env, given[2], &environment) || napi_get_value_int32(env, given[3], &fd) != napi_ok || fd < 3) {
    napi_throw_type_error(env, "EINVAL", "spawn() wants a path, arguments, an environment, all without zero bytes, and a descriptor");
    return nullptr;
  }
  pid_t pid = 0;
  const int error = spawnWith(&pid, path.c_str(), pointers(&arguments).data(), pointers(&environment).data(), fd);
  if (error != 0) return throwErrno(env, error);
  napi_create_int32(env, pid, &result);
  return result;
}

napi_value reapProcess(napi_env env, napi_callback_info info) {
  size_t count = 1;
  int32_t pid = 0;
  napi_value given, result;
  napi_get_cb_info(env, info, &count, &given, nullptr, nullptr);
  if (count < 1 || napi_get_value_int32(env, given, &pid) != napi_ok || pid < 1) {
    napi_throw_type_error(env, nullptr, "reap() wants a process id");
    return nullptr;
  }
  int status = 0;
  pid_t ended;
  do ended = waitpid(pid, &status, 0);
  while (ended < 0 && errno == EINTR);
  if (ended < 0) status = 0;  // ECHILD: we were started with SIGCHLD ignored, and the kernel has reaped it
  napi_create_int32(env, WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), &result);
  return result;
}

napi_value fillRandom(napi_env env, napi_callback_info info) {
  size_t count = 1, length = 0;
  napi_value given;
  napi_typedarray_type type;
  void* at = nullptr;
  napi_get_cb_info(env, info, &count, &given, nullptr, nullptr);
  if (count < 1 || napi_get_typedarray_info(env, given, &type, &length, &at, nullptr, nullptr) != napi_ok ||
      type != napi_uint8_array) {
    napi_throw_type_error(env, nullptr, "fillRandom() wants a Uint8Array");
    return nullptr;
  }
  for (size_t done = 0; done < length;) {
    const ssize_t got = getrandom(static_cast<uint8_t*>(at) + done, length - done, 0);
    if (got < 0 && errno != EINTR) return throwErrno(env, errno);
    if (got > 0) done += static_cast<size_t>(got);
  }
  return nullptr;
}

}  // namespace
}  // namespace netns

napi_value system_init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } functions[] = {{"spawn", netns::spawnProcess}, {"reap", netns::reapProcess}, {"fillRandom", netns::fillRandom}};
  for (const auto& [name, call] : functions) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, call, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  }
  return exports;
}
