// A file tree as tar entries.
#pragma once

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "codec/tar.h"

namespace cachalot::exporting {

struct TreeTarOptions {
  std::string prefix;                           // "" or "name/", put before every path
  std::optional<absl::Time> modification_time;  // replaces every file's own
};
// Adds everything below the directory `root` in the order of names; hard links are kept within the tree, sockets left out.
// Links are never followed.
absl::Status AddTree(const std::string& root, const TreeTarOptions& options, codec::TarWriter& tar, const CancelToken& cancel);

}  // namespace cachalot::exporting
