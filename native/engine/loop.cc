// Turns on Node's loop: when they run, how many in a row, and how the engine begins and ends.
//
// Before it sleeps, the loop polls for a short while if this wake-up had something to do: the answer to what was just sent is
// often on its way, and a sleep costs more than the wait. The while adapts: in vain it is halved, down to nothing but an
// attempt now and then; when something came it grows again.
//
// After a burst of datagrams it yields the processor. Nothing holds a sender of datagrams back: while we handed over the next
// burst, a receiver that waits for this very processor would lose it to a full buffer, and all the work was for nothing.
#include <errno.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "engine.h"

namespace netns {

namespace {

constexpr int kTurnsInARow = 64;
constexpr double kTimeInARow = 5;
// Datagrams of one turn after which it yields.
constexpr int32_t kDatagramBurst = 32;
// A yield that is over so soon (ms) has found nobody; after so many of them in a row it naps, some 10 ms of bursts.
constexpr double kFoundNobody = 0.005;
constexpr int kYieldsInVain = 128;
constexpr long kNapNanoseconds = 1000;  // and the timer's slack, usually 50 µs
// Bytes that pairs move in one turn, from which on it does not poll.
constexpr uint64_t kBulk = 32768;
// What it takes to be woken, about.
constexpr double kWakeMicroseconds = 40;
// Milliseconds that a stream at its end waits to be closed, where the loop always has something else to do.
constexpr double kEndedWait = 1;
// Milliseconds that others keep the processor when it is yielded to them, from which on it is not yielded for a while.
constexpr double kCrowded = 0.5;
constexpr double kCrowdedFor = 50;
// The same for the yields after bursts of datagrams.
constexpr double kTooLong = 1;
constexpr double kNoYieldFor = 4;
constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr size_t kDiscardSize = 65536;
constexpr int kDiscardVectors = 1001;

template <typename T>
T* table(size_t count) {
  return static_cast<T*>(calloc(count, sizeof(T)));
}

size_t aligned(size_t size) { return (size + 63) & ~static_cast<size_t>(63); }

bool hasPeekOffset(int domain) {
  const int fd = socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int zero = 0;
  const bool works = setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &zero, sizeof(zero)) == 0;
  close(fd);
  return works;
}

void letGo(napi_env, void*, void* mapping) { static_cast<Mapping*>(mapping)->release(); }

napi_value arrayBuffer(napi_env env, Mapping* mapping) {
  napi_value buffer = nullptr;
  mapping->holders++;
  if (napi_create_external_arraybuffer(env, mapping->at, mapping->size, letGo, mapping, &buffer) != napi_ok) mapping->release();
  return buffer;
}

}  // namespace

Mapping* Mapping::make(size_t size) {
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return at == MAP_FAILED ? nullptr : new Mapping{static_cast<uint8_t*>(at), size, 1};
}

void Mapping::release() {
  if (--holders > 0) return;
  munmap(at, size);
  delete this;
}

Engine::Engine(napi_env env, const Options& options)
    : env_(env), options_(options), slots_(options.slots), max_sockets_(options.max_sockets) {
  for (Link& link : links_) link = Link{-1, false, false, false, false, false, 0};
  spin_budget_ = options.spin_microseconds;
  due_at_ = sweep_at_ = gather_at_ = timer_at_ = kNever;
}

