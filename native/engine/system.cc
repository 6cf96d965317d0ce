// The few system calls that Node has not, or loads much for.
#include "system.h"

#include <link.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "layout.h"

#ifndef TUN_F_USO4 /* Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

// Of V8's include/v8-initialization.h. Where the program that loads us has no such function, its address is null.
namespace v8 {
class V8 {
 public:
  [[gnu::weak]] static void SetFlagsFromString(const char* text);
};
}  // namespace v8

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

constexpr int32_t kTapHeader = 1;
constexpr int32_t kTapUso = 2;

int32_t prepare_tap(int fd) {
  ifreq request{};
  if (ioctl(fd, TUNGETIFF, &request) != 0) return errno == ENOTTY ? -EINVAL : -errno;
  const int flags = request.ifr_flags;  // of which IFF_NO_PI is always set
  if ((flags & IFF_TAP) == 0) return -EINVAL;
  if ((flags & IFF_VNET_HDR) == 0) return 0;
  const int header = kVnetHeader;
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) != 0) return -errno;
  constexpr unsigned kTcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (ioctl(fd, TUNSETOFFLOAD, kTcp | TUN_F_USO4 | TUN_F_USO6) == 0) return kTapHeader | kTapUso;
  if (ioctl(fd, TUNSETOFFLOAD, kTcp) != 0) (void)ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM);
  return kTapHeader;  // without offloads it is slower, not less
}

napi_value prepare_tap_of(napi_env env, napi_callback_info info) {
  int32_t fd;
  if (!read_argument(env, info, 0, "prepareTap() wants a descriptor", &fd)) return nullptr;
  napi_value result;
  napi_create_int32(env, prepare_tap(fd), &result);
  return result;
}

// if_nametoindex() opens a socket of a family that a confined process may not open.
napi_value interface_index(napi_env env, napi_callback_info info) {
  size_t count = 1, length = 0;
  napi_value argument, result;
  ifreq request{};
  napi_get_cb_info(env, info, &count, &argument, nullptr, nullptr);
  if (count != 1 || napi_get_value_string_utf8(env, argument, nullptr, 0, &length) != napi_ok) {
    napi_throw_type_error(env, nullptr, "interfaceIndex() wants a name");
    return nullptr;
  }
  int index = 0;
  const int fd = length < sizeof request.ifr_name ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
  if (fd >= 0) {
    napi_get_value_string_utf8(env, argument, request.ifr_name, sizeof request.ifr_name, nullptr);
    if (ioctl(fd, SIOCGIFINDEX, &request) == 0) index = request.ifr_ifindex;
    ::close(fd);
  }
  napi_create_int32(env, index, &result);
  return result;
}

