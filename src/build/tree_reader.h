// Reading single files of a solved tree for frontends. Links are followed beneath the tree's root.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llb/frontend.h"
#include "snapshot/snapshots.h"

namespace cachalot::build {

// The tree is materialized. NOT_FOUND "open <path>: no such file or directory". At most 64 MiB are read. `length` 0: to the end.
absl::StatusOr<std::string> ReadTreeFile(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& tree, const std::string& path,
                                         std::int64_t offset, std::int64_t length);
absl::StatusOr<std::vector<llb::FileStat>> ReadTreeDirectory(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& tree,
                                                             const std::string& path, const std::string& include_pattern);
absl::StatusOr<llb::FileStat> StatTreeFile(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& tree, const std::string& path);

}  // namespace cachalot::build
