// The way to a launcher: one end of a SOCK_SEQPACKET pair on the event loop of this thread.
#pragma once

#include <node_api.h>

// Adds `openChannel` and `closeFd` to the exports; src/native/channel.ts has their types.
napi_value channel_init(napi_env env, napi_value exports);
