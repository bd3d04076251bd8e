#include "snapshot/whole_trees.h"

#include <fcntl.h>

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "codec/tar.h"
#include "os/file.h"
#include "snapshot/apply_layer.h"
#include "snapshot/change_sinks.h"
#include "snapshot/layer_walk.h"

namespace cachalot::snapshot {

namespace {

absl::Status RemoveEntries(int dir_fd) {
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(dir_fd));
  for (const os::DirectoryEntry& entry : entries) RETURN_IF_ERROR(os::RemoveTreeAt(dir_fd, entry.name));
  return absl::OkStatus();
}

// Removes what the whiteout at `path` hides.
absl::Status Remove(int root_fd, const std::string& path) {
  const std::string name = BaseName(path);
  const bool opaque = name == kOpaqueMarker;
  if (!opaque && absl::StartsWith(name, ".wh..wh.")) return absl::OkStatus();  // aufs's own files
  const std::string hidden(absl::StripPrefix(name, kWhiteoutPrefix));
  if (hidden.empty() || hidden == "." || hidden == "..") return absl::DataLossError("invalid whiteout");
  const absl::StatusOr<UniqueFd> directory = os::OpenInRoot(root_fd, DirName(path), O_RDONLY | O_DIRECTORY);
  if (!directory.ok()) return absl::OkStatus();  // nothing is there to be hidden
  return opaque ? RemoveEntries(directory->get()) : os::RemoveTreeAt(directory->get(), hidden);
}

}  // namespace

absl::Status CopyWholeTree(const std::string& from, const std::string& to, const CancelToken& cancel) {
  LinkChangeSink sink(to, std::nullopt, {}, LinkChangeSink::Files::kCopied);
  RETURN_IF_ERROR(WalkLayer({from, "", {}, true}, sink, cancel));
  return sink.Finish();
}

absl::Status RemoveHidden(codec::Source& archive, const std::string& root, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const UniqueFd root_fd, os::OpenDirectory(root));
  codec::TarReader tar(&archive);
  codec::TarEntry entry;
  while (true) {
    if (cancel.cancelled()) return cancel.status();
    ASSIGN_OR_RETURN(const bool more, tar.Next(&entry));
    if (!more) return tar.Drain();
    const std::string path = RootedPath(entry.path).substr(1);
    if (!absl::StartsWith(BaseName(path), kWhiteoutPrefix)) continue;
    if (absl::Status status = Remove(root_fd.get(), path); !status.ok()) return Annotate(status, absl::StrCat("unpack ", entry.path));
  }
}

}  // namespace cachalot::snapshot
