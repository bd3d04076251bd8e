#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "op/copier.h"
#include "op/file_actions.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr mode_t kPermissions = 0777;

std::optional<struct timespec> TimeFor(std::int64_t timestamp_ns) {
  if (timestamp_ns == -1) return std::nullopt;
  return TimeOf(timestamp_ns);
}

// A path with what its end says kept: "a/." and "a/" mean a directory.
std::string KeepEnd(absl::string_view path) {
  std::string clean = RootedPath(path);
  if (absl::EndsWith(path, "/.")) return absl::StrCat(clean == "/" ? "" : clean, "/.");
  if (absl::EndsWith(path, "/") && clean != "/") return absl::StrCat(clean, "/");
  return clean;
}

absl::Status RequireParent(TreeWriter& tree, absl::string_view call, const std::string& path) {
  ASSIGN_OR_RETURN(const auto parent, tree.Lstat(DirName(path)));
  if (!parent.has_value()) return ErrnoError(absl::StrCat(call, " ", path), ENOENT);
  if (!S_ISDIR(parent->st_mode)) return ErrnoError(absl::StrCat(call, " ", path), ENOTDIR);
  return absl::OkStatus();
}

absl::Status Finish(int directory, const std::string& name, mode_t mode, const std::optional<Owner>& owner,
                    const std::optional<struct timespec>& time) {
  Attributes attributes;
  attributes.mode = mode;
  if (owner.has_value()) attributes.uid = owner->uid, attributes.gid = owner->gid;
  if (time.has_value()) attributes.atime = attributes.mtime = *time;
  return SetAttributes(directory, name, attributes);
}

absl::StatusOr<CopyRules> RulesFor(const llb::FileCopy& copy, const std::optional<Owner>& owner) {
  CopyRules rules;
  rules.owner = owner;
  rules.time = TimeFor(copy.timestamp_ns);
  rules.follow_links = copy.follow_symlink;
  rules.directory_contents = copy.dir_copy_contents;
  rules.replace = copy.always_replace_existing;
  if (!copy.mode_text.empty()) {
    ASSIGN_OR_RETURN(rules.symbolic_mode, SymbolicMode::Parse(copy.mode_text));
  } else if (copy.mode != -1) {
    rules.mode = static_cast<mode_t>(copy.mode);
  }
  if (!copy.include_patterns.empty()) {
    ASSIGN_OR_RETURN(rules.include, PatternMatcher::Create(copy.include_patterns));
  }
  if (!copy.exclude_patterns.empty()) {
    ASSIGN_OR_RETURN(rules.exclude, PatternMatcher::Create(copy.exclude_patterns));
  }
  return rules;
}

// How much is copied of a source that a wildcard gave: patterns may leave it out by its own name, while inside a source they match what is
// beneath it. Of a directory whose contents are wanted the destination stays, and so does what exceptions may keep.
enum class Share { kAll, kOnlyDestination, kNothing };
absl::StatusOr<Share> ShareOf(const llb::FileCopy& copy, const CopyRules& rules, const std::string& source, SourceTree& from) {
  if (!rules.exclude.has_value() || !rules.exclude->Matches(BaseName(source))) return Share::kAll;
  ASSIGN_OR_RETURN(const struct stat st, from.Lstat(source));
  if (!S_ISDIR(st.st_mode)) return Share::kNothing;
  if (rules.exclude->has_exceptions()) return Share::kAll;
  return copy.dir_copy_contents ? Share::kOnlyDestination : Share::kNothing;
}

}  // namespace

absl::Status MakeDirectoryAction(const llb::FileMkdir& mkdir, const std::optional<Owner>& owner, TreeWriter& tree) {
  ASSIGN_OR_RETURN(const std::string path, tree.Resolve(mkdir.path));
  const mode_t mode = static_cast<mode_t>(mkdir.mode) & kPermissions;
  if (mkdir.make_parents) return MakeDirectories(tree, path, mode, owner, TimeFor(mkdir.timestamp_ns));
  ASSIGN_OR_RETURN(const auto old, tree.Lstat(path));
  if (old.has_value()) return absl::OkStatus();
  RETURN_IF_ERROR(RequireParent(tree, "mkdir", path));
  return MakeDirectories(tree, path, mode, owner, TimeFor(mkdir.timestamp_ns));
}

