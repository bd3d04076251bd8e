#include "op/source_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "tree/resolve.h"

namespace cachalot::op {
namespace {

constexpr std::size_t kMaxOpenParts = 256;
constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

bool IsOpaque(int directory) {
  char value = 0;
  return ::fgetxattr(directory, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
}

// The innermost directory that is, or holds, all of the paths.
std::string CommonDirectory(const std::vector<std::string>& paths) {
  if (paths.empty()) return "/";
  std::string common = paths[0];
  for (const std::string& path : paths) {
    while (!IsBeneath(path, common)) common = DirName(common);
  }
  return common;
}

}  // namespace

// The layers' directories that are merged at one path, topmost first.
struct SourceTree::Directory {
  struct Part {
    int layer;
    UniqueFd fd;  // invalid for a layer's root: there may be hundreds
  };
  std::vector<Part> parts;
};

SourceTree::SourceTree() = default;
SourceTree::~SourceTree() = default;

bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == 0; }

absl::StatusOr<std::unique_ptr<SourceTree>> SourceTree::Over(const std::vector<std::string>& layers) {
  auto tree = std::unique_ptr<SourceTree>(new SourceTree());
  const std::string base = CommonDirectory(layers);
  ASSIGN_OR_RETURN(tree->base_, os::OpenDirectory(base));
  for (const std::string& layer : layers) {
    const std::string below = layer.substr(std::min(layer.size(), base == "/" ? 1 : base.size() + 1));
    tree->layers_.push_back(below.empty() ? "." : below);
  }
  auto root = std::make_unique<Directory>();
  for (std::size_t i = 0; i < tree->layers_.size(); ++i) root->parts.push_back({static_cast<int>(i), UniqueFd()});
  tree->directories_["/"] = std::move(root);
  return tree;
}

absl::StatusOr<std::unique_ptr<SourceTree>> SourceTree::Open(snapshot::Snapshots& snapshots, const snapshot::SnapshotPtr& snapshot) {
  ASSIGN_OR_RETURN(const std::vector<std::string> layers, snapshots.LayerDirectories(snapshot));
  ASSIGN_OR_RETURN(std::unique_ptr<SourceTree> tree, Over(layers));
  tree->hold_ = snapshot;
  return tree;
}

SourceTree::Place SourceTree::At(const Directory& directory, std::size_t part, const std::string& name) const {
  const Directory::Part& found = directory.parts[part];
  if (found.fd.valid()) return {found.layer, found.fd.get(), name};
  return {found.layer, base_.get(), absl::StrCat(layers_[found.layer], "/", name)};
}

absl::StatusOr<std::optional<SourceTree::Entry>> SourceTree::FindIn(const Directory& directory, const std::string& name) const {
  Entry entry;
  for (std::size_t i = 0; i < directory.parts.size(); ++i) {
    entry.place = At(directory, i, name);
    if (::fstatat(entry.place.directory, entry.place.name.c_str(), &entry.st, AT_SYMLINK_NOFOLLOW) == 0) {
      if (IsWhiteout(entry.st)) return std::nullopt;
      return entry;
    }
    if (errno != ENOENT) return ErrnoError(absl::StrCat("lstat ", name));
  }
  return std::nullopt;
}

absl::StatusOr<SourceTree::Found<SourceTree::Entry>> SourceTree::Find(const std::string& path) {
  if (last_path_ != path) {
    RETURN_IF_ERROR(tree::CheckPathLength("lstat", path));
    last_path_.clear();
    last_.reset();
    ASSIGN_OR_RETURN(const Found<Directory> directory, DirectoryOf(DirName(path)));
    last_error_ = directory.error;
    if (directory.value != nullptr) {
      ASSIGN_OR_RETURN(last_, FindIn(*directory.value, path == "/" ? "." : path.substr(path.rfind('/') + 1)));
    }
    last_path_ = path;
  }
  return Found<Entry>{last_.has_value() ? &*last_ : nullptr, last_error_};
}

absl::StatusOr<SourceTree::Directory> SourceTree::OpenParts(const Directory& parent, const std::string& path) const {
  Directory directory;
  const std::string name = path.substr(path.rfind('/') + 1);
  for (std::size_t i = 0; i < parent.parts.size(); ++i) {
    const Place place = At(parent, i, name);
    UniqueFd fd(::openat(place.directory, place.name.c_str(), kDirectoryFlags));
    if (fd.valid()) {
      const bool opaque = IsOpaque(fd.get());
      directory.parts.push_back({place.layer, std::move(fd)});
      if (opaque) break;
    } else if (errno == ENOTDIR || errno == ELOOP) {
      break;  // a file or a whiteout: nothing below it shows through
    } else if (errno != ENOENT) {
      return ErrnoError(absl::StrCat("open ", path));
    }
  }
  return directory;
}

absl::StatusOr<SourceTree::Found<SourceTree::Directory>> SourceTree::DirectoryOf(const std::string& path) {
  if (const auto found = directories_.find(path); found != directories_.end()) return Found<Directory>{found->second.get()};
  RETURN_IF_ERROR(tree::CheckPathLength("open", path));
  ASSIGN_OR_RETURN(const Found<Directory> parent, DirectoryOf(DirName(path)));
  if (parent.value == nullptr) return parent;
  ASSIGN_OR_RETURN(Directory directory, OpenParts(*parent.value, path));
  if (directory.parts.empty()) {
    ASSIGN_OR_RETURN(const std::optional<Entry> entry, FindIn(*parent.value, path.substr(path.rfind('/') + 1)));
    return Found<Directory>{nullptr, entry.has_value() ? ENOTDIR : ENOENT};
  }
  if (open_parts_ > kMaxOpenParts) {
    absl::erase_if(directories_, [](const auto& entry) { return entry.first != "/"; });
    open_parts_ = 0;
    last_path_.clear();  // its place may be closed
  }
  open_parts_ += directory.parts.size();
  return Found<Directory>{(directories_[path] = std::make_unique<Directory>(std::move(directory))).get()};
}

class SourceTree::Steps final : public tree::PathSteps {
 public:
  explicit Steps(SourceTree& tree) : tree_(tree) {}
  absl::StatusOr<tree::EntryKind> Look(const std::vector<std::string>& way, const std::string& name, std::string* target) override {
    const std::string path = tree::PathOf(way, name);
    if (tree_.directories_.contains(path)) return tree::EntryKind::kDirectory;
    ASSIGN_OR_RETURN(const auto st, tree_.TryLstat(path));
    if (!st.has_value()) return tree::EntryKind::kNone;
    if (S_ISLNK(st->st_mode)) {
      ASSIGN_OR_RETURN(*target, tree_.ReadLink(path));
    }
    return tree::KindOf(st->st_mode);
  }