bool Engine::open() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
  const auto slots = static_cast<size_t>(slots_);
  const auto sockets = static_cast<size_t>(max_sockets_);

  slab_size_ = slots * kSlotSize + kControlArea;
  slab_mapping_ = Mapping::make(slab_size_);
  size_t sizes[] = {
      kControlWords * sizeof(int32_t),
      sizeof(double),
      static_cast<size_t>(kMaxEvents) * kEventStride * sizeof(int32_t),
      static_cast<size_t>(kMaxEvents) * kAddressStride,
      static_cast<size_t>(kMaxCommands) * kCommandStride * sizeof(int32_t),
      static_cast<size_t>(kMaxCommands) * kAddressStride,
      kSpares * sizeof(int32_t),
      sockets * sizeof(int32_t),
  };
  size_t shared_size = 0;
  for (const size_t size : sizes) shared_size += aligned(size);
  shared_mapping_ = Mapping::make(shared_size);
  if (slab_mapping_ == nullptr || shared_mapping_ == nullptr) return false;
  slab_ = slab_mapping_->at;
  uint8_t* at = shared_mapping_->at;
  void* parts[8];
  for (int i = 0; i < 8; i++) {
    parts[i] = at;
    at += aligned(sizes[i]);
  }
  control_ = static_cast<int32_t*>(parts[0]);
  clock_ = static_cast<double*>(parts[1]);
  events_ = static_cast<int32_t*>(parts[2]);
  event_addresses_ = static_cast<Endpoint*>(parts[3]);
  commands_ = static_cast<int32_t*>(parts[4]);
  command_addresses_ = static_cast<Endpoint*>(parts[5]);
  spares_ = static_cast<int32_t*>(parts[6]);
  backlog_ = static_cast<int32_t*>(parts[7]);
  control_[kDeadline] = -1;
  clock_[0] = now_ = monotonicMilliseconds();

  ring_mask_ = 1;
  while (ring_mask_ < sockets) ring_mask_ <<= 1;
  free_slots_ = table<int32_t>(slots);
  kept_ = table<uint16_t>(slots);
  turn_of_ = table<uint32_t>(slots);
  turn_slots_ = table<int32_t>(slots);
  piece_count_ = slots_ * 4;
  pieces_ = table<Piece>(static_cast<size_t>(piece_count_));
  sockets_ = table<Socket>(sockets);
  free_sockets_ = table<int32_t>(sockets);
  ring_ = table<int32_t>(ring_mask_);
  splice_starts_ = table<int32_t>(sockets);
  splice_ends_ = table<int32_t>(sockets);
  refusals_ = table<Refusal>(kRefusals);
  pipes_ = table<Pipe>(sockets);
  idle_pipes_ = table<int32_t>(kIdlePipes);
  deferring_ = table<int32_t>(sockets);
  unused_pipes_ = table<int32_t>(sockets);
  discard_ = table<uint8_t>(kDiscardSize);
  discard_vectors_ = table<iovec>(kDiscardVectors);
  ring_mask_--;
  if (!free_slots_ || !kept_ || !turn_of_ || !turn_slots_ || !pieces_ || !sockets_ || !free_sockets_ || !ring_ ||
      !splice_starts_ || !splice_ends_ || !refusals_ || !pipes_ || !idle_pipes_ || !deferring_ || !unused_pipes_ || !discard_ || !discard_vectors_) {
    errno = ENOMEM;
    return false;
  }
  for (int32_t i = slots_ - 1; i >= 0; i--) free_slots_[free_count_++] = i;
  // Only the small tables: what is written to becomes resident, and takes its time. A socket that was never used is all zero.
  for (int32_t i = max_sockets_ - 1; i >= 0; i--) {
    free_sockets_[free_socket_count_++] = i;
    unused_pipes_[unused_pipe_count_++] = i;
  }
  for (int32_t i = 0; i < piece_count_; i++) pieces_[i].next = i + 1 < piece_count_ ? i + 1 : -1;
  free_piece_ = 0;
  control_[kFreeSlots] = slots_;
  if (options_.peek_offset) {
    peek_offset_[0] = hasPeekOffset(AF_INET);
    peek_offset_[1] = hasPeekOffset(AF_INET6);
  }
  chooseControl();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  return epoll_ >= 0;
}

