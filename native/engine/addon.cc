// The addon: class Engine of src/native/engine.ts, and the channel of the launcher. Arguments are checked here; no state
// outside of objects, so that every worker thread can have its own.
#include <node_api.h>

#include <errno.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "broker.h"
#include "channel.h"
#include "confine.h"
#include "engine.h"
#include "execute.h"
#include "hangup.h"
#include "listener.h"
#include "system.h"

namespace netns {

namespace {

napi_value throwType(napi_env env, const char* message) {
  napi_throw_type_error(env, nullptr, message);
  return nullptr;
}

napi_value number(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

constexpr int32_t kMostSockets = 65536;
// Descriptors that the rest of the process may need: Node's own, pipes of pairs, resolvers' sockets, the launcher's channel.
constexpr int32_t kOtherDescriptors = 256;

struct Call {
  Engine* engine;
  napi_value self;
  napi_value arguments[3];
};

// Unwraps the receiver. Null, with an exception pending, when it is not a usable engine.
bool readCall(napi_env env, napi_callback_info info, Call* call) {
  size_t count = 3;
  void* wrapped = nullptr;
  napi_get_cb_info(env, info, &count, call->arguments, &call->self, nullptr);
  if (napi_unwrap(env, call->self, &wrapped) != napi_ok) {
    throwType(env, "not an engine");
    return false;
  }
  call->engine = static_cast<Engine*>(wrapped);
  if (call->engine->stopped()) {
    napi_throw_error(env, nullptr, "the engine was stopped");
    return false;
  }
  return true;
}

bool isNone(napi_env env, napi_value value) {
  napi_valuetype type;
  napi_typeof(env, value, &type);
  return type == napi_null || type == napi_undefined;
}

bool readInteger(napi_env env, napi_value value, int32_t* out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok || number != static_cast<double>(static_cast<int32_t>(number))) {
    throwType(env, "expected an integer of 32 bits");
    return false;
  }
  *out = static_cast<int32_t>(number);
  return true;
}

// The bytes of an endpoint, in place.
Endpoint* endpointBytes(napi_env env, napi_value value) {
  bool typed = false;
  napi_is_typedarray(env, value, &typed);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* bytes = nullptr;
  if (typed) napi_get_typedarray_info(env, value, &type, &length, &bytes, nullptr, nullptr);
  if (!typed || type != napi_uint8_array || length < sizeof(Endpoint) || bytes == nullptr) {
    throwType(env, "expected an endpoint: a Uint8Array of 24 bytes");
    return nullptr;
  }
  return static_cast<Endpoint*>(bytes);
}

bool readEndpoint(napi_env env, napi_value value, Endpoint* out) {
  const Endpoint* bytes = endpointBytes(env, value);
  if (bytes == nullptr) return false;
  *out = *bytes;
  return true;
}

// `*given` points to `out`, or to nothing for null.
bool readOptionalEndpoint(napi_env env, napi_value value, Endpoint* out, const Endpoint** given) {
  *given = nullptr;
  if (isNone(env, value)) return true;
  if (!readEndpoint(env, value, out)) return false;
  *given = out;
  return true;
}

bool readFamily(napi_env env, napi_value value, int32_t* out) {
  if (!readInteger(env, value, out)) return false;
  if (*out == 4 || *out == 6) return true;
  throwType(env, "the family must be 4 or 6");
  return false;
}

napi_value addLink(napi_env env, napi_callback_info info) {
  Call call;
  int32_t fd;
  bool plain = false;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &fd)) return nullptr;
  if (!isNone(env, call.arguments[1]) && napi_get_value_bool(env, call.arguments[1], &plain) != napi_ok) {
    return throwType(env, "plain must be true or false");
  }
  const int32_t link = call.engine->addLink(fd, plain);
  if (link >= 0) return number(env, link);
  char text[96];
  snprintf(text, sizeof(text), "descriptor %d cannot become a link: %s", fd, strerror(-link));
  napi_throw_error(env, nullptr, text);
  return nullptr;
}

napi_value removeLink(napi_env env, napi_callback_info info) {
  Call call;
  int32_t link;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &link)) return nullptr;
  if (!call.engine->removeLink(link)) napi_throw_range_error(env, nullptr, "no such link");
  return nullptr;
}

