// A path that stays what it was when it was opened.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace cachalot::op {

// A file or directory of a tree that others may change, mounted at a path that only root gets to: whoever is given the path cannot be led
// elsewhere. Destruction takes it away; mounts made from it stay.
class FixedPath {
 public:
  // `fd` is open with O_PATH or otherwise. The path is a new one below `directory`.
  static absl::StatusOr<std::unique_ptr<FixedPath>> Fix(int fd, const std::string& directory);
  ~FixedPath();
  FixedPath(const FixedPath&) = delete;

  const std::string& path() const { return path_; }

 private:
  explicit FixedPath(std::string path) : path_(std::move(path)) {}
  const std::string path_;
};

}  // namespace cachalot::op
