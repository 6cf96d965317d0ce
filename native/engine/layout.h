// The layout of what the engine and TypeScript share. The same numbers stand in src/native/engine.ts.
#pragma once

#include <cstdint>

namespace netns {

constexpr int32_t kSlotSize = 69632;
constexpr int32_t kHeadroom = 128;
constexpr int32_t kMaxPayload = 65483;
constexpr int32_t kControlArea = 1 << 20;
constexpr int32_t kVnetHeader = 12;

constexpr int32_t kEventStride = 8;
constexpr int32_t kCommandStride = 6;
constexpr int32_t kAddressStride = 48;

// Records of one turn. Small frames fit the control area about 16,000 times, so half of the commands remain for the rest.
constexpr int32_t kMaxEvents = 4096;
constexpr int32_t kMaxCommands = 32768;
constexpr int32_t kSpares = 16;
constexpr int32_t kMaxLinks = 256;

enum Control : int32_t {
  kEventCount = 0,
  kCommandCount = 1,
  kSpareCount = 2,
  kSpareUsed = 3,
  kDeadline = 4,
  kFreeSlots = 5,
  kAgain = 6,
  kBeforeSleep = 7,
  kLast = 8,
  kControlWords = 16,
};

enum class EventKind : int32_t {
  Frame = 1,
  LinkDown = 2,
  Connected = 3,
  Data = 4,
  End = 5,
  Failed = 6,
  Drained = 7,
  Accepted = 8,
  Datagram = 9,
  DatagramFailed = 10,
  Spliced = 11,
};

enum class Op : int32_t {
  Write = 1,
  Send = 2,
  SendTo = 3,
  Consume = 4,
  Rewind = 5,
  Credit = 6,
  Shutdown = 7,
  Close = 8,
  Reset = 9,
};

// The word `b` of SendTo: TTL in the low bits (0: the kernel's own), and whether routers may fragment (neither: as it was).
constexpr int32_t kPathHops = 0xff;
constexpr int32_t kPathSplit = 1 << 8;
constexpr int32_t kPathWhole = 2 << 8;
constexpr int32_t kPathFragments = kPathSplit | kPathWhole;

// See src/wire/address.ts. Numbers of an IPv4 address stand in its last four bytes (::ffff:a.b.c.d).
struct Endpoint {
  uint8_t family;
  uint8_t zero;
  uint8_t port[2];
  uint8_t scope[4];
  uint8_t address[16];
};
static_assert(sizeof(Endpoint) == 24);

}  // namespace netns
