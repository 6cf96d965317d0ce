// Adds lockFile and execute (src/native/system.ts) to the addon's exports.
#ifndef NETNS_EXECUTE_H
#define NETNS_EXECUTE_H

#include <node_api.h>

napi_value execute_init(napi_env env, napi_value exports);

#endif