 private:
  SourceTree& tree_;
};

absl::StatusOr<std::string> SourceTree::Resolve(absl::string_view path, bool follow_last) {
  Steps steps(*this);
  ASSIGN_OR_RETURN(const tree::PathEnd end, tree::WalkPath(steps, path, follow_last));
  return end.Path();
}

absl::StatusOr<std::optional<struct stat>> SourceTree::TryLstat(const std::string& path) {
  ASSIGN_OR_RETURN(const Found<Entry> entry, Find(path));
  if (entry.value == nullptr) return std::nullopt;
  return entry.value->st;
}

absl::StatusOr<struct stat> SourceTree::Lstat(const std::string& path) {
  ASSIGN_OR_RETURN(const Found<Entry> entry, Find(path));
  if (entry.value == nullptr) return ErrnoError(absl::StrCat("lstat ", path), entry.error);
  return entry.value->st;
}

absl::StatusOr<SourceTree::Place> SourceTree::Locate(const std::string& path) {
  ASSIGN_OR_RETURN(const Found<Entry> entry, Find(path));
  if (entry.value == nullptr) return ErrnoError(absl::StrCat("open ", path), entry.error);
  return entry.value->place;
}

absl::StatusOr<std::string> SourceTree::ReadLink(const std::string& path) {
  ASSIGN_OR_RETURN(const Place place, Locate(path));
  return os::ReadLink(place.directory, place.name);
}

absl::StatusOr<UniqueFd> SourceTree::OpenFile(const std::string& path) {
  ASSIGN_OR_RETURN(const Place place, Locate(path));
  return tree::OpenRegularFile(place.directory, place.name, path);
}

absl::StatusOr<UniqueFd> SourceTree::OpenDirectoryAt(const std::string& path) {
  ASSIGN_OR_RETURN(const Place place, Locate(path));
  UniqueFd fd(::openat(place.directory, place.name.c_str(), kDirectoryFlags));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  return fd;
}

absl::StatusOr<std::vector<std::string>> SourceTree::List(const std::string& path) {
  ASSIGN_OR_RETURN(const Found<Directory> found, DirectoryOf(path));
  const Directory* const directory = found.value;
  if (directory == nullptr) return ErrnoError(absl::StrCat("open ", path), found.error);
  absl::flat_hash_set<std::string> hidden;  // by a layer further up
  std::vector<std::string> names;
  for (std::size_t i = 0; i < directory->parts.size(); ++i) {
    const Place place = At(*directory, i, ".");
    const UniqueFd fd(::openat(place.directory, place.name.c_str(), kDirectoryFlags));
    if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
    ASSIGN_OR_RETURN(std::vector<os::DirectoryEntry> entries, os::ListDirectory(fd.get()));
    const bool last = i + 1 == directory->parts.size();
    for (os::DirectoryEntry& entry : entries) {
      if (hidden.contains(entry.name)) continue;
      if (!last) hidden.insert(entry.name);
      struct stat st;
      const bool device = entry.type == DT_CHR || entry.type == DT_UNKNOWN;
      if (device && ::fstatat(fd.get(), entry.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && IsWhiteout(st)) continue;
      names.push_back(std::move(entry.name));
    }
  }
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
