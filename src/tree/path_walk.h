// Following a path name by name, for every kind of tree: one directory, stacked layers, a tree that is only in memory.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::tree {

enum class EntryKind { kNone, kDirectory, kLink, kOther };
EntryKind KindOf(mode_t mode);

// The tree that a path is followed in.
class PathSteps {
 public:
  virtual ~PathSteps() = default;
  // What `name` is in the directory that one comes to by the names of `way` from the root. All of these were said to be directories. For a
  // link, `target` receives what it holds.
  virtual absl::StatusOr<EntryKind> Look(const std::vector<std::string>& way, const std::string& name, std::string* target) = 0;
};

// Where a path leads.
struct PathEnd {
  std::vector<std::string> way;       // names of directories that exist, from the root on; no links
  std::vector<std::string> rest;      // names below them, never "." or "..": the entry when it is no directory, or what does not exist
  EntryKind kind = EntryKind::kNone;  // of rest.front(); kDirectory when there is no rest

  // Whether there is something at the path.
  bool exists() const { return rest.empty() || (rest.size() == 1 && kind != EntryKind::kNone); }
  // "/a/b", without links: for messages and as a key. The root is "/".
  std::string Path() const;
};

// "/a/b/name" for the way {"a", "b"}.
std::string PathOf(const std::vector<std::string>& way, const std::string& name);

// Bytes of a path in a tree, as of one for the kernel: it bounds how deep a walk goes. Steps can make trees that are deeper.
constexpr std::size_t kMaxPath = 4095;
// INVALID_ARGUMENT "<what> <path>: file name too long" above that; of a long path only the beginning is told.
absl::Status CheckPathLength(absl::string_view what, absl::string_view path);
// INVALID_ARGUMENT when there is a null byte in the path: for the kernel it ends there, so that "..\0x", a name like others for us, leads up.
absl::Status CheckNoNullByte(absl::string_view path);

// Follows `path` inside the tree: links count, absolute ones begin at the root, ".." stops there. What does not exist is taken as it stands,
// and ".." leads out of it again to what exists: "nope/../link" is the link. Without `follow_last` a link in the last name stays one.
// FAILED_PRECONDITION after 255 links, INVALID_ARGUMENT where the path is too long, or becomes so, or holds a null byte.
absl::StatusOr<PathEnd> WalkPath(PathSteps& steps, absl::string_view path, bool follow_last);

}  // namespace cachalot::tree