Engine::~Engine() {
  shutDown();
  if (slab_mapping_ != nullptr) slab_mapping_->release();
  if (shared_mapping_ != nullptr) shared_mapping_->release();
  for (void* memory : {static_cast<void*>(free_slots_), static_cast<void*>(kept_), static_cast<void*>(turn_of_),
                       static_cast<void*>(turn_slots_), static_cast<void*>(pieces_), static_cast<void*>(sockets_),
                       static_cast<void*>(free_sockets_), static_cast<void*>(ring_), static_cast<void*>(splice_starts_), static_cast<void*>(splice_ends_),
                       static_cast<void*>(refusals_), static_cast<void*>(pipes_), static_cast<void*>(idle_pipes_), static_cast<void*>(deferring_),
                       static_cast<void*>(unused_pipes_), static_cast<void*>(discard_),
                       static_cast<void*>(discard_vectors_)}) {
    free(memory);
  }
}

// The views of engine.ts.
napi_value Engine::memoryObject(napi_env env) {
  napi_value object;
  napi_create_object(env, &object);
  const napi_value slab = arrayBuffer(env, slab_mapping_);
  const napi_value shared = arrayBuffer(env, shared_mapping_);
  napi_set_named_property(env, object, "slab", slab);
  napi_value slots;
  napi_create_int32(env, slots_, &slots);
  napi_set_named_property(env, object, "slots", slots);
  const struct {
    const char* name;
    napi_typedarray_type type;
    size_t length;
    void* at;
  } views[] = {
      {"control", napi_int32_array, kControlWords, control_},
      {"clock", napi_float64_array, 1, clock_},
      {"events", napi_int32_array, static_cast<size_t>(kMaxEvents) * kEventStride, events_},
      {"eventAddresses", napi_uint8_array, static_cast<size_t>(kMaxEvents) * kAddressStride, event_addresses_},
      {"commands", napi_int32_array, static_cast<size_t>(kMaxCommands) * kCommandStride, commands_},
      {"commandAddresses", napi_uint8_array, static_cast<size_t>(kMaxCommands) * kAddressStride, command_addresses_},
      {"spares", napi_int32_array, kSpares, spares_},
      {"backlog", napi_int32_array, static_cast<size_t>(max_sockets_), backlog_},
  };
  for (const auto& view : views) {
    napi_value array;
    const auto offset = static_cast<size_t>(static_cast<uint8_t*>(view.at) - shared_mapping_->at);
    napi_create_typedarray(env, view.type, view.length, shared, offset, &array);
    napi_set_named_property(env, object, view.name, array);
  }
  return object;
}

napi_value Engine::counters(napi_env env) {
  napi_value object;
  napi_create_object(env, &object);
  napi_value value;
  counters_.splice_second_open = 0;
  for (int32_t i = 0; i < socket_high_; i++) {
    const Socket& s = sockets_[i];
    if (s.kind == Kind::Stream && s.state == State::Spliced && !s.leader && !(s.flags & kDirectionDone)) {
      counters_.splice_second_open++;
    }
  }
#define X(field, name)                                                    \
  napi_create_double(env, static_cast<double>(counters_.field), &value); \
  napi_set_named_property(env, object, name, value);
  NETNS_COUNTERS(X)
#undef X
  return object;
}

napi_status Engine::start(napi_value self, napi_value process, napi_value failed) {
  uv_loop_t* loop;
  napi_status status = napi_get_uv_event_loop(env_, &loop);
  if (status != napi_ok) return status;
  napi_value name;
  napi_create_string_utf8(env_, "netns-rootless", NAPI_AUTO_LENGTH, &name);
  if ((status = napi_async_init(env_, nullptr, name, &async_context_)) != napi_ok) return status;
  // Held while it runs: an engine must not be collected because nobody else remembers it.
  if ((status = napi_create_reference(env_, self, 1, &self_ref_)) != napi_ok) return status;
  if ((status = napi_create_reference(env_, process, 1, &process_ref_)) != napi_ok) return status;
  if ((status = napi_create_reference(env_, failed, 1, &failed_ref_)) != napi_ok) return status;
  // A worker may end while its engine runs: its loop must not be closed before our handles are.
  const auto cleanup = [](napi_async_cleanup_hook_handle, void* engine) { static_cast<Engine*>(engine)->shutDown(); };
  if ((status = napi_add_async_cleanup_hook(env_, cleanup, this, &cleanup_hook_)) != napi_ok) return status;
  uv_poll_init(loop, &poll_, epoll_);
  uv_timer_init(loop, &timer_);
  uv_idle_init(loop, &idle_);
  poll_.data = timer_.data = idle_.data = this;
  open_handles_ = 3;
  running_ = true;
  uv_poll_start(&poll_, UV_READABLE, onPoll);
  wake();
  return napi_ok;
}

