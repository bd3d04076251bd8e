// Image layouts that are offered to the daemon as content stores (containerd.services.content.v1): it reads blobs from them and writes
// blobs into them.
#pragma once

#include <map>
#include <string>

#include "session/rpc/call.h"

namespace cachalot::client {

// What the daemon calls a store, and its directory.
using ContentStores = std::map<std::string, std::string>;

// Nothing without stores. What is written appears in a directory whole, and after its digest was checked.
void AddContentHandlers(ContentStores stores, session::RpcHandlers& handlers);

}  // namespace cachalot::client
