#include "op/tree_writer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/attributes.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// "/a/b" as a path relative to an open root.
std::string Relative(absl::string_view path) { return path == "/" ? "." : std::string(path.substr(1)); }

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

absl::StatusOr<std::string> TreeWriter::Resolve(absl::string_view path) {
  auto look = [this](const std::string& p) -> absl::StatusOr<EntryKind> {
    ASSIGN_OR_RETURN(const auto st, Lstat(p));
    return KindOf(st);
  };
  return resolver_.Resolve(path, true, look, [this](const std::string& p) { return ReadLink(p); });
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

absl::StatusOr<std::optional<struct stat>> TreeWriter::Lstat(const std::string& path) {
  struct stat st;
  if (::fstatat(upper_.get(), Relative(path).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (IsWhiteout(st)) return std::nullopt;
    return st;
  }
  if (errno != ENOENT && errno != ENOTDIR) return ErrnoError(absl::StrCat("lstat ", path));
  return LstatLower(path);
}

absl::StatusOr<std::string> TreeWriter::ReadLink(const std::string& path) {
  absl::StatusOr<std::string> target = os::ReadLink(upper_.get(), Relative(path));
  return target.ok() ? target : lower_->ReadLink(path);
}

absl::StatusOr<UniqueFd> TreeWriter::OpenFile(const std::string& path) {
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (!st.has_value()) return ErrnoError(absl::StrCat("open ", path), ENOENT);
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  UniqueFd fd(::openat(upper_.get(), Relative(path).c_str(), kFlags));
  return fd.valid() ? absl::StatusOr<UniqueFd>(std::move(fd)) : lower_->OpenFile(path);
}

absl::StatusOr<std::vector<std::string>> TreeWriter::List(const std::string& path) {
  absl::flat_hash_set<std::string> names;
  const UniqueFd fd(::openat(upper_.get(), Relative(path).c_str(), kDirectoryFlags));
  std::vector<os::DirectoryEntry> entries;
  if (fd.valid()) {
    ASSIGN_OR_RETURN(entries, os::ListDirectory(fd.get()));
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

absl::Status TreeWriter::EnsureUpper(const std::string& directory) {
  if (directory == "/" || upper_dirs_.contains(directory)) return absl::OkStatus();
  const std::string relative = Relative(directory);
  struct stat st;
  if (::fstatat(upper_.get(), relative.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    ASSIGN_OR_RETURN(const auto lower, LstatLower(directory));
    if (!lower.has_value()) return ErrnoError(absl::StrCat("open ", directory), ENOENT);
    if (!S_ISDIR(lower->st_mode)) return ErrnoError(absl::StrCat("open ", directory), ENOTDIR);
    RETURN_IF_ERROR(EnsureUpper(DirName(directory)));
    if (::mkdirat(upper_.get(), relative.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", directory));
    ASSIGN_OR_RETURN(const UniqueFd from, lower_->OpenDirectoryAt(directory));
    const UniqueFd to(::openat(upper_.get(), relative.c_str(), kDirectoryFlags));
    if (!to.valid()) return ErrnoError(absl::StrCat("open ", directory));
    CopyXattrs(from.get(), to.get());
    RETURN_IF_ERROR(SetAttributes(to.get(), "", AttributesOf(*lower)));
  } else if (!S_ISDIR(st.st_mode)) {
    return ErrnoError(absl::StrCat("open ", directory), IsWhiteout(st) ? ENOENT : ENOTDIR);
  }
  upper_dirs_.insert(directory);
  return absl::OkStatus();
}

absl::StatusOr<int> TreeWriter::OpenDirectory(const std::string& path) {
  if (open_dir_.valid() && open_path_ == path) return open_dir_.get();
  RETURN_IF_ERROR(EnsureUpper(path));
  UniqueFd fd(::openat(upper_.get(), Relative(path).c_str(), kDirectoryFlags));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  open_dir_ = std::move(fd);
  open_path_ = path;
  return open_dir_.get();
}

absl::StatusOr<int> TreeWriter::ParentOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return OpenDirectory(slash == 0 ? "/" : path.substr(0, slash));
}

absl::StatusOr<TreeWriter::Place> TreeWriter::MakeRoom(const std::string& path, bool empty) {
  if (path == "/") return absl::FailedPreconditionError("cannot replace to directory / with file");
  Place place;
  ASSIGN_OR_RETURN(place.parent, ParentOf(path));
  place.name = path.substr(path.rfind('/') + 1);
  if (empty) return place;
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (st.has_value() && S_ISDIR(st->st_mode)) return absl::FailedPreconditionError(absl::StrCat("cannot replace to directory ", path, " with file"));
  if (::unlinkat(place.parent, place.name.c_str(), 0) != 0 && errno != ENOENT) return ErrnoError(absl::StrCat("remove ", path));
  return place;
}

absl::Status TreeWriter::MakeDirectory(const std::string& path, mode_t mode, bool empty) {
  ASSIGN_OR_RETURN(const int parent, ParentOf(path));
  const std::string name = path.substr(path.rfind('/') + 1);
  bool covers = false;
  struct stat st;
  if (!empty && ::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && IsWhiteout(st)) {
    if (::unlinkat(parent, name.c_str(), 0) != 0) return ErrnoError(absl::StrCat("remove ", path));
    covers = true;
  }
  if (::mkdirat(parent, name.c_str(), mode) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  // The process's umask is not the client's business.
  if (::fchmodat(parent, name.c_str(), mode, 0) != 0) return ErrnoError(absl::StrCat("chmod ", path));
  if (covers) {
    UniqueFd fd(::openat(parent, name.c_str(), kDirectoryFlags));
    if (!fd.valid() || ::fsetxattr(fd.get(), "trusted.overlay.opaque", "y", 1, 0) != 0) return ErrnoError(absl::StrCat("mark ", path, " opaque"));
  }
  upper_dirs_.insert(path);
  resolver_.Remember(path);
  return absl::OkStatus();
}

absl::Status TreeWriter::Remove(const std::string& path) {
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (!st.has_value()) return absl::OkStatus();
  if (path == "/") return absl::InvalidArgumentError("cannot remove the root of a tree");
  resolver_.Forget();
  upper_dirs_.clear();
  ASSIGN_OR_RETURN(const int parent, ParentOf(path));
  const std::string name = path.substr(path.rfind('/') + 1);
  RETURN_IF_ERROR(os::RemoveTreeAt(parent, name));
  ASSIGN_OR_RETURN(const auto lower, LstatLower(path));
  if (lower.has_value()) {
    if (::mknodat(parent, name.c_str(), S_IFCHR, makedev(0, 0)) != 0) return ErrnoError(absl::StrCat("remove ", path));
    hidden_.insert(path);
  }
  return absl::OkStatus();
}

}  // namespace cachalot::op
