#include "endpoint.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

namespace netns {

uint16_t portOf(const Endpoint& endpoint) { return static_cast<uint16_t>(endpoint.port[0] << 8 | endpoint.port[1]); }

void setPort(Endpoint* out, uint16_t port) {
  out->port[0] = static_cast<uint8_t>(port >> 8);
  out->port[1] = static_cast<uint8_t>(port);
}

void setAddress4(Endpoint* out, const void* four_bytes) {
  out->family = 4;
  memset(out->scope, 0, 4);
  memset(out->address, 0, 10);
  memset(out->address + 10, 0xff, 2);
  memcpy(out->address + 12, four_bytes, 4);
}

void setAddress6(Endpoint* out, const void* sixteen_bytes, uint32_t scope) {
  static const uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  memcpy(out->address, sixteen_bytes, 16);
  out->family = memcmp(out->address, kMapped, sizeof(kMapped)) == 0 ? 4 : 6;
  for (int i = 0; i < 4; i++) out->scope[i] = static_cast<uint8_t>(scope >> (8 * i));
}

socklen_t toSockaddr(const Endpoint& endpoint, sockaddr_storage* out) {
  if (endpoint.family == 4) {
    auto* in = reinterpret_cast<sockaddr_in*>(out);
    memset(in, 0, sizeof(*in));
    in->sin_family = AF_INET;
    memcpy(&in->sin_port, endpoint.port, 2);
    memcpy(&in->sin_addr, endpoint.address + 12, 4);
    return sizeof(*in);
  }
  if (endpoint.family == 6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(out);
    memset(in6, 0, sizeof(*in6));
    in6->sin6_family = AF_INET6;
    memcpy(&in6->sin6_port, endpoint.port, 2);
    memcpy(&in6->sin6_addr, endpoint.address, 16);
    in6->sin6_scope_id = static_cast<uint32_t>(endpoint.scope[0]) | static_cast<uint32_t>(endpoint.scope[1]) << 8 |
                         static_cast<uint32_t>(endpoint.scope[2]) << 16 | static_cast<uint32_t>(endpoint.scope[3]) << 24;
    return sizeof(*in6);
  }
  return 0;
}

void fromSockaddr(const sockaddr* address, Endpoint* out) {
  memset(out, 0, sizeof(*out));
  if (address->sa_family == AF_INET) {
    const auto* in = reinterpret_cast<const sockaddr_in*>(address);
    setAddress4(out, &in->sin_addr);
    setPort(out, ntohs(in->sin_port));
  } else if (address->sa_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(address);
    setAddress6(out, &in6->sin6_addr, in6->sin6_scope_id);
    setPort(out, ntohs(in6->sin6_port));
  }
}

bool sameAddress(const Endpoint& a, const Endpoint& b) {
  return a.family == b.family && memcmp(a.address, b.address, sizeof(a.address)) == 0;
}

bool isLoopback(const Endpoint& endpoint) {
  static const uint8_t kLoopback6[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (endpoint.family == 4) return endpoint.address[12] == 127;
  return endpoint.family == 6 && memcmp(endpoint.address, kLoopback6, sizeof(kLoopback6)) == 0;
}

}  // namespace netns
