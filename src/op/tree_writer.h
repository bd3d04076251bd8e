// Changing the files of an active snapshot without mounting it.
//
// Changes go straight into the snapshot's own directory ("upper"), where an overlay mount would put them; the parent's tree
// shows through from its layers ("lower"). What overlayfs does in the kernel for a writer (making directories
// of the lower tree in the upper one first, whiteouts for what is removed) is done here. That saves a mount per operation.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "op/source_tree.h"
#include "snapshot/snapshots.h"

namespace cachalot::op {

// Not thread-safe. One writer works on an active snapshot from its preparation to its commit. "Paths" below are absolute in the
// tree, clean and free of links, as Resolve gives them; their last component may be a link. A path with a link on its way names nothing:
// directories are opened beneath the layers without following any, and all else is done with single names in them.
class TreeWriter {
 public:
  static absl::StatusOr<std::unique_ptr<TreeWriter>> Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& active);
  // Over plain directories; `lowers` topmost first.
  static absl::StatusOr<std::unique_ptr<TreeWriter>> OpenDirectories(const std::string& upper, const std::vector<std::string>& lowers);

  // The path that `path` means when every link is followed inside the tree; what does not exist is taken as it stands. With `root`, a
  // resolved path, all of this is seen from there: links do not lead out of it.
  absl::StatusOr<std::string> Resolve(absl::string_view path, const std::string& root = "/");
  // The same, but a link in the last component is not followed.
  absl::StatusOr<std::string> ResolveParent(absl::string_view path);

  // Nothing when there is nothing.
  absl::StatusOr<std::optional<struct stat>> Lstat(const std::string& path);
  absl::StatusOr<std::string> ReadLink(const std::string& path);
  absl::StatusOr<UniqueFd> OpenFile(const std::string& path);  // for reading
  // Names in a directory, sorted.
  absl::StatusOr<std::vector<std::string>> List(const std::string& path);

  // A place for something new: an open directory and a name in it. `parent` stays open until the next call.
  struct Place {
    int parent = -1;
    std::string name;
  };
  // Makes room for a new file, link or device at `path`, whose directory exists: an old one goes. FAILED_PRECONDITION when a
  // directory is in the way. `empty` says that nothing can be there.
  absl::StatusOr<Place> MakeRoom(const std::string& path, bool empty = false);
  // Makes a directory where nothing is.
  absl::Status MakeDirectory(const std::string& path, mode_t mode, bool empty = false);
  // An existing directory, to change its attributes or to link into.
  absl::StatusOr<int> OpenDirectory(const std::string& path);
  // Removes what is there, recursively. OK when there is nothing.
  absl::Status Remove(const std::string& path);

 private:
  class Steps;

  TreeWriter() = default;
  bool HiddenBelow(absl::string_view path) const;  // by an ancestor
  absl::StatusOr<std::optional<struct stat>> LstatLower(const std::string& path);
  // The upper tree's directory at `path`, or -1. Open until the next call.
  absl::StatusOr<int> UpperDirectory(const std::string& path);
  int KeepOpen(const std::string& path, UniqueFd directory);
  // Where an entry is, or would be, in the upper tree; `parent` is -1 when its directory is not there.
  absl::StatusOr<Place> UpperPlace(const std::string& path);
  // The same, its directory taken over from the lower tree first.
  absl::StatusOr<Place> PlaceOf(const std::string& path);

  UniqueFd upper_;
  std::unique_ptr<SourceTree> lower_;
  absl::flat_hash_set<std::string> hidden_;          // whiteouts and opaque directories: nothing of the lower tree shows there
  absl::flat_hash_set<std::string> directories_;     // known to be directories, in either tree
  absl::flat_hash_map<std::string, UniqueFd> open_;  // directories of the upper tree
};

}  // namespace cachalot::op
