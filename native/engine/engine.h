// The engine: moves bytes between links (TAP devices), a slab of slots, and sockets, and asks TypeScript what to do.
//
// Theory of operation. One epoll descriptor watches all links and sockets, edge-triggered, and is itself watched by one
// uv_poll on the loop of this thread. What epoll reports becomes flags of the socket, and the socket joins the ring of
// active ones; from then on flags change only by what system calls answer (EAGAIN ends Readable and Writable). A turn is
//
//   collect   epoll; frames of the links (links.cc); every active socket is visited (streams.cc, datagrams.cc, splice.cc)
//   process   one call of JavaScript
//   commit    the commands in order (commit.cc), then all slots of the turn that nobody kept are free again (slots.cc)
//
// and turns follow each other until nothing is left to do, at most TURN_LIMIT or TURN_TIME in a row, so that Node's own
// timers and I/O get their share (loop.cc).
//
// Trust. TypeScript is ours but not trusted with memory: every index, offset and length of a command is checked against
// what belongs to this turn before it is used, and a bad one ends the engine with an exception. What the sandbox or a
// peer sends is never looked at.
//
// Bounds. All tables are allocated when the engine is made: slots, pieces of backlog, sockets, events, commands, pipes.
// Nothing is allocated in a turn. All state lives in the Engine object: one per thread is possible, or several.
#pragma once

#include <node_api.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <uv.h>

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "layout.h"