napi_value connectTo(napi_env env, napi_callback_info info) {
  Call call;
  Endpoint remote;
  Endpoint local;
  const Endpoint* from;
  int32_t hops;
  if (!readCall(env, info, &call) || !readEndpoint(env, call.arguments[0], &remote) ||
      !readOptionalEndpoint(env, call.arguments[1], &local, &from) || !readInteger(env, call.arguments[2], &hops)) {
    return nullptr;
  }
  return number(env, hops < 0 || hops > kPathHops ? -EINVAL : call.engine->connectTo(remote, from, hops));
}

napi_value connectWith(napi_env env, napi_callback_info info) {
  Call call;
  int32_t fd;
  Endpoint remote;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &fd) ||
      !readEndpoint(env, call.arguments[1], &remote)) {
    return nullptr;
  }
  return number(env, call.engine->connectWith(fd, remote));
}

napi_value pair(napi_env env, napi_callback_info info) {
  Call call;
  if (!readCall(env, info, &call)) return nullptr;
  bool typed = false;
  napi_is_typedarray(env, call.arguments[0], &typed);
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* words = nullptr;
  if (typed) napi_get_typedarray_info(env, call.arguments[0], &type, &length, &words, nullptr, nullptr);
  if (!typed || type != napi_int32_array || length < 2 || words == nullptr) return throwType(env, "expected an Int32Array of 2 words");
  return number(env, call.engine->pair(static_cast<int32_t*>(words)));
}

napi_value listenOn(napi_env env, napi_callback_info info) {
  Call call;
  Endpoint local;
  int32_t backlog;
  if (!readCall(env, info, &call) || !readEndpoint(env, call.arguments[0], &local) ||
      !readInteger(env, call.arguments[1], &backlog)) {
    return nullptr;
  }
  return number(env, call.engine->listenOn(local, backlog));
}

napi_value listenWith(napi_env env, napi_callback_info info) {
  Call call;
  int32_t fd;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &fd)) return nullptr;
  return number(env, call.engine->listenWith(fd));
}

napi_value openDatagram(napi_env env, napi_callback_info info) {
  Call call;
  int32_t family;
  Endpoint local;
  const Endpoint* at;
  if (!readCall(env, info, &call) || !readFamily(env, call.arguments[0], &family) ||
      !readOptionalEndpoint(env, call.arguments[1], &local, &at)) {
    return nullptr;
  }
  return number(env, call.engine->openDatagram(family, at));
}

napi_value openDatagramWith(napi_env env, napi_callback_info info) {
  Call call;
  int32_t fd;
  Endpoint remote;
  const Endpoint* to;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &fd) ||
      !readOptionalEndpoint(env, call.arguments[1], &remote, &to)) {
    return nullptr;
  }
  return number(env, call.engine->openDatagramWith(fd, to));
}

napi_value openPing(napi_env env, napi_callback_info info) {
  Call call;
  int32_t family;
  Endpoint local;
  const Endpoint* at;
  if (!readCall(env, info, &call) || !readFamily(env, call.arguments[0], &family) ||
      !readOptionalEndpoint(env, call.arguments[1], &local, &at)) {
    return nullptr;
  }
  return number(env, call.engine->openPing(family, at));
}

napi_value localEndpoint(napi_env env, napi_callback_info info) {
  Call call;
  int32_t socket;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &socket)) return nullptr;
  Endpoint* out = endpointBytes(env, call.arguments[1]);
  if (out == nullptr) return nullptr;
  return number(env, call.engine->localEndpoint(socket, out));
}

napi_value keepAlive(napi_env env, napi_callback_info info) {
  Call call;
  int32_t socket;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &socket)) return nullptr;
  return number(env, call.engine->keepAlive(socket));
}

napi_value spliceTwo(napi_env env, napi_callback_info info) {
  Call call;
  int32_t first;
  int32_t second;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &first) ||
      !readInteger(env, call.arguments[1], &second)) {
    return nullptr;
  }
  const char* wrong = call.engine->splicePair(first, second);
  if (wrong != nullptr) napi_throw_range_error(env, nullptr, wrong);
  return nullptr;
}

napi_value unsplice(napi_env env, napi_callback_info info) {
  Call call;
  int32_t first;
  if (readCall(env, info, &call) && readInteger(env, call.arguments[0], &first)) call.engine->unsplice(first);
  return nullptr;
}

napi_value answers(napi_env env, napi_callback_info info) {
  Call call;
  int32_t first;
  if (!readCall(env, info, &call) || !readInteger(env, call.arguments[0], &first)) return nullptr;
  napi_value result;
  napi_get_boolean(env, call.engine->answers(first), &result);
  return result;
}

