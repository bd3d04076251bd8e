// Reading a tree that files are copied from, or into.
#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "snapshot/snapshots.h"

namespace cachalot::op {

// A tree seen through the directories that its layers lie in, as overlayfs would show them: a mount per operation would cost
// more than the operation. Every step of a path is opened beneath the one before and no link is
// followed by the kernel, so that what a layer holds leads nowhere else, even while it changes. Not thread-safe.
class SourceTree {
 public:
  // The tree of a materialized snapshot, or the empty one for null.
  static absl::StatusOr<std::unique_ptr<SourceTree>> Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& snapshot);
  // Layers' directories as absolute paths, topmost first.
  static absl::StatusOr<std::unique_ptr<SourceTree>> Over(const std::vector<std::string>& layers);
  ~SourceTree();

  // See TreeWriter for what paths are.
  absl::StatusOr<std::string> Resolve(absl::string_view path, bool follow_last);
  absl::StatusOr<struct stat> Lstat(const std::string& path);                    // NOT_FOUND "lstat <path>: ..."
  absl::StatusOr<std::optional<struct stat>> TryLstat(const std::string& path);  // nothing when there is nothing
  absl::StatusOr<std::string> ReadLink(const std::string& path);
  absl::StatusOr<UniqueFd> OpenFile(const std::string& path);  // INVALID_ARGUMENT for what is no regular file
  // The topmost of the directories that are merged at `path`: its attributes are the tree's.
  absl::StatusOr<UniqueFd> OpenDirectoryAt(const std::string& path);
  absl::StatusOr<std::vector<std::string>> List(const std::string& path);  // sorted
  // The paths that match `pattern`, which may hold wildcards in any component. Sorted.
  absl::StatusOr<std::vector<std::string>> Glob(absl::string_view pattern, bool follow_links);

  // Where an entry lies: its name in an open directory of a layer, good until the next call. An inode is unique within a layer.
  struct Place {
    int layer = 0;
    int directory = -1;
    std::string name;
  };
  absl::StatusOr<Place> Locate(const std::string& path);

 private:
  class Steps;
  struct Directory;
  struct Entry {
    Place place;
    struct stat st;
  };
  // Null, and why: ENOENT, or ENOTDIR below what is no directory.
  template <typename T>
  struct Found {
    const T* value = nullptr;
    int error = ENOENT;
  };

  SourceTree();
  absl::StatusOr<Found<Directory>> DirectoryOf(const std::string& path);
  absl::StatusOr<Directory> OpenParts(const Directory& parent, const std::string& path) const;
  absl::StatusOr<Found<Entry>> Find(const std::string& path);
  absl::StatusOr<std::optional<Entry>> FindIn(const Directory& directory, const std::string& name) const;
  Place At(const Directory& directory, std::size_t part, const std::string& name) const;

  snapshot::SnapshotPtr hold_;
  UniqueFd base_;                    // a directory that all layers lie in, which shortens the kernel's way to hundreds of them
  std::vector<std::string> layers_;  // relative to it, topmost first
  absl::flat_hash_map<std::string, std::unique_ptr<Directory>> directories_;
  std::size_t open_parts_ = 0;
  std::string last_path_;  // of last_, which is asked for several times in a row
  std::optional<Entry> last_;
  int last_error_ = ENOENT;
};

// Whether `st` is what overlayfs takes for "deleted here".
bool IsWhiteout(const struct stat& st);

// Shared with removal by wildcard: expands `pattern` over any tree. `list` names the entries of a directory (an error for what
// is no directory is an empty answer), `resolve` follows links in the part before the first wildcard.
absl::StatusOr<std::vector<std::string>> ExpandWildcards(absl::string_view pattern,
                                                         const std::function<absl::StatusOr<std::string>(const std::string&)>& resolve,
                                                         const std::function<absl::StatusOr<std::vector<std::string>>(const std::string&)>& list);

}  // namespace cachalot::op
