// Questions to the process that opens files for a confined one.
#pragma once

#include <node_api.h>

// Adds `askBroker` to the exports; src/native/system.ts has its type.
void broker_init(napi_env env, napi_value exports);