napi_value start(napi_env env, napi_callback_info info) {
  Call call;
  if (!readCall(env, info, &call)) return nullptr;
  for (int i = 0; i < 2; i++) {
    napi_valuetype type;
    napi_typeof(env, call.arguments[i], &type);
    if (type != napi_function) return throwType(env, "start wants two functions: process and failed");
  }
  if (call.engine->running()) {
    napi_throw_error(env, nullptr, "the engine runs already");
  } else if (call.engine->start(call.self, call.arguments[0], call.arguments[1]) != napi_ok) {
    napi_throw_error(env, nullptr, "the engine could not join the event loop");
  }
  return nullptr;
}

napi_value wake(napi_env env, napi_callback_info info) {
  Call call;
  if (readCall(env, info, &call)) call.engine->wake();
  return nullptr;
}

napi_value trim(napi_env env, napi_callback_info info) {
  Call call;
  if (readCall(env, info, &call)) call.engine->trim();
  return nullptr;
}

// May be called more than once.
napi_value stop(napi_env env, napi_callback_info info) {
  napi_value self;
  void* wrapped = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, &self, nullptr);
  if (napi_unwrap(env, self, &wrapped) != napi_ok) return throwType(env, "not an engine");
  static_cast<Engine*>(wrapped)->stop();
  return nullptr;
}

napi_value counters(napi_env env, napi_callback_info info) {
  napi_value self;
  void* wrapped = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, &self, nullptr);
  if (napi_unwrap(env, self, &wrapped) != napi_ok) return throwType(env, "not an engine");
  return static_cast<Engine*>(wrapped)->counters(env);
}

bool readOption(napi_env env, napi_value options, const char* name, int32_t least, int32_t most, int32_t* out) {
  napi_value value;
  if (napi_get_named_property(env, options, name, &value) != napi_ok || !readInteger(env, value, out)) return false;
  if (*out >= least && *out <= most) return true;
  char text[96];
  snprintf(text, sizeof(text), "%s must be between %d and %d", name, least, most);
  napi_throw_range_error(env, nullptr, text);
  return false;
}

// As many sockets as there may be descriptors, but for a few: so it is this table that is full first, which can be told to
// whoever wants one more, and the rest of the process goes on as ever.
int32_t socketLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max >= kMostSockets + kOtherDescriptors) return kMostSockets;
  const auto most = static_cast<int32_t>(limit.rlim_max);
  return std::max(most - kOtherDescriptors, most / 2);
}

// new Engine({slots, maxSockets, spinMicroseconds, peekOffset, congestion})
napi_value construct(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value arguments;
  napi_value self;
  napi_value target;
  napi_get_cb_info(env, info, &count, &arguments, &self, nullptr);
  napi_get_new_target(env, info, &target);
  napi_valuetype type;
  napi_typeof(env, arguments, &type);
  if (target == nullptr || type != napi_object) return throwType(env, "new Engine wants an object of options");
  Options options{};
  napi_value peek;
  napi_value names;
  // Offsets into the slab are Int32: 30,000 slots stay below 2^31.
  if (!readOption(env, arguments, "slots", 64, 30000, &options.slots) ||
      !readOption(env, arguments, "maxSockets", 0, kMostSockets, &options.max_sockets) ||
      !readOption(env, arguments, "spinMicroseconds", 0, 1000, &options.spin_microseconds)) {
    return nullptr;
  }
  if (napi_get_named_property(env, arguments, "peekOffset", &peek) != napi_ok ||
      napi_get_value_bool(env, peek, &options.peek_offset) != napi_ok) {
    return throwType(env, "peekOffset must be true or false");
  }
  size_t length = 0;
  if (napi_get_named_property(env, arguments, "congestion", &names) != napi_ok ||
      napi_get_value_string_utf8(env, names, nullptr, 0, &length) != napi_ok || length >= sizeof(options.congestion)) {
    return throwType(env, "congestion must be a string of at most 127 bytes");
  }
  napi_get_value_string_utf8(env, names, options.congestion, sizeof(options.congestion), nullptr);
  options.process_sockets = socketLimit();
  if (options.max_sockets == 0) options.max_sockets = options.process_sockets;
  auto* engine = new Engine(env, options);
  if (!engine->open()) {
    char text[96];
    snprintf(text, sizeof(text), "the engine could not be made: %s", strerror(errno));
    engine->release();
    napi_throw_error(env, nullptr, text);
    return nullptr;
  }
  const auto finalize = [](napi_env, void* engine, void*) { static_cast<Engine*>(engine)->release(); };
  if (napi_wrap(env, self, engine, finalize, nullptr, nullptr) != napi_ok) {
    engine->release();
    return throwType(env, "the engine could not be made");
  }
  napi_set_named_property(env, self, "memory", engine->memoryObject(env));
  napi_set_named_property(env, self, "maxSockets", number(env, options.max_sockets));
  return self;
}

