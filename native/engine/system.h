// Adds the functions of src/native/system.ts that are not elsewhere to the addon's exports.
#ifndef NETNS_SYSTEM_H
#define NETNS_SYSTEM_H

#include <node_api.h>

napi_value system_init(napi_env env, napi_value exports);

#endif
