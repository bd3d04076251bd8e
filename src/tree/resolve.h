// The one way to reach a path in a tree that is not to be trusted: a client's, an archive's, a container's. Whatever the tree holds, and
// however it changes meanwhile, nothing outside of its root is read, made, changed or removed.
//
// - Open the root once (os::OpenDirectory) and keep the descriptor: what it stands for stays the same.
// - Reading what exists, links of the tree counting: os::OpenInRoot(root, path, flags).
// - Reading or changing what is known by a path without links: os::OpenBeneath(root, path, flags), which refuses every link on the way.
// - What may not exist yet: Resolve() below, then calls on `directory` with single names (openat, mkdirat, mknodat with O_EXCL or O_NOFOLLOW).
// - mkdir -p: MakeDirectories() below.
// - Removing: os::RemoveTreeAt(directory, name).
// - What is mounted: open it with O_PATH by one of these, and mount os::DescriptorPath(fd), not the path.
//
// A path as text (PathEnd::Path()) is for messages and keys. It is never handed to a system call but through os::OpenBeneath.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "os/file.h"
#include "tree/path_walk.h"

namespace cachalot::tree {

struct Resolved : PathEnd {
  UniqueFd directory;   // what `way` leads to, O_PATH: `rest` lies below it
  UniqueFd entry;       // what the path leads to, O_PATH (a link itself with `follow_last` = false); invalid when there is nothing
  bool linked = false;  // a link was on the way
};
// Follows `path` beneath the directory `root`, as WalkPath does.
absl::StatusOr<Resolved> Resolve(int root, absl::string_view path, bool follow_last = true);

// The directory `path` beneath `root`, O_RDONLY; an invalid descriptor where nothing is, or a link or something else stands in the way.
absl::StatusOr<UniqueFd> TryOpenDirectory(int root, absl::string_view path);
// The regular file `name` (one name) in `directory`, for reading. Nothing else is opened, not even for a moment: opening a device or a pipe may
// already do something. INVALID_ARGUMENT `<path> is not a regular file`.
absl::StatusOr<UniqueFd> OpenRegularFile(int directory, const std::string& name, absl::string_view path);

// What new directories get. Owners of -1 are the process's own.
struct DirectoryAttributes {
  mode_t mode = 0755;
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
};
// mkdir -p beneath `root`: links are followed inside it, and the target of a dangling one is made. Returns the directory, O_PATH. When
// `created` is given it receives the paths of the directories that were made ("/a/b", without links), outermost first.
absl::StatusOr<UniqueFd> MakeDirectories(int root, absl::string_view path, const DirectoryAttributes& attributes = {},
                                         std::vector<std::string>* created = nullptr);

}  // namespace cachalot::tree
