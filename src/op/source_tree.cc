#include "op/source_tree.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/tree_writer.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

std::string Relative(absl::string_view path) { return path == "/" ? "." : std::string(path.substr(1)); }

}  // namespace

absl::StatusOr<std::unique_ptr<SourceTree>> SourceTree::OpenDirectory(const std::string& path) {
  auto tree = std::unique_ptr<SourceTree>(new SourceTree());
  ASSIGN_OR_RETURN(tree->root_, os::OpenDirectory(path));
  ASSIGN_OR_RETURN(UniqueFd layer, os::OpenDirectory(path));
  tree->layers_.push_back(std::move(layer));
  return tree;
}

absl::StatusOr<std::unique_ptr<SourceTree>> SourceTree::Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& snapshot) {
  auto tree = std::unique_ptr<SourceTree>(new SourceTree());
  ASSIGN_OR_RETURN(tree->mounted_, snapshots.MountTree(snapshot, true));
  ASSIGN_OR_RETURN(tree->root_, os::OpenDirectory(tree->mounted_->path()));
  if (snapshot == nullptr) return tree;
  ASSIGN_OR_RETURN(const os::Mount mount, snapshots.MountSpec(snapshot, true));
  absl::StatusOr<LayerDirectories> directories = DirectoriesOf(mount);
  if (!directories.ok()) return tree;
  if (!directories->upper.empty()) directories->lowers.insert(directories->lowers.begin(), directories->upper);
  for (const std::string& path : directories->lowers) {
    ASSIGN_OR_RETURN(UniqueFd layer, os::OpenDirectory(path));
    tree->layers_.push_back(std::move(layer));
  }
  return tree;
}

absl::StatusOr<std::string> SourceTree::Resolve(absl::string_view path, bool follow_last) {
  auto look = [this](const std::string& p) -> absl::StatusOr<EntryKind> {
    struct stat st;
    if (::fstatat(root_.get(), Relative(p).c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return EntryKind::kNone;
      return ErrnoError(absl::StrCat("lstat ", p));
    }
    if (S_ISDIR(st.st_mode)) return EntryKind::kDirectory;
    return S_ISLNK(st.st_mode) ? EntryKind::kLink : EntryKind::kOther;
  };
  return resolver_.Resolve(path, follow_last, look, [this](const std::string& p) { return ReadLink(p); });
}

absl::StatusOr<struct stat> SourceTree::Lstat(const std::string& path) const {
  struct stat st;
  if (::fstatat(root_.get(), Relative(path).c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return ErrnoError(absl::StrCat("lstat ", path));
  return st;
}

absl::StatusOr<std::string> SourceTree::ReadLink(const std::string& path) const { return os::ReadLink(root_.get(), Relative(path)); }

absl::StatusOr<UniqueFd> SourceTree::OpenFile(const std::string& path) const {
  UniqueFd fd(::openat(root_.get(), Relative(path).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<UniqueFd> SourceTree::OpenDirectoryAt(const std::string& path) const {
  UniqueFd fd(::openat(root_.get(), Relative(path).c_str(), O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<std::vector<std::string>> SourceTree::List(const std::string& path) const {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenDirectoryAt(path));
  ASSIGN_OR_RETURN(std::vector<os::DirectoryEntry> entries, os::ListDirectory(fd.get()));
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (os::DirectoryEntry& entry : entries) names.push_back(std::move(entry.name));
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::vector<std::string>> SourceTree::Glob(absl::string_view pattern, bool follow_links) {
  return ExpandWildcards(
      pattern, [&](const std::string& base) { return Resolve(base, follow_links); }, [&](const std::string& directory) { return List(directory); });
}

absl::StatusOr<std::vector<std::string>> ExpandWildcards(absl::string_view pattern,
                                                         const std::function<absl::StatusOr<std::string>(const std::string&)>& resolve,
                                                         const std::function<absl::StatusOr<std::vector<std::string>>(const std::string&)>& list) {
  const std::vector<std::string> parts = absl::StrSplit(RootedPath(pattern), '/', absl::SkipEmpty());
  std::size_t fixed = 0;
  std::string base = "/";
  for (; fixed < parts.size() && !HasWildcards(parts[fixed]); ++fixed) base = JoinPath(base, parts[fixed]);
  if (fixed == parts.size()) return std::vector<std::string>{base};
  ASSIGN_OR_RETURN(base, resolve(base));
  std::vector<std::string> matches = {base};
  for (std::size_t i = fixed; i < parts.size(); ++i) {
    ASSIGN_OR_RETURN(const PathPattern glob, PathPattern::Parse(parts[i], PathPattern::Dialect::kGlob));
    std::vector<std::string> next;
    for (const std::string& directory : matches) {
      absl::StatusOr<std::vector<std::string>> names = list(directory);
      if (!names.ok() && i == fixed) return names.status();
      if (!names.ok()) continue;
      for (const std::string& name : *names) {
        if (glob.Matches(name)) next.push_back(JoinPath(directory, name));
      }
    }
    matches = std::move(next);
  }
  return matches;
}

}  // namespace cachalot::op