napi_value has_reader_gone(napi_env env, napi_callback_info info) {
  int32_t fd;
  if (!read_argument(env, info, 0, "hasReaderGone() wants a descriptor", &fd)) return nullptr;
  pollfd watched{fd, 0, 0};  // errors and hang-ups are told without being asked for
  napi_value result;
  napi_get_boolean(env, poll(&watched, 1, 0) > 0, &result);
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

struct Bytes {
  int32_t fd;
  uint8_t* bytes;
  size_t length;
};

// A descriptor above 2 and a Uint8Array that is not empty; false with an exception pending.
bool read_bytes(napi_env env, napi_callback_info info, const char* wanted, Bytes* out) {
  size_t count = 2;
  napi_value arguments[2];
  napi_typedarray_type type;
  double fd = 0;
  bool typed = false;
  void* bytes = nullptr;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (count == 2 && napi_get_value_double(env, arguments[0], &fd) == napi_ok && fd >= 3 && fd <= INT32_MAX &&
      napi_is_typedarray(env, arguments[1], &typed) == napi_ok && typed &&
      napi_get_typedarray_info(env, arguments[1], &type, &out->length, &bytes, nullptr, nullptr) == napi_ok &&
      type == napi_uint8_array && out->length > 0 && bytes != nullptr) {
    out->fd = static_cast<int32_t>(fd);
    out->bytes = static_cast<uint8_t*>(bytes);
    return true;
  }
  napi_throw_type_error(env, nullptr, wanted);
  return false;
}

napi_value integer(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

// Node has sockets of its own making only, and none of netlink.
napi_value send_packet(napi_env env, napi_callback_info info) {
  Bytes packet;
  if (!read_bytes(env, info, "sendPacket() wants a descriptor above 2 and a Uint8Array that is not empty", &packet)) return nullptr;
  ssize_t sent;
  do sent = ::send(packet.fd, packet.bytes, packet.length, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return integer(env, sent < 0 ? -errno : 0);
}

// MSG_TRUNC: the length that the packet has, more than `length` bytes of which are never written.
napi_value receive_packet(napi_env env, napi_callback_info info) {
  Bytes into;
  if (!read_bytes(env, info, "receivePacket() wants a descriptor above 2 and a Uint8Array that is not empty", &into)) return nullptr;
  ssize_t length;
  do length = ::recv(into.fd, into.bytes, into.length, MSG_DONTWAIT | MSG_TRUNC);
  while (length < 0 && errno == EINTR);
  if (length < 0) return integer(env, -errno);
  if (static_cast<size_t>(length) > into.length) return integer(env, -EMSGSIZE);
  return integer(env, static_cast<int32_t>(length));
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

// Node-API has no call for this either; Node's own module for it takes some milliseconds to load. Node leaves V8's options open to change.
napi_value compile_sooner(napi_env, napi_callback_info) {
  if (v8::V8::SetFlagsFromString != nullptr) v8::V8::SetFlagsFromString("--interrupt-budget=3000");
  return nullptr;
}

constexpr uintptr_t kHugePage = 1 << 21;

// Memory of no file can be told to be wiped by a fork, which is taken back at once; a file's is EINVAL. See madvise(2).
bool isOfFile(uintptr_t at, size_t page) {
  if (madvise(reinterpret_cast<void*>(at), page, MADV_WIPEONFORK) != 0) return errno == EINVAL;
  madvise(reinterpret_cast<void*>(at), page, MADV_KEEPONFORK);
  return false;
}

// Node's --use-largepages puts its code elsewhere, in whole huge pages.
bool isAllOfFile(uintptr_t first, uintptr_t end, size_t page) {
  for (uintptr_t at = first; at < end; at = (at + kHugePage) & ~(kHugePage - 1)) {
    if (!isOfFile(at, page)) return false;
  }
  return true;
}

// Of one program or library: all that was never written, and so is the same as in its file.
int forget_object(dl_phdr_info* object, size_t, void*) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr)& part = object->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) != 0) continue;
    const uintptr_t from = object->dlpi_addr + part.p_vaddr;
    const uintptr_t first = from & ~(page - 1), end = (from + part.p_memsz + page - 1) & ~(page - 1);
    if (isAllOfFile(first, end, page)) madvise(reinterpret_cast<void*>(first), end - first, MADV_DONTNEED);
  }
  return 0;
}

napi_value forget_code(napi_env, napi_callback_info) {
  dl_iterate_phdr(forget_object, nullptr);
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
      {"prepareTap", netns::prepare_tap_of},
      {"interfaceIndex", netns::interface_index},
      {"hasReaderGone", netns::has_reader_gone},
      {"fillRandom", netns::fill_random},
      {"collectGarbage", netns::collect_garbage},
      {"compileSooner", netns::compile_sooner},
      {"forgetCode", netns::forget_code},
      {"sendPacket", netns::send_packet},
      {"receivePacket", netns::receive_packet},
  };
  for (const auto& each : functions) {
    napi_value function;
    napi_create_function(env, each.name, NAPI_AUTO_LENGTH, each.call, nullptr, &function);
    napi_set_named_property(env, exports, each.name, function);
  }
  return exports;
}
