// The receiving end of build outputs (moby.filesync.v1.FileSend).
#pragma once

#include <vector>

#include "client/attach/attachables.h"
#include "session/rpc/connection.h"

namespace cachalot::client {

// Serves one call: a file, or a directory as a file tree.
absl::Status ReceiveOutput(const std::vector<Output>& outputs, session::RpcStream& stream);

}  // namespace cachalot::client
