// A question to a broker (native/launcher/broker.c), and its answer, while the loop waits: the asker needs it now, a broker answers
// within some microseconds, and it is asked once a second at most. One that does not answer in time is given up; an answer that
// comes later is known by its number and thrown away at the next question.
#include "broker.h"

#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

namespace netns {
namespace {

constexpr size_t kHeader = 16;
constexpr size_t kNumber = 12;                // where a message has its asker's number
constexpr size_t kMaxAnswer = kHeader + 65536;  // MAX_BROKER_TEXT of launcher/protocol.h behind its header

int64_t nowMilliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// Returns the length of the answer to this very question, or -errno.
ssize_t ask(int channel, const uint8_t* question, size_t length, int milliseconds, uint8_t* answer) {
  if (send(channel, question, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return -errno;
  const int64_t end = nowMilliseconds() + milliseconds;
  for (;;) {
    const ssize_t got = recv(channel, answer, kMaxAnswer, MSG_DONTWAIT);
    if (got == 0) return -EPIPE;
    if (got >= static_cast<ssize_t>(kHeader) && std::memcmp(answer + kNumber, question + kNumber, 4) == 0) return got;
    if (got > 0 || errno == EINTR) continue;
    if (errno != EAGAIN) return -errno;
    const int64_t left = end - nowMilliseconds();
    if (left <= 0) return -ETIMEDOUT;
    pollfd ready{channel, POLLIN, 0};
    (void)poll(&ready, 1, static_cast<int>(left));
  }
}

// askBroker(channel, question, milliseconds): the answer, or -errno
napi_value askBroker(napi_env env, napi_callback_info info) {
  size_t count = 3, length = 0;
  napi_value arguments[3];
  napi_typedarray_type type = napi_int8_array;
  void* question = nullptr;
  int32_t channel = -1;
  int32_t milliseconds = -1;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  const bool good = count == 3 && napi_get_value_int32(env, arguments[0], &channel) == napi_ok && channel > 2 &&
                    napi_get_typedarray_info(env, arguments[1], &type, &length, &question, nullptr, nullptr) == napi_ok &&
                    type == napi_uint8_array && length >= kHeader &&
                    napi_get_value_int32(env, arguments[2], &milliseconds) == napi_ok && milliseconds >= 0;
  if (!good) {
    napi_throw_type_error(env, nullptr, "askBroker() wants a descriptor above 2, a message and milliseconds");
    return nullptr;
  }
  napi_value result;
  const std::unique_ptr<uint8_t[]> answer(new (std::nothrow) uint8_t[kMaxAnswer]);
  const ssize_t got = answer == nullptr ? -ENOMEM : ask(channel, static_cast<uint8_t*>(question), length, milliseconds, answer.get());
  if (got < 0) {
    napi_create_int32(env, static_cast<int32_t>(got), &result);
    return result;
  }
  napi_value buffer;
  void* copy = nullptr;
  napi_create_arraybuffer(env, static_cast<size_t>(got), &copy, &buffer);
  std::memcpy(copy, answer.get(), static_cast<size_t>(got));
  napi_create_typedarray(env, napi_uint8_array, static_cast<size_t>(got), buffer, 0, &result);
  return result;
}

}  // namespace
}  // namespace netns

void broker_init(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "askBroker", NAPI_AUTO_LENGTH, netns::askBroker, nullptr, &function);
  napi_set_named_property(env, exports, "askBroker", function);
}
