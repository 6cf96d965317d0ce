// Sockets in the file system, to be found by name: SOCK_SEQPACKET, for channels (channel.h).
#pragma once

#include <node_api.h>

// Adds `listenChannel`, `connectChannel` and `peerCredentials` to the exports; src/native/channel.ts has their types.
napi_value listener_init(napi_env env, napi_value exports);