namespace netns {

struct Options {
  int32_t slots;
  int32_t max_sockets;
  int32_t process_sockets;  // of all engines of this process together, which share its descriptors
  int32_t spin_microseconds;
  bool peek_offset;
  char congestion[128];  // names with commas between them; empty: leave the host's everywhere
};

// Every counter, and its name for counters() of engine.ts.
#define NETNS_COUNTERS(X)                                 \
  X(turns, "engine.turns")                                \
  X(wakeups, "engine.wakeups")                            \
  X(spins, "engine.spins")                                \
  X(yields, "engine.yields")                              \
  X(yields_withheld, "engine.yields_withheld")            \
  X(naps, "engine.naps")                                  \
  X(sockets_open, "sockets.open")                         \
  X(sockets_refused, "sockets.refused")                   \
  X(frames_read, "links.frames_read")                     \
  X(frame_bytes_read, "links.bytes_read")                 \
  X(frames_written, "links.frames_written")               \
  X(frame_bytes_written, "links.bytes_written")           \
  X(frame_write_drops, "links.write_drops")               \
  X(accepted, "streams.accepted")                         \
  X(accept_refused, "streams.accept_refused")             \
  X(accept_paused, "streams.accept_paused")               \
  X(connected, "streams.connected")                       \
  X(stream_bytes_received, "streams.bytes_received")      \
  X(stream_receives, "streams.receives")                  \
  X(stream_bytes_sent, "streams.bytes_sent")              \
  X(stream_sends, "streams.sends")                        \
  X(flushing, "streams.flushing")                         \
  X(backlog_copies, "streams.backlog_copies")             \
  X(backlog_kept, "streams.backlog_kept")                 \
  X(backlog_overflows, "streams.backlog_overflows")       \
  X(background_given_up, "streams.background_given_up")   \
  X(spliced_pairs, "splice.pairs")                        \
  X(splice_second_open, "splice.second_open")             \
  X(spliced_bytes, "splice.bytes")                        \
  X(splice_copies, "splice.copies")                       \
  X(datagrams_received, "datagrams.received")             \
  X(datagram_bytes_received, "datagrams.bytes_received")  \
  X(datagrams_truncated, "datagrams.truncated")           \
  X(datagrams_sent, "datagrams.sent")                     \
  X(datagram_bytes_sent, "datagrams.bytes_sent")          \
  X(datagram_send_drops, "datagrams.send_drops")          \
  X(segment_fallbacks, "datagrams.segment_fallbacks")     \
  X(datagram_errors, "datagrams.errors")                  \
  X(datagram_errors_lost, "datagrams.errors_lost")

// `splice_second_open`: pairs now whose second socket may still have something for the first; counted when asked.
// `sockets_open` and `flushing` (streams with a backlog, closed ones included) say what is, the others what was.
struct Counters {
#define X(field, name) uint64_t field = 0;
  NETNS_COUNTERS(X)
#undef X
};

enum class Kind : uint8_t { Free, Stream, Listener, Datagram, Ping };

enum class State : uint8_t {
  Connecting,  // a stream whose connect() is under way
  Open,
  Failed,   // a stream: Failed was reported, or is about to be; waits for Close or Reset
  Closing,  // a stream that TypeScript gave back and whose backlog is still being sent
  Spliced,  // a stream that belongs to a pair
};

enum Flag : uint32_t {
  kReadable = 1u << 0,
  kWritable = 1u << 1,
  kPeerShut = 1u << 2,   // EPOLLRDHUP: the peer's FIN is in the receive queue
  kError = 1u << 3,      // EPOLLERR
  kHangup = 1u << 4,     // EPOLLHUP
  kUrgent = 1u << 5,     // urgent data was seen: short reads mean nothing
  kEnded = 1u << 6,      // End was reported
  kActive = 1u << 7,     // in the ring
  kShutdownWanted = 1u << 8,
  kShutdownDone = 1u << 9,
  kReportFailed = 1u << 10,   // Failed is to be reported
  kReportDrained = 1u << 11,  // Drained is to be reported
  kSpliceWanted = 1u << 12,   // becomes Spliced after the commit
  kDirectionDone = 1u << 13,  // spliced: nothing more goes from this socket to its peer
  kPeerBroken = 1u << 14,     // spliced: writing to this socket failed
  kPaused = 1u << 15,         // listener: no descriptor or number left, waits for one
  kGso = 1u << 16,            // datagrams: UDP_SEGMENT may be tried
  kForeign = 1u << 17,        // the descriptor was made elsewhere, where a duplicate may live on
  kPeekOffset = 1u << 18,     // SO_PEEK_OFF is on
  kSent = 1u << 19,           // a stream: something was sent
  kNoDelay = 1u << 20,        // TCP_NODELAY is on
  kGathering = 1u << 21,      // spliced: only told of when much can be read
  kDeferring = 1u << 22,      // stream: in `deferring_`
  kTraced = 1u << 23,         // stream: connects with a TTL of its own, and its error queue tells who gave it up
  kUnsplice = 1u << 24,       // spliced, or about to be: ends after the commit
  kCloseLater = 1u << 25,     // stream: its descriptor goes to `ended_fds_`
};

struct Socket {
  int32_t fd;
  Kind kind;
  State state;
  uint8_t family;  // 4 or 6; 0: one of a pair (AF_UNIX)
  uint32_t flags;
  uint32_t generation;
  // Streams
  int32_t credit;
  int32_t chunk;
  int64_t peeked;    // bytes reported and not consumed, from the front: where the next peek begins
  int64_t reported;  // the most that was ever reported of what is not consumed
  int32_t deferred;  // bytes consumed that are still in the kernel's queue, in front of all that
  int32_t deferrals;
  int32_t backlog_head;
  int32_t backlog_tail;
  int64_t backlog;
  int64_t drain_mark;  // backlog when it was last reported
  int32_t error;       // errno to report, or of a send that failed before all was read
  double progress_at;  // closing: when its backlog last shrank
  int64_t unexamined;  // bytes still to be sent until its path is looked at; 0 or less: it was
  // Spliced pairs: `pipe` and `piped` belong to the direction from this socket to its peer.
  int32_t peer;
  int32_t pipe;
  int32_t piped;
  bool leader;  // the socket that Spliced names first
  int64_t streak;       // bytes read for the peer since it last paused while gathering
  int64_t streak_seen;  // gathering: the same at the last look
  int32_t quiet_looks;  // gathering: looks in a row that found nothing new
  // Datagrams
  Endpoint local;
  int32_t path;  // what was last set of SendTo's word
};

// A run of bytes of a backlog.
struct Piece {
  int32_t slot;
  int32_t offset;  // in the slab
  int32_t length;
  int32_t next;
};

struct Link {
  int32_t fd;
  bool ever;
  bool plain;  // frames have no virtio header on the descriptor
  bool readable;
  bool down;
  bool queued;  // in the ring of those that may have frames
  uint32_t generation;
};

// A datagram that the host itself refused, until the next turn reports it.
struct Refusal {
  int32_t socket;
  uint32_t generation;
  int32_t error;
  int32_t mtu;  // of the path, where it is too small; else 0
  int32_t length;
  Endpoint destination;
  uint8_t bytes[512];
};

constexpr uint32_t kStreamEvents = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
constexpr int32_t kRefusals = 64;
constexpr int32_t kIdlePipes = 32;
constexpr int32_t kGatherers = 16;
constexpr int32_t kSendVectors = 64;
// Descriptors of streams that are at their end, until the loop has nothing else to do.
constexpr int32_t kEndedFds = 32;
// Bytes that a stream sends before its path is looked at (congestion.cc), and the size of a control's name (TCP_CA_NAME_MAX).
constexpr int32_t kExaminedAfter = 1 << 20;
constexpr int32_t kControlName = 16;
// A turn receives no more datagrams: what goes to one receiver in a row must fit the usual receive buffer, which holds
// 92 of full size.
constexpr int32_t kDatagramsPerTurn = 64;
// Slots that frames and spares leave for payload from sockets: neither direction can starve the other, and a turn in which
// every other slot lies in a backlog can still visit the sockets, which is what ends that.
constexpr int32_t kSlotsForSockets = 8;

struct Pipe {
  int32_t read;
  int32_t write;
  int32_t size;
};

// Memory that the engine and an ArrayBuffer share: it goes when both have let go of it, in whatever order they end.
struct Mapping {
  uint8_t* at;
  size_t size;
  std::atomic<int> holders;

