#include "op/tree_writer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/attributes.h"
#include "os/file.h"
#include "tree/resolve.h"

namespace cachalot::op {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
constexpr std::size_t kMaxOpen = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<TreeWriter>> TreeWriter::OpenDirectories(const std::string& upper, const std::vector<std::string>& lowers) {
  auto writer = std::unique_ptr<TreeWriter>(new TreeWriter());
  ASSIGN_OR_RETURN(writer->upper_, os::OpenDirectory(upper));
  ASSIGN_OR_RETURN(writer->lower_, SourceTree::Over(lowers));
  return writer;
}

absl::StatusOr<std::unique_ptr<TreeWriter>> TreeWriter::Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& active) {
  ASSIGN_OR_RETURN(std::vector<std::string> layers, snapshots.LayerDirectories(active));
  const std::string upper = std::move(layers.front());
  layers.erase(layers.begin());
  return OpenDirectories(upper, layers);
}

class TreeWriter::Steps final : public tree::PathSteps {
 public:
  Steps(TreeWriter& writer, const std::string& root) : writer_(writer), root_(root) {}
  absl::StatusOr<tree::EntryKind> Look(const std::vector<std::string>& way, const std::string& name, std::string* target) override {
    const std::string path = JoinPath(root_, tree::PathOf(way, name));
    if (writer_.directories_.contains(path)) return tree::EntryKind::kDirectory;
    ASSIGN_OR_RETURN(const auto st, writer_.Lstat(path));
    if (!st.has_value()) return tree::EntryKind::kNone;
    if (S_ISDIR(st->st_mode)) writer_.directories_.insert(path);
    if (S_ISLNK(st->st_mode)) {
      ASSIGN_OR_RETURN(*target, writer_.ReadLink(path));
    }
    return tree::KindOf(st->st_mode);
  }

 private:
  TreeWriter& writer_;
  const std::string& root_;
};

absl::StatusOr<std::string> TreeWriter::Resolve(absl::string_view path, const std::string& root) {
  Steps steps(*this, root);
  ASSIGN_OR_RETURN(const tree::PathEnd end, tree::WalkPath(steps, path, true));
  return JoinPath(root, end.Path());
}

absl::StatusOr<std::string> TreeWriter::ResolveParent(absl::string_view path) {
  const std::string clean = RootedPath(path);
  if (clean == "/") return clean;
  ASSIGN_OR_RETURN(const std::string directory, Resolve(DirName(clean)));
  return JoinPath(directory, BaseName(clean));
}

bool TreeWriter::HiddenBelow(absl::string_view path) const {
  if (hidden_.empty()) return false;
  for (std::size_t slash = path.rfind('/'); slash != absl::string_view::npos && slash > 0; slash = path.rfind('/', slash - 1)) {
    if (hidden_.contains(path.substr(0, slash))) return true;
  }
  return false;
}

absl::StatusOr<std::optional<struct stat>> TreeWriter::LstatLower(const std::string& path) {
  if (HiddenBelow(path)) return std::nullopt;
  return lower_->TryLstat(path);
}

int TreeWriter::KeepOpen(const std::string& path, UniqueFd directory) {
  if (open_.size() >= kMaxOpen) open_.clear();
  return (open_[path] = std::move(directory)).get();
}

absl::StatusOr<int> TreeWriter::UpperDirectory(const std::string& path) {
  if (path == "/") return upper_.get();
  if (const auto found = open_.find(path); found != open_.end()) return found->second.get();
  ASSIGN_OR_RETURN(UniqueFd fd, tree::TryOpenDirectory(upper_.get(), absl::string_view(path).substr(1)));
  return fd.valid() ? KeepOpen(path, std::move(fd)) : -1;
}

absl::StatusOr<TreeWriter::Place> TreeWriter::UpperPlace(const std::string& path) {
  if (path == "/") return Place{upper_.get(), "."};
  const std::size_t slash = path.rfind('/');
  Place place;
  place.name = path.substr(slash + 1);
  if (place.name.empty() || place.name == "." || place.name == "..") return absl::InvalidArgumentError(absl::StrCat(path, " is not a clean path"));
  ASSIGN_OR_RETURN(place.parent, UpperDirectory(slash == 0 ? "/" : path.substr(0, slash)));
  return place;
}

