// Hearing that the other end of a descriptor has gone, on the event loop of this thread.
#pragma once

#include <node_api.h>

// Adds watchHangup (src/native/system.ts) to the addon's exports.
napi_value hangup_init(napi_env env, napi_value exports);