  static Mapping* make(size_t size);
  void release();
};

// For several engines side by side (sockets.cc, links.cc). Both return 0 or -errno, and leave nothing open on failure.
// Listeners of one place, which the kernel deals the connections to; taken like a single one, so never beside another program's.
int openListeners(const Endpoint& local, int backlog, int count, int* fds);
// Closes a stream with a reset.
void abortAndClose(int fd);
// Two ends of a link between engines: whole messages, none lost but those that find no room.
int openPair(int fds[2]);

class Engine {
 public:
  Engine(napi_env env, const Options& options);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // False when memory or descriptors are short; errno is set.
  bool open();

  // The methods of engine.ts. Those that return a socket return -errno on failure.
  int32_t addLink(int fd, bool plain);
  bool removeLink(int32_t link);
  int32_t connectTo(const Endpoint& remote, const Endpoint* local, int32_t hops);
  int32_t connectWith(int fd, const Endpoint& remote);
  int32_t pair(int32_t out[2]);
  int32_t listenOn(const Endpoint& local, int backlog);
  int32_t listenWith(int fd);
  int32_t openDatagram(int family, const Endpoint* local);
  int32_t openDatagramWith(int fd, const Endpoint* remote);
  int32_t openPing(int family, const Endpoint* local);
  int32_t localEndpoint(int32_t socket, Endpoint* out);
  int32_t keepAlive(int32_t socket);
  const char* splicePair(int32_t first, int32_t second);  // null, or what is wrong
  void unsplice(int32_t first);
  bool answers(int32_t first) const;
  napi_status start(napi_value self, napi_value process, napi_value failed);
  void wake();
  void trim();
  void stop();
  bool running() const { return running_; }
  bool stopped() const { return stopped_; }

  napi_value counters(napi_env env);
  napi_value memoryObject(napi_env env);
  int32_t maxSockets() const { return max_sockets_; }

  // The JavaScript object is gone, or its environment is: frees this object as soon as libuv has let go of its handles.
  void release();

 private:
  // loop.cc
  void run();
  bool callProcess();
  void giveMemoryBack();
  void armTimer();
  void shutDown();
  bool hasWork() const;
  bool spin();
  void giveWay();
  void adaptSpin(double now);
  void handleClosed();
  static void onPoll(uv_poll_t* handle, int status, int events);
  static void onTimer(uv_timer_t* handle);
  static void onIdle(uv_idle_t* handle);
  static void onClosed(uv_handle_t* handle);

  // collect.cc
  int pollEvents();
  void collect();
  void visitActive();
  void activate(int32_t id);
  void sweepClosing();
  int32_t* event(EventKind kind, int32_t id);
  Endpoint* eventEndpoints() { return event_addresses_ + 2 * (event_count_ - 1); }
  bool eventsFull() const { return event_count_ + 8 > kMaxEvents; }

  // links.cc
  void readLinks();
  void queueLink(int32_t number);
  void writeFrame(Link& link, int32_t offset, int32_t length);

