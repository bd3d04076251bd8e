// What one overlayfs layer changes in the tree below it.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/cancel.h"

namespace cachalot::snapshot {

// Receives changes: a directory before what is in it, names in byte order. Paths are relative ("a/b").
class ChangeSink {
 public:
  virtual ~ChangeSink() = default;
  // A new or changed entry, `name` in `dir_fd`. `link` is the path of an earlier entry that is the same file (a hard link), or
  // empty. A directory that is in both trees is merged, anything else replaces what was there.
  virtual absl::Status OnEntry(const std::string& path, int dir_fd, const std::string& name, const struct stat& status, const std::string& link) = 0;
  virtual absl::Status OnDeleted(const std::string& path) = 0;
};

struct LayerWalk {
  std::string layer;  // the layer's directory
  // The merged tree below it, or empty. Only what was there is deleted, entry by entry, and copied-up entries that are still as
  // they were are left out, save the directories that lead to changes.
  std::string base;
  // Paths that the layer deletes although the base does not have them: it is a difference made elsewhere.
  std::vector<std::string> deleted;
  bool whole = false;    // the layer's directory holds the whole tree, not only what differs from the base
  bool rebased = false;  // it was made elsewhere and put here: all in it is a change, and there is no need of a base
};

// Sockets are left out.
absl::Status WalkLayer(const LayerWalk& walk, ChangeSink& sink, const CancelToken& cancel);

// The changes that lead from one merged tree to another.
absl::Status WalkDifference(const std::string& lower, const std::string& upper, ChangeSink& sink, const CancelToken& cancel);

}  // namespace cachalot::snapshot
