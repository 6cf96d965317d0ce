// Between the 24-byte endpoints of TypeScript and the kernel's socket addresses.
#pragma once

#include <sys/socket.h>

#include "layout.h"

namespace netns {

// Length of the address written to `out`; 0 when the endpoint is none (family 0) or of an unknown family.
socklen_t toSockaddr(const Endpoint& endpoint, sockaddr_storage* out);

// None (family 0) for a family other than IPv4 and IPv6. A v4-mapped IPv6 address becomes IPv4.
void fromSockaddr(const sockaddr* address, Endpoint* out);

void setAddress4(Endpoint* out, const void* four_bytes);
void setAddress6(Endpoint* out, const void* sixteen_bytes, uint32_t scope);
void setPort(Endpoint* out, uint16_t port);
bool sameAddress(const Endpoint& a, const Endpoint& b);  // whatever the ports
bool isLoopback(const Endpoint& endpoint);               // 127.0.0.0/8 or ::1
uint16_t portOf(const Endpoint& endpoint);

}  // namespace netns
