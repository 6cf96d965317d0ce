// What Node's own modules do too, but take milliseconds to load for: the start of a process, its end, random bytes.
#pragma once

#include <node_api.h>

// Adds `spawn`, `reap` and `fillRandom` to the exports; src/native/system.ts has their types.
napi_value system_init(napi_env env, napi_value exports);
