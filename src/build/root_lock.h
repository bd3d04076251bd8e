// Who owns a state directory: one process at a time holds its lock, and listens on a socket in it for whoever comes second.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cachalot::build {

struct RootLock {
  UniqueFd lock;      // the directory is owned until it is closed
  UniqueFd listener;  // not valid where no socket can be made (a file system without sockets, or a full one)
};

// Takes the lock of `root` (which exists). UNAVAILABLE names the process that has it.
absl::StatusOr<RootLock> LockRoot(const std::string& root);

// A connection to the owner of `root`, which may not serve it yet. UNAVAILABLE when nobody listens.
absl::StatusOr<UniqueFd> ConnectToOwner(const std::string& root);

}  // namespace cachalot::build