  // sockets.cc
  int32_t allocate(int fd, Kind kind, int family, State state);
  int32_t adopt(int fd, Kind kind, int family, State state, uint32_t epoll_events);
  bool full() const;
  void freeSocket(int32_t id);
  void closeSocket(int32_t id, bool reset);
  void closeEnded();
  int32_t startConnect(int fd, const Endpoint& remote);

  // streams.cc. Each visit returns true when the socket has more to do in this turn.
  bool visitListener(int32_t id);
  bool visitStream(int32_t id);
  bool receive(int32_t id);
  void finishReading(int32_t id);
  void flushBacklog(int32_t id);
  void fail(int32_t id, int error);
  void consume(int32_t id, int64_t bytes);
  void discard(Socket& socket, int64_t bytes);
  void consumeDeferred();
  void rewind(Socket& socket, int64_t offset);
  void setPeekOffset(Socket& socket, int64_t offset);
  void noDelay(Socket& socket);
  bool peeksAhead(const Socket& socket) const;
  ssize_t peek(Socket& socket, void* into, size_t length);
  void sendFailed(int32_t id, int error);

  // congestion.cc
  void chooseControl();
  bool isWished(const char* control) const;
  void useMemoryControl(int fd);
  void controlAccepted(int fd, const Endpoint& peer);
  void examinePath(const Socket& socket);
  void noteSent(Socket& socket, ssize_t bytes) {
    if (socket.unexamined > 0 && (socket.unexamined -= bytes) <= 0) examinePath(socket);
  }

  // datagrams.cc
  int32_t openDatagramSocket(int fd, Kind kind, int family);
  bool visitDatagram(int32_t id);
  void drainErrors(int32_t id);
  void reportRefusals();
  void sendDatagrams(int32_t id, const Endpoint* addresses, iovec* vectors, int count, int32_t segment);
  void sendOne(int32_t id, const Endpoint* addresses, iovec* vectors, int count, int32_t segment);

  // path.cc
  void setPath(Socket& socket, int32_t path);
  static int32_t pathMtu(const Endpoint& destination);
  static void traceConnect(int fd, int family, int32_t hops);
  static void endTrace(Socket& socket);
  void reportFailed(int32_t id);

  // splice.cc
  void startSplices();
  void endSplices();
  bool leadsPair(int32_t first) const;
  bool visitSpliced(int32_t id);
  bool pump(int32_t from);
  bool copyThroughSlot(int32_t from);
  void endSplice(int32_t id, int error);
  void gather(int32_t id);
  void stopGathering(int32_t id);
  void lookAfterGatherers();
  int32_t takePipe();
  void givePipe(int32_t pipe, bool empty);

  // slots.cc
  int32_t takeSlot();
  void markOfTurn(int32_t slot);
  void releaseTurnSlots();
  void refillSpares();
  bool keep(int32_t id, int32_t slot, int32_t offset, int32_t length);
  void dropHeadPiece(Socket& socket);
  void dropBacklog(int32_t id);
  void setBacklog(int32_t id, int64_t bytes);
  uint8_t* slotAt(int32_t slot) { return slab_ + static_cast<size_t>(slot) * kSlotSize; }

  // commit.cc
  bool commit();
  bool carryOut(const int32_t* command, const Endpoint* addresses);
  void flushSends();
  void flushDatagrams();
  bool bad(const char* what, const int32_t* command);
  int32_t slotOf(int32_t offset, int32_t length) const;

  napi_env env_;
  const Options options_;
  int32_t slots_;
  int32_t max_sockets_;
  Counters counters_;

  // Shared memory: the slab, and one mapping that holds all the small arrays.
  Mapping* slab_mapping_ = nullptr;
  Mapping* shared_mapping_ = nullptr;
  uint8_t* slab_ = nullptr;
  size_t slab_size_ = 0;
  int32_t* control_ = nullptr;
  double* clock_ = nullptr;
  int32_t* events_ = nullptr;
  Endpoint* event_addresses_ = nullptr;
  int32_t* commands_ = nullptr;
  Endpoint* command_addresses_ = nullptr;
  int32_t* spares_ = nullptr;
  int32_t* backlog_ = nullptr;

