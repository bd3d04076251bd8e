// The sending end of the file tree protocol (see receive.h).
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "session/rpc/connection.h"
#include "session/tree/walk.h"

namespace cachalot::session {

struct TreeSource {
  std::string directory;
  TreeFilter::Patterns patterns = {};
  std::string subdirectory = {};                        // "" or one name to put the tree under
  bool anonymous = false;                               // uid and gid travel as 0
  bool marks_changes = false;                           // marks of files travel, for a receiver that compares
  std::optional<std::int64_t> modification_time = {};   // nanoseconds, for every entry instead of its own
  std::map<std::string, std::string> extra_files = {};  // name -> content, beside the first level
};

// Sends one source, or several of distinct subdirectories, until the receiver has what it wants. Does not end the call.
// `on_progress` is told the number of bytes sent so far, now and then and at the end.
absl::Status SendTrees(RpcStream& stream, std::vector<TreeSource> sources, const std::function<void(std::int64_t bytes)>& on_progress = nullptr);

}  // namespace cachalot::session
