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

bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

EntryKind KindOf(const std::optional<struct stat>& st) {
  if (!st.has_value()) return EntryKind::kNone;
  if (S_ISDIR(st->st_mode)) return EntryKind::kDirectory;
  return S_ISLNK(st->st_mode) ? EntryKind::kLink : EntryKind::kOther;
}

// Splits "a:b" at colons that no backslash escapes, and unescapes.
std::vector<std::string> SplitPaths(absl::string_view text) {
  std::vector<std::string> paths(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) {
      paths.back() += text[++i];
    } else if (text[i] == ':') {
      paths.emplace_back();
    } else {
      paths.back() += text[i];
    }
  }
  return paths;
}

}  // namespace

absl::StatusOr<LayerDirectories> DirectoriesOf(const os::Mount& mount) {
  LayerDirectories directories;
  const bool bind = mount.type == "bind" || absl::c_linear_search(mount.options, "rbind") || absl::c_linear_search(mount.options, "bind");
  if (bind) {
    (absl::c_linear_search(mount.options, "ro") ? directories.lowers.emplace_back() : directories.upper) = mount.source;
    return directories;
  }
  if (mount.type != "overlay") return absl::UnimplementedError(absl::StrCat("a tree mounted as ", mount.type));
  for (absl::string_view option : mount.options) {
    if (absl::ConsumePrefix(&option, "upperdir=")) {
      directories.upper = SplitPaths(option)[0];
    } else if (absl::ConsumePrefix(&option, "lowerdir=") || absl::ConsumePrefix(&option, "lowerdir+=")) {
      for (std::string& path : SplitPaths(option)) directories.lowers.push_back(std::move(path));
    }
  }
  return directories;
}

absl::StatusOr<std::unique_ptr<TreeWriter>> TreeWriter::OpenDirectories(const std::string& upper, const std::string& lower) {
  auto writer = std::unique_ptr<TreeWriter>(new TreeWriter());
  ASSIGN_OR_RETURN(writer->upper_, os::OpenDirectory(upper));
  if (!lower.empty()) {
    ASSIGN_OR_RETURN(writer->lower_, os::OpenDirectory(lower));
  }
  return writer;
}

absl::StatusOr<std::unique_ptr<TreeWriter>> TreeWriter::Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& active) {
  ASSIGN_OR_RETURN(const os::Mount mount, snapshots.MountSpec(active, false));
  ASSIGN_OR_RETURN(const LayerDirectories directories, DirectoriesOf(mount));
  if (directories.upper.empty()) return absl::InternalError(absl::StrCat("snapshot ", active->id(), " cannot be written"));
  std::shared_ptr<snapshot::MountedTree> lower;
  if (active->parent() != nullptr) {
    ASSIGN_OR_RETURN(lower, snapshots.MountTree(active->parent(), true));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<TreeWriter> writer, OpenDirectories(directories.upper, lower == nullptr ? "" : lower->path()));
  writer->lower_tree_ = std::move(lower);
  return writer;
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

absl::StatusOr<std::optional<struct stat>> TreeWriter::LstatLower(const std::string& path) const {
  struct stat st;
  if (!lower_.valid() || HiddenBelow(path)) return std::nullopt;
  if (::fstatat(lower_.get(), Relative(path).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) return st;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  return ErrnoError(absl::StrCat("lstat ", path));
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
  if (!target.ok() && lower_.valid()) target = os::ReadLink(lower_.get(), Relative(path));
  return target;
}

absl::StatusOr<UniqueFd> TreeWriter::OpenFile(const std::string& path) {
  ASSIGN_OR_RETURN(const auto st, Lstat(path));
  if (!st.has_value()) return ErrnoError(absl::StrCat("open ", path), ENOENT);
  constexpr int kFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  UniqueFd fd(::openat(upper_.get(), Relative(path).c_str(), kFlags));
  if (!fd.valid() && lower_.valid()) fd.reset(::openat(lower_.get(), Relative(path).c_str(), kFlags));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<std::vector<std::string>> TreeWriter::List(const std::string& path) {
  absl::flat_hash_set<std::string> names;
  for (const UniqueFd* root : {&upper_, &lower_}) {
    if (!root->valid() || (root == &lower_ && (hidden_.contains(path) || HiddenBelow(path)))) continue;
    UniqueFd fd(::openat(root->get(), Relative(path).c_str(), kDirectoryFlags));
    if (!fd.valid()) continue;
    ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(fd.get()));
    for (const os::DirectoryEntry& entry : entries) {
      ASSIGN_OR_RETURN(const auto st, Lstat(JoinPath(path, entry.name)));
      if (st.has_value()) names.insert(entry.name);
    }
  }
  std::vector<std::string> sorted(names.begin(), names.end());
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
    UniqueFd from(::openat(lower_.get(), relative.c_str(), kDirectoryFlags));
    UniqueFd to(::openat(upper_.get(), relative.c_str(), kDirectoryFlags));
    if (!from.valid() || !to.valid()) return ErrnoError(absl::StrCat("open ", directory));
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
