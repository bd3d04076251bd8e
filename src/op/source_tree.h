// Reading a tree that files are copied from.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "op/link_resolver.h"
#include "snapshot/snapshots.h"

namespace cachalot::op {

// A materialized tree, seen through its read-only mount, together with the directories that its layers lie in: a mount cannot
// give hard links, a layer can. Not thread-safe.
class SourceTree {
 public:
  // Null is the empty tree.
  static absl::StatusOr<std::unique_ptr<SourceTree>> Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& snapshot);
  // A plain directory, which is its only layer too.
  static absl::StatusOr<std::unique_ptr<SourceTree>> OpenDirectory(const std::string& path);

  // See TreeWriter for what paths are.
  absl::StatusOr<std::string> Resolve(absl::string_view path, bool follow_last);
  absl::StatusOr<struct stat> Lstat(const std::string& path) const;  // NOT_FOUND "lstat <path>: ..."
  absl::StatusOr<std::string> ReadLink(const std::string& path) const;
  absl::StatusOr<UniqueFd> OpenFile(const std::string& path) const;
  absl::StatusOr<UniqueFd> OpenDirectoryAt(const std::string& path) const;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) const;  // sorted
  // The paths that match `pattern`, which may hold wildcards in any component. Sorted.
  absl::StatusOr<std::vector<std::string>> Glob(absl::string_view pattern, bool follow_links);

  const std::vector<UniqueFd>& layers() const { return layers_; }  // topmost first

 private:
  SourceTree() = default;

  std::shared_ptr<snapshot::MountedTree> mounted_;
  UniqueFd root_;
  std::vector<UniqueFd> layers_;
  LinkResolver resolver_;
};

// Shared with removal by wildcard: expands `pattern` over any tree. `list` names the entries of a directory (an error for what
// is no directory is an empty answer), `resolve` follows links in the part before the first wildcard.
absl::StatusOr<std::vector<std::string>> ExpandWildcards(absl::string_view pattern,
                                                         const std::function<absl::StatusOr<std::string>(const std::string&)>& resolve,
                                                         const std::function<absl::StatusOr<std::vector<std::string>>(const std::string&)>& list);

}  // namespace cachalot::op