napi_value numbers(napi_env env, const int* values, int count) {
  napi_value result;
  napi_create_array(env, &result);
  for (int i = 0; i < count; i++) napi_set_element(env, result, static_cast<uint32_t>(i), number(env, values[i]));
  return result;
}

constexpr int32_t kMostListeners = 64;

// openListeners(local, backlog, count): descriptors, or -errno
napi_value openListenersOf(napi_env env, napi_callback_info info) {
  size_t count = 3;
  napi_value arguments[3];
  Endpoint local;
  int32_t backlog;
  int32_t wanted;
  napi_get_cb_info(env, info, &count, arguments, nullptr, nullptr);
  if (!readEndpoint(env, arguments[0], &local) || !readInteger(env, arguments[1], &backlog) ||
      !readInteger(env, arguments[2], &wanted)) {
    return nullptr;
  }
  if (wanted < 1 || wanted > kMostListeners) {
    napi_throw_range_error(env, nullptr, "openListeners() makes 1 to 64");
    return nullptr;
  }
  int fds[kMostListeners];
  const int error = openListeners(local, backlog, wanted, fds);
  return error != 0 ? number(env, error) : numbers(env, fds, wanted);
}

// openPair(): two descriptors
napi_value openPairOf(napi_env env, napi_callback_info) {
  int fds[2];
  const int error = openPair(fds);
  if (error == 0) return numbers(env, fds, 2);
  char text[96];
  snprintf(text, sizeof(text), "no pair of sockets could be made: %s", strerror(-error));
  napi_throw_error(env, nullptr, text);
  return nullptr;
}

napi_value init(napi_env env, napi_value exports) {
  const struct {
    const char* name;
    napi_callback call;
  } methods[] = {
      {"addLink", addLink},
      {"removeLink", removeLink},
      {"connect", connectTo},
      {"connectWith", connectWith},
      {"pair", pair},
      {"listen", listenOn},
      {"listenWith", listenWith},
      {"openDatagram", openDatagram},
      {"openDatagramWith", openDatagramWith},
      {"openPing", openPing},
      {"localEndpoint", localEndpoint},
      {"keepAlive", keepAlive},
      {"splice", spliceTwo},
      {"unsplice", unsplice},
      {"answers", answers},
      {"start", start},
      {"wake", wake},
      {"trim", trim},
      {"stop", stop},
      {"counters", counters},
  };
  constexpr size_t kMethods = sizeof(methods) / sizeof(methods[0]);
  napi_property_descriptor descriptors[kMethods] = {};
  for (size_t i = 0; i < kMethods; i++) {
    descriptors[i].utf8name = methods[i].name;
    descriptors[i].method = methods[i].call;
    descriptors[i].attributes = napi_default_method;
  }
  napi_value engine;
  if (napi_define_class(env, "Engine", NAPI_AUTO_LENGTH, construct, nullptr, kMethods, descriptors, &engine) != napi_ok) {
    return nullptr;
  }
  napi_set_named_property(env, exports, "Engine", engine);
  napi_value listeners;
  napi_value pair;
  napi_create_function(env, "openListeners", NAPI_AUTO_LENGTH, openListenersOf, nullptr, &listeners);
  napi_create_function(env, "openPair", NAPI_AUTO_LENGTH, openPairOf, nullptr, &pair);
  napi_set_named_property(env, exports, "openListeners", listeners);
  napi_set_named_property(env, exports, "openPair", pair);
  broker_init(env, exports);
  channel_init(env, exports);
  listener_init(env, exports);
  execute_init(env, exports);
  hangup_init(env, exports);
  confine_init(env, exports);
  return system_init(env, exports);
}

}  // namespace

}  // namespace netns

NAPI_MODULE_INIT() { return netns::init(env, exports); }
