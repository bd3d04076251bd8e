// Empty files and directories that the runtime makes as mount points in a root file system, and that must not stay in it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace cachalot::runtime {

// Notes which mount points are missing; after the container's end, Remove() takes away those that exist then, as far as they are
// empty, and gives their parents the times back. Links are followed inside the root only. Missing points behind dangling links are
// made at once, for crun does not make those.
class MountStubs {
 public:
  struct Point {
    std::string destination;  // absolute, in the container
    std::string source{};     // what is bound there: a mount point is a file where that is one; empty: a directory
  };
  // An error when the runtime program would do more than mount there: crun 1.8 makes devices where a link at /dev leads on the host, and opens
  // what a file is to be bound over for writing, be it a device or a pipe.
  static absl::Status Check(int root, const std::vector<Point>& points);
  // With `parents`, missing parent directories count too.
  MountStubs(UniqueFd root, const std::vector<Point>& points, bool parents);
  void Remove();

 private:
  UniqueFd root_;
  std::vector<std::string> missing_;  // resolved, relative to the root, children before parents
};

}  // namespace cachalot::runtime
