// Empty files and directories that the runtime makes as mount points in a root file system, and that must not stay in it.
#pragma once

#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace cachalot::runtime {

// Makes the mount points that are missing: root's, mode 0755, and files where files are bound. After the container's end, Remove() takes
// away those that the container left empty. Directories that were there have the times then that they had before, unless the container
// changed them. Links are followed inside the root only.
class MountStubs {
 public:
  struct Point {
    std::string destination;  // absolute and clean, in the container
    std::string source{};     // what is bound there; "": something else, whose tree begins empty
    bool readonly = false;    // nothing is made in `source`
    bool stays = false;       // is not taken away
  };
  // `points` in the order in which they are mounted. With `parents`, directories made on the way are taken away, too. What lies in an earlier
  // point's source is made there, and stays. FAILED_PRECONDITION for what is missing in one that is read-only.
  static absl::StatusOr<MountStubs> Make(UniqueFd root, const std::vector<Point>& points, bool parents);
  // An error when the runtime program would do more than mount there: crun 1.8 makes devices where a link at /dev leads on the host, and opens
  // what a file is to be bound over for writing, be it a device or a pipe. And for what would be mounted over /proc.
  static absl::Status Check(int root, const std::vector<Point>& points);
  ~MountStubs() { Remove(); }
  MountStubs(MountStubs&&) = default;
  // Does its work once.
  void Remove();

 private:
  // A directory in which stubs were made.
  struct Changed {
    std::string path;
    struct stat before, after;
  };
  explicit MountStubs(UniqueFd root) : root_(std::move(root)) {}
  absl::Status MakeInRoot(const Point& point, bool parents);

  UniqueFd root_;
  std::vector<std::string> stubs_;  // relative to the root
  std::vector<Changed> changed_;
};

}  // namespace cachalot::runtime
