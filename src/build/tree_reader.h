// Reading single files of trees for frontends. Links are followed beneath the tree's root.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "llb/frontend.h"
#include "op/source_tree.h"

namespace cachalot::build {

// NOT_FOUND "open <path>: no such file or directory". At most 64 MiB are read. `length` 0: to the end.
absl::StatusOr<std::string> ReadTreeFile(op::SourceTree& tree, const std::string& path, std::int64_t offset, std::int64_t length);
absl::StatusOr<std::vector<llb::FileStat>> ReadTreeDirectory(op::SourceTree& tree, const std::string& path, const std::string& include_pattern);
absl::StatusOr<llb::FileStat> StatTreeFile(op::SourceTree& tree, const std::string& path);

}  // namespace cachalot::build