absl::StatusOr<std::optional<struct stat>> TreeWriter::Lstat(const std::string& path) {
  ASSIGN_OR_RETURN(const Place place, UpperPlace(path));
  struct stat st;
  if (place.parent >= 0 && ::fstatat(place.parent, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (IsWhiteout(st)) return std::nullopt;
    return st;
  }
  if (place.parent >= 0 && errno != ENOENT) return ErrnoError(absl::StrCat("lstat ", path));
  return LstatLower(path);
}

absl::StatusOr<std::string> TreeWriter::ReadLink(const std::string& path) {
  ASSIGN_OR_RETURN(const Place place, UpperPlace(path));
  if (place.parent >= 0) {
    absl::StatusOr<std::string> target = os::ReadLink(place.parent, place.name);
    if (target.ok()) return target;
  }
  return lower_->ReadLink(path);
}

absl::StatusOr<UniqueFd> TreeWriter::OpenFile(const std::string& path) {
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (!st.has_value()) return ErrnoError(absl::StrCat("open ", path), ENOENT);
  ASSIGN_OR_RETURN(const Place place, UpperPlace(path));
  if (place.parent >= 0) {
    absl::StatusOr<UniqueFd> fd = tree::OpenRegularFile(place.parent, place.name, path);
    if (!absl::IsNotFound(fd.status())) return fd;
  }
  return lower_->OpenFile(path);
}

absl::StatusOr<std::vector<std::string>> TreeWriter::List(const std::string& path) {
  absl::flat_hash_set<std::string> names;
  ASSIGN_OR_RETURN(const int upper, UpperDirectory(path));
  std::vector<os::DirectoryEntry> entries;
  if (upper >= 0) {
    ASSIGN_OR_RETURN(entries, os::ListDirectory(upper));
  }
  for (os::DirectoryEntry& entry : entries) names.insert(std::move(entry.name));
  if (!hidden_.contains(path) && !HiddenBelow(path)) {
    for (std::string& name : lower_->List(path).value_or(std::vector<std::string>())) names.insert(std::move(name));
  }
  std::vector<std::string> sorted;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const auto st, Lstat(JoinPath(path, name)));
    if (st.has_value()) sorted.push_back(name);
  }
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

absl::StatusOr<int> TreeWriter::OpenDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(const int upper, UpperDirectory(path));
  if (upper >= 0) return upper;
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (!st.has_value()) return ErrnoError(absl::StrCat("open ", path), ENOENT);
  if (!S_ISDIR(st->st_mode)) return ErrnoError(absl::StrCat("open ", path), ENOTDIR);
  ASSIGN_OR_RETURN(const Place place, PlaceOf(path));
  if (::mkdirat(place.parent, place.name.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  UniqueFd to(::openat(place.parent, place.name.c_str(), kDirectoryFlags));
  if (!to.valid()) return ErrnoError(absl::StrCat("open ", path));
  ASSIGN_OR_RETURN(const UniqueFd from, lower_->OpenDirectoryAt(path));
  CopyXattrs(from.get(), to.get());
  RETURN_IF_ERROR(SetAttributes(to.get(), "", AttributesOf(*st)));
  return KeepOpen(path, std::move(to));
}

absl::StatusOr<TreeWriter::Place> TreeWriter::PlaceOf(const std::string& path) {
  ASSIGN_OR_RETURN(Place place, UpperPlace(path));
  if (place.parent < 0) {
    const std::size_t slash = path.rfind('/');
    ASSIGN_OR_RETURN(place.parent, OpenDirectory(slash == 0 ? "/" : path.substr(0, slash)));
  }
  return place;
}

absl::StatusOr<TreeWriter::Place> TreeWriter::MakeRoom(const std::string& path, bool empty) {
  if (path == "/") return absl::FailedPreconditionError("cannot replace to directory / with file");
  ASSIGN_OR_RETURN(Place place, PlaceOf(path));
  if (empty) return place;
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (st.has_value() && S_ISDIR(st->st_mode)) return absl::FailedPreconditionError(absl::StrCat("cannot replace to directory ", path, " with file"));
  if (::unlinkat(place.parent, place.name.c_str(), 0) != 0 && errno != ENOENT) return ErrnoError(absl::StrCat("remove ", path));
  return place;
}

absl::Status TreeWriter::MakeDirectory(const std::string& path, mode_t mode, bool empty) {
  ASSIGN_OR_RETURN(const Place place, PlaceOf(path));
  bool covers = false;
  struct stat st;
  if (!empty && ::fstatat(place.parent, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && IsWhiteout(st)) {
    if (::unlinkat(place.parent, place.name.c_str(), 0) != 0) return ErrnoError(absl::StrCat("remove ", path));
    covers = true;
  }
  if (::mkdirat(place.parent, place.name.c_str(), mode) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  UniqueFd fd(::openat(place.parent, place.name.c_str(), kDirectoryFlags));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  // The process's umask is not the client's business.
  if (::fchmod(fd.get(), mode) != 0) return ErrnoError(absl::StrCat("chmod ", path));
  if (covers && ::fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) return ErrnoError(absl::StrCat("mark ", path, " opaque"));
  KeepOpen(path, std::move(fd));
  directories_.insert(path);
  return absl::OkStatus();
}

absl::Status TreeWriter::Remove(const std::string& path) {
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (!st.has_value()) return absl::OkStatus();
  if (path == "/") return absl::InvalidArgumentError("cannot remove the root of a tree");
  directories_.clear();
  open_.clear();
  ASSIGN_OR_RETURN(const Place place, PlaceOf(path));
  RETURN_IF_ERROR(os::RemoveTreeAt(place.parent, place.name));
  ASSIGN_OR_RETURN(const auto lower, LstatLower(path));
  if (lower.has_value()) {
    if (::mknodat(place.parent, place.name.c_str(), S_IFCHR, makedev(0, 0)) != 0) return ErrnoError(absl::StrCat("remove ", path));
    hidden_.insert(path);
  }
  return absl::OkStatus();
}

}  // namespace cachalot::op
