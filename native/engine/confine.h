// What this process gives up once its network is up.
#pragma once

#include <node_api.h>

// Adds `confine` and `canConfine` to the exports; src/native/system.ts has their types.
void confine_init(napi_env env, napi_value exports);