  // Slots
  int32_t* free_slots_ = nullptr;  // a stack: the last one freed is the first one used again
  int32_t free_count_ = 0;
  uint16_t* kept_ = nullptr;     // pieces of backlog per slot
  uint32_t* turn_of_ = nullptr;  // the last turn that the slot belonged to
  int32_t* turn_slots_ = nullptr;
  int32_t turn_slot_count_ = 0;
  int32_t kept_slots_ = 0;
  int32_t own_spares_[kSpares] = {0};  // `spares_` is a copy for TypeScript, never read again
  int32_t spare_count_ = 0;
  uint32_t turn_ = 1;
  Piece* pieces_ = nullptr;
  int32_t piece_count_ = 0;
  int32_t free_piece_ = -1;

  // Sockets
  Socket* sockets_ = nullptr;
  int32_t* free_sockets_ = nullptr;
  int32_t free_socket_count_ = 0;
  int32_t socket_high_ = 0;  // numbers below were used at some time
  int32_t* ring_ = nullptr;
  uint32_t ring_mask_ = 0;
  uint32_t ring_head_ = 0;
  uint32_t ring_tail_ = 0;
  int32_t closing_count_ = 0;
  int32_t paused_count_ = 0;
  int32_t* splice_starts_ = nullptr;
  int32_t splice_start_count_ = 0;
  int32_t* splice_ends_ = nullptr;
  int32_t splice_end_count_ = 0;
  bool peek_offset_[2] = {false, false};  // IPv4, IPv6
  char host_control_[kControlName] = {0};
  char memory_control_[kControlName] = {0};  // empty: the host's is good enough, or nothing else may be had
  int32_t* deferring_ = nullptr;          // streams with deferred bytes
  int32_t deferring_count_ = 0;
  uint8_t* discard_ = nullptr;            // target of bytes that are peeked over, without SO_PEEK_OFF
  iovec* discard_vectors_ = nullptr;

  Link links_[kMaxLinks];
  // Links that may have frames, each at most once; one that was removed since is passed over.
  int32_t ready_links_[kMaxLinks] = {0};
  uint32_t ready_head_ = 0;
  uint32_t ready_tail_ = 0;

  Refusal* refusals_ = nullptr;
  int32_t refusal_count_ = 0;

  Pipe* pipes_ = nullptr;
  int32_t* idle_pipes_ = nullptr;
  int32_t idle_pipe_count_ = 0;
  int32_t* unused_pipes_ = nullptr;
  int32_t unused_pipe_count_ = 0;
  int32_t gatherers_[kGatherers] = {0};
  int32_t gatherer_count_ = 0;

  // The turn
  int32_t event_count_ = 0;
  int32_t data_budget_ = 0;
  int32_t byte_budget_ = 0;
  int32_t splice_budget_ = 0;
  int32_t turn_datagrams_ = 0;  // received and sent
  char bad_[160] = {0};

  struct {
    int32_t socket = -1;
    int32_t count = 0;
    size_t bytes = 0;
    iovec vectors[kSendVectors];
  } sends_;
  struct {
    int32_t socket = -1;
    int32_t count = 0;
    int32_t size = 0;
    size_t bytes = 0;
    Endpoint addresses[2];
    iovec vectors[kSendVectors];
  } datagrams_;

  // Loop
  int epoll_ = -1;
  uv_poll_t poll_;
  uv_timer_t timer_;
  uv_idle_t idle_;
  int open_handles_ = 0;
  bool running_ = false;
  bool in_turn_ = false;
  bool in_run_ = false;
  bool stop_wanted_ = false;
  bool again_ = false;
  bool released_ = false;
  bool trim_wanted_ = false;
  bool stopped_ = false;
  int32_t ended_fds_[kEndedFds];
  int32_t ended_count_ = 0;
  double ended_since_ = 0;
  int32_t spin_budget_ = 0;
  int yields_in_vain_ = 0;
  double crowded_until_ = 0;
  double yield_from_ = 0;
  double slept_at_ = -1;  // since when nothing came, after a turn that had something to do
  double now_ = 0;
  double due_at_ = 0;
  double sweep_at_ = 0;
  double gather_at_ = 0;
  double timer_at_ = 0;
  napi_ref self_ref_ = nullptr;
  napi_ref process_ref_ = nullptr;
  napi_ref failed_ref_ = nullptr;
  napi_async_context async_context_ = nullptr;
  napi_async_cleanup_hook_handle cleanup_hook_ = nullptr;
};

double monotonicMilliseconds();
// What a socket's SO_ERROR is, or was: it is taken.
int takeError(int fd);
// Bytes in the receive queue, from the first that was not consumed.
int64_t unread(int fd);

}  // namespace netns