absl::Status MakeFileAction(const llb::FileMkfile& mkfile, const std::optional<Owner>& owner, TreeWriter& tree) {
  ASSIGN_OR_RETURN(const std::string path, tree.Resolve(RootedPath(mkfile.path)));
  ASSIGN_OR_RETURN(const auto old, tree.Lstat(path));
  if (old.has_value() && S_ISDIR(old->st_mode)) return ErrnoError(absl::StrCat("open ", path), EISDIR);
  RETURN_IF_ERROR(RequireParent(tree, "open", path));
  ASSIGN_OR_RETURN(const TreeWriter::Place place, tree.MakeRoom(path));
  const UniqueFd fd(::openat(place.parent, place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoError(absl::StrCat("open ", path));
  RETURN_IF_ERROR(os::WriteAll(fd.get(), mkfile.data, path));
  // An existing file would have been overwritten in place: it keeps its mode and owner.
  mode_t mode = S_IFREG | (static_cast<mode_t>(mkfile.mode) & kPermissions);
  std::optional<Owner> kept = owner;
  if (old.has_value() && S_ISREG(old->st_mode)) {
    mode = old->st_mode;
    if (!kept.has_value()) kept = Owner{old->st_uid, old->st_gid};
  }
  return Finish(fd.get(), "", mode, kept, TimeFor(mkfile.timestamp_ns));
}

absl::Status MakeSymlinkAction(const llb::FileSymlink& symlink, const std::optional<Owner>& owner, TreeWriter& tree) {
  ASSIGN_OR_RETURN(const std::string path, tree.Resolve(RootedPath(symlink.newpath)));
  const std::string call = absl::StrCat("symlink ", symlink.oldpath);
  ASSIGN_OR_RETURN(const auto old, tree.Lstat(path));
  if (old.has_value()) return ErrnoError(absl::StrCat(call, " ", path), EEXIST);
  RETURN_IF_ERROR(RequireParent(tree, call, path));
  ASSIGN_OR_RETURN(const TreeWriter::Place place, tree.MakeRoom(path));
  if (::symlinkat(symlink.oldpath.c_str(), place.parent, place.name.c_str()) != 0) return ErrnoError(absl::StrCat(call, " ", path));
  return Finish(place.parent, place.name, S_IFLNK, owner, TimeFor(symlink.timestamp_ns));
}

absl::Status RemoveAction(const llb::FileRm& rm, TreeWriter& tree) {
  std::vector<std::string> paths = {RootedPath(rm.path)};
  if (rm.allow_wildcard) {
    ASSIGN_OR_RETURN(paths, ExpandWildcards(
                                rm.path, [&](const std::string& base) { return tree.ResolveParent(base); },
                                [&](const std::string& directory) -> absl::StatusOr<std::vector<std::string>> {
                                  ASSIGN_OR_RETURN(const auto st, tree.Lstat(directory));
                                  if (!st.has_value()) return ErrnoError(absl::StrCat("lstat ", directory), ENOENT);
                                  return tree.List(directory);
                                }));
  }
  for (const std::string& path : paths) {
    if (path == "/") return absl::InvalidArgumentError("rmPath: invalid empty path");
    ASSIGN_OR_RETURN(const std::string resolved, tree.ResolveParent(path));
    ASSIGN_OR_RETURN(const auto st, tree.Lstat(resolved));
    if (!st.has_value() && !rm.allow_not_found) return ErrnoError(absl::StrCat("stat ", resolved), ENOENT);
    RETURN_IF_ERROR(tree.Remove(resolved));
  }
  return absl::OkStatus();
}

absl::Status CopyAction(const llb::FileCopy& copy, const std::optional<Owner>& owner, SourceTree& from, TreeWriter& tree, const CancelToken& cancel) {
  const std::string source = KeepEnd(copy.src), destination = KeepEnd(copy.dest);
  if (!copy.create_dest_path) {
    ASSIGN_OR_RETURN(const std::string path, tree.Resolve(RootedPath(copy.dest)));
    ASSIGN_OR_RETURN(const auto parent, tree.Lstat(DirName(path)));
    if (!parent.has_value()) return ErrnoError(absl::StrCat("failed to stat ", copy.dest, ": lstat ", DirName(path)), ENOENT);
  }
  const bool expand = copy.allow_wildcard && HasWildcards(source);
  std::vector<std::string> sources = {source};
  if (expand) {
    ASSIGN_OR_RETURN(sources, from.Glob(source, copy.follow_symlink));
    if (sources.empty()) return copy.allow_empty_wildcard ? absl::OkStatus() : absl::NotFoundError(absl::StrCat(source, " not found"));
  }
  ASSIGN_OR_RETURN(const CopyRules rules, RulesFor(copy, owner));
  for (const std::string& one : sources) {
    const absl::StatusOr<Share> share = expand ? ShareOf(copy, rules, one, from) : Share::kAll;
    RETURN_IF_ERROR(share.status());
    if (*share == Share::kNothing) continue;
    if (copy.attempt_unpack) {
      ASSIGN_OR_RETURN(const bool unpacked, UnpackAction(from, one, tree, destination, owner, TimeFor(copy.timestamp_ns), cancel));
      if (unpacked) continue;
    }
    CopyRules applied = rules;
    if (*share == Share::kOnlyDestination) {
      ASSIGN_OR_RETURN(applied.exclude, PatternMatcher::Create({"*"}));
    }
    RETURN_IF_ERROR(Copier(from, tree, applied, cancel).Copy(one, destination));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::op