void Engine::wake() {
  again_ = true;
  if (running_ && !in_run_) uv_idle_start(&idle_, onIdle);
}

void Engine::trim() {
  trim_wanted_ = true;
  wake();
}

// Outside of turns: what is free now belongs to nobody, and nothing in it is read before it was written.
void Engine::giveMemoryBack() {
  trim_wanted_ = false;
  for (int32_t i = 0; i < free_count_; i++) {
    (void)madvise(slab_ + static_cast<size_t>(free_slots_[i]) * kSlotSize, kSlotSize, MADV_DONTNEED);
  }
  (void)madvise(slab_ + static_cast<size_t>(slots_) * kSlotSize, kControlArea, MADV_DONTNEED);
  // The records behind the last socket in use, in whole pages. All zero, they are as if never used.
  int32_t used = socket_high_;
  while (used > 0 && sockets_[used - 1].kind == Kind::Free && !(sockets_[used - 1].flags & kActive)) used--;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t from = (reinterpret_cast<uintptr_t>(sockets_ + used) + page - 1) & ~(page - 1);
  const uintptr_t to = reinterpret_cast<uintptr_t>(sockets_ + socket_high_) & ~(page - 1);
  if (to > from) (void)madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

void Engine::onPoll(uv_poll_t* handle, int, int) { static_cast<Engine*>(handle->data)->run(); }
void Engine::onTimer(uv_timer_t* handle) {
  auto* engine = static_cast<Engine*>(handle->data);
  engine->timer_at_ = kNever;
  engine->run();
}
void Engine::onIdle(uv_idle_t* handle) {
  uv_idle_stop(handle);
  static_cast<Engine*>(handle->data)->run();
}

bool Engine::hasWork() const {
  if (again_ || ring_head_ != ring_tail_ || refusal_count_ > 0) return true;
  // Without slots links wait; these come back with readiness.
  return ready_head_ != ready_tail_ && free_count_ > kSlotsForSockets;
}

void Engine::run() {
  if (!running_ || in_run_) return;
  in_run_ = true;
  counters_.wakeups++;
  napi_handle_scope scope;
  napi_callback_scope callback_scope;
  napi_value resource;
  napi_open_handle_scope(env_, &scope);
  napi_create_object(env_, &resource);
  napi_open_callback_scope(env_, resource, async_context_, &callback_scope);

  const double begin = monotonicMilliseconds();
  adaptSpin(begin);
  bool acted = false;
  bool polled = false;
  bool last = false;  // nothing is left to do, and process() wanted to be told
  for (int turns = 1; running_; turns++) {
    if (!polled) (void)pollEvents();
    polled = false;
    again_ = again_ || control_[kAgain] != 0 || control_[kCommandCount] != 0;
    const uint64_t spliced = counters_.spliced_bytes;
    collect();
    // Pairs are served without process(); their next bytes are as likely to be on their way. But where they move much, the
    // programs at the two ends need this processor more than we need to be quick.
    const uint64_t moved = counters_.spliced_bytes - spliced;
    acted = (acted || moved > 0) && moved < kBulk;
    if (again_ || event_count_ > 0 || now_ >= due_at_ || last) {
      control_[kLast] = last ? 1 : 0;
      again_ = false;
      control_[kAgain] = 0;
      acted = acted || event_count_ > 0;
      counters_.turns++;
      if (!callProcess()) break;
      if (turn_datagrams_ >= kDatagramBurst) giveWay();
      again_ = again_ || control_[kAgain] != 0;
    }
    if (ended_count_ > 0 && now_ - ended_since_ >= kEndedWait) closeEnded();
    const bool was_last = last;
    last = false;
    if (hasWork()) {
      if (turns < kTurnsInARow && monotonicMilliseconds() - begin < kTimeInARow) continue;
      uv_idle_start(&idle_, onIdle);
      break;
    }
    if (was_last) break;
    polled = acted && turns < kTurnsInARow && monotonicMilliseconds() - begin < kTimeInARow && spin();
    if (polled) continue;
    if (control_[kBeforeSleep] == 0) break;
    control_[kBeforeSleep] = 0;
    last = polled = true;
  }

  closeEnded();
  if (running_) {
    consumeDeferred();
    if (trim_wanted_) giveMemoryBack();
    armTimer();
  }
  napi_close_callback_scope(env_, callback_scope);
  napi_close_handle_scope(env_, scope);
  in_run_ = false;
  if (running_ && again_) uv_idle_start(&idle_, onIdle);
}

// What polling would have brought: a pause that ended soon was not worth a sleep, one that lasted shows that nobody answers. The pause
// began with the poll that was in vain.
void Engine::adaptSpin(double now) {
  if (slept_at_ < 0) return;
  const double slept = (now - slept_at_) * 1000;
  slept_at_ = -1;
  if (slept <= options_.spin_microseconds + kWakeMicroseconds) spin_budget_ = options_.spin_microseconds;
  else spin_budget_ /= 2;
}

// Polls for the current while. True: something is ready, and has become flags.
bool Engine::spin() {
  const double begin = monotonicMilliseconds();
  double now = begin;
  if (spin_budget_ > 3 && now >= crowded_until_) {
    counters_.spins++;
    const double until = now + spin_budget_ / 1000.0;
    do {
      if (pollEvents() > 0) return true;
      closeEnded();
      // Whoever waits for this processor may be the one who is to answer. Or is busy: then whoever sleeps is served sooner.
      sched_yield();
      const double before = now;
      now = monotonicMilliseconds();
      if (now - before > kCrowded) crowded_until_ = now + kCrowdedFor;
    } while (now < until);
  }
  slept_at_ = begin;
  return false;
}

// Lets a receiver of datagrams run. What keeps the processor for long is no receiver, who sleeps when its buffer is empty,
// but somebody busy, perhaps the sender: the kernel gives him his share without us.
void Engine::giveWay() {
  const double before = monotonicMilliseconds();
  if (before < yield_from_) {
    counters_.yields_withheld++;
    return;
  }
  counters_.yields++;
  (void)sched_yield();
  const double after = monotonicMilliseconds();
  if (after - before > kTooLong) yield_from_ = after + kNoYieldFor;
  if (after - before > kFoundNobody) {
    yields_in_vain_ = 0;
  } else if (++yields_in_vain_ == kYieldsInVain) {
    yields_in_vain_ = 0;
    counters_.naps++;
    const timespec nap{0, kNapNanoseconds};
    (void)nanosleep(&nap, nullptr);
  }
}

// process() and the commit. False: the engine has ended, by stop() or by an error.
bool Engine::callProcess() {
  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  for (int32_t i = 0; i < spare_count_; i++) turn_of_[own_spares_[i]] = turn_;
  napi_value process;
  napi_value global;
  napi_value result;
  napi_get_reference_value(env_, process_ref_, &process);
  napi_get_global(env_, &global);
  in_turn_ = true;
  napi_value error = nullptr;
  const napi_status status = napi_call_function(env_, global, process, 0, nullptr, &result);
  if (status != napi_ok) {
    bool pending = false;
    napi_is_exception_pending(env_, &pending);
    if (pending) napi_get_and_clear_last_exception(env_, &error);
    releaseTurnSlots();
  } else if (!commit()) {
    napi_value text;
    napi_create_string_utf8(env_, bad_, NAPI_AUTO_LENGTH, &text);
    napi_create_error(env_, nullptr, text, &error);
  }
  in_turn_ = false;
  const int32_t deadline = control_[kDeadline];
  due_at_ = deadline < 0 ? kNever : now_ + deadline;
  if (error != nullptr || status != napi_ok) {
    napi_value failed = nullptr;
    napi_get_reference_value(env_, failed_ref_, &failed);
    if (error == nullptr) napi_get_undefined(env_, &error);
    shutDown();
    if (napi_call_function(env_, global, failed, 1, &error, &result) == napi_pending_exception) {
      napi_get_and_clear_last_exception(env_, &error);
      napi_fatal_exception(env_, error);
    }
  } else if (stop_wanted_) {
    shutDown();
  }
  napi_close_handle_scope(env_, scope);
  return running_;
}

// One timer for the deadline, the sweep and what gathers. It is left alone while it is early enough, and looks again when it comes.
void Engine::armTimer() {
  const double wanted = std::min({due_at_, sweep_at_, gather_at_});
  if (wanted >= timer_at_ || wanted == kNever) return;
  timer_at_ = wanted;
  uv_update_time(timer_.loop);
  const double wait = std::max(0.0, std::ceil(wanted - monotonicMilliseconds()));
  uv_timer_start(&timer_, onTimer, static_cast<uint64_t>(std::min(wait, 1e9)), 0);
}

void Engine::stop() {
  if (in_turn_) stop_wanted_ = true;
  else shutDown();
}

// Closes everything but the memory. What libuv still holds is let go of in its own time (handleClosed).
void Engine::shutDown() {
  if (stopped_) return;
  stopped_ = true;
  const bool was_running = running_;
  running_ = false;
  for (int32_t i = 0; i < kMaxLinks; i++) (void)removeLink(i);
  for (int32_t i = 0; i < socket_high_; i++) {
    if (sockets_ == nullptr || sockets_[i].kind == Kind::Free) continue;
    freeSocket(i);
  }
  closeEnded();
  while (idle_pipe_count_ > 0) {
    const Pipe& pipe = pipes_[idle_pipes_[--idle_pipe_count_]];
    close(pipe.read);
    close(pipe.write);
  }
  if (was_running) {
    uv_close(reinterpret_cast<uv_handle_t*>(&poll_), onClosed);
    uv_close(reinterpret_cast<uv_handle_t*>(&timer_), onClosed);
    uv_close(reinterpret_cast<uv_handle_t*>(&idle_), onClosed);
  }
  if (epoll_ >= 0) close(epoll_);
  epoll_ = -1;
}

void Engine::onClosed(uv_handle_t* handle) {
  auto* engine = static_cast<Engine*>(handle->data);
  if (--engine->open_handles_ == 0) engine->handleClosed();
}

void Engine::handleClosed() {
  if (released_) {
    delete this;
    return;
  }
  napi_handle_scope scope;
  napi_open_handle_scope(env_, &scope);
  for (napi_ref* reference : {&process_ref_, &failed_ref_, &self_ref_}) {
    if (*reference != nullptr) napi_delete_reference(env_, *reference);
    *reference = nullptr;
  }
  if (async_context_ != nullptr) napi_async_destroy(env_, async_context_);
  async_context_ = nullptr;
  if (cleanup_hook_ != nullptr) napi_remove_async_cleanup_hook(cleanup_hook_);
  cleanup_hook_ = nullptr;
  napi_close_handle_scope(env_, scope);
}

void Engine::release() {
  released_ = true;
  shutDown();
  if (open_handles_ == 0) delete this;
}

}  // namespace netns
