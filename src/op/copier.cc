#include "op/copier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::op {
namespace {

constexpr mode_t kPermissions = 07777;
constexpr mode_t kCreatedPermissions = 0777;  // of directories that a copy makes on the way: no special bits
constexpr std::size_t kMaxLeft = 1024;

std::string ChildPath(const std::string& directory, const std::string& name) { return absl::StrCat(directory == "/" ? "" : directory, "/", name); }

absl::Status SetMode(TreeWriter& tree, const std::string& directory, mode_t mode) {
  ASSIGN_OR_RETURN(const int fd, tree.OpenDirectory(directory));
  return ::fchmod(fd, mode) == 0 ? absl::OkStatus() : ErrnoError(absl::StrCat("chmod ", directory));
}

}  // namespace

struct Copier::Item {
  std::string source;         // path in the source tree
  std::string relative;       // to the copy's root, "" for the root itself: what patterns match
  std::string target;         // path in the target tree
  bool overwrite = false;     // attributes of existing directories follow the source's
  bool target_empty = false;  // nothing can be at `target`
  const PatternMatcher::ParentMatches* includes = nullptr;
  const PatternMatcher::ParentMatches* excludes = nullptr;
};

struct Copier::Parent {
  const Item* item;
  struct stat st;
  bool made = false;
};

absl::Status MakeDirectories(TreeWriter& tree, const std::string& path, mode_t mode, const std::optional<Owner>& owner,
                             const std::optional<struct timespec>& time, std::vector<std::string>* created) {
  ASSIGN_OR_RETURN(const auto st, tree.Lstat(path));
  if (st.has_value()) return S_ISDIR(st->st_mode) ? absl::OkStatus() : ErrnoError(absl::StrCat("mkdir ", path), ENOTDIR);
  RETURN_IF_ERROR(MakeDirectories(tree, DirName(path), mode, owner, time, created));
  RETURN_IF_ERROR(tree.MakeDirectory(path, mode & kCreatedPermissions));
  if (created != nullptr) created->push_back(path);
  if (!owner.has_value() && !time.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const int fd, tree.OpenDirectory(path));
  Attributes attributes;
  attributes.mode = S_IFDIR | (mode & kCreatedPermissions);
  if (owner.has_value()) attributes.uid = owner->uid, attributes.gid = owner->gid;
  if (time.has_value()) attributes.atime = attributes.mtime = *time;
  return SetAttributes(fd, "", attributes);
}

absl::Status Copier::Copy(absl::string_view source, absl::string_view destination) {
  const mode_t directory_mode = rules_.mode.value_or(0755);
  std::vector<std::string> created;
  const bool names_directory = absl::EndsWith(destination, "/") || absl::EndsWith(destination, "/.");
  const std::string clean = RootedPath(destination);
  ASSIGN_OR_RETURN(const std::string directory, target_.Resolve(names_directory ? clean : DirName(clean)));
  RETURN_IF_ERROR(MakeDirectories(target_, directory, directory_mode, rules_.owner, rules_.time, &created));
  ASSIGN_OR_RETURN(const std::string resolved, target_.Resolve(clean));
  ASSIGN_OR_RETURN(const std::string from, source_.Resolve(RootedPath(source), rules_.follow_links));
  ASSIGN_OR_RETURN(const std::string target, PrepareTarget(from, source, resolved));
  Item item;
  item.source = from;
  item.target = target;
  RETURN_IF_ERROR(CopyEntry(item));
  RETURN_IF_ERROR(Finish());
  for (auto made = created.rbegin(); rules_.time.has_value() && made != created.rend(); ++made) {
    RETURN_IF_ERROR(SetTimes(*made, {}));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Copier::PrepareTarget(const std::string& source, absl::string_view name, const std::string& destination) {
  ASSIGN_OR_RETURN(const struct stat from, source_.Lstat(source));
  ASSIGN_OR_RETURN(const auto to, target_.Lstat(destination));
  const bool is_directory = S_ISDIR(from.st_mode);
  std::string target = destination;
  if (to.has_value() && (is_directory ? !rules_.directory_contents : S_ISDIR(to->st_mode))) {
    // Go's Base("/a/.") is ".", which joins to nothing.
    const std::string base = absl::EndsWith(name, "/.") ? "." : BaseName(name);
    target = JoinPath(destination, base);
  }
  const bool whole = rules_.directory_contents && is_directory && !to.has_value();
  RETURN_IF_ERROR(MakeDirectories(target_, whole ? target : DirName(target), rules_.mode.value_or(0755), rules_.owner, rules_.time));
  return target;
}

absl::Status Copier::CopyEntry(const Item& item) {
  RETURN_IF_ERROR(cancel_.status());
  bool include = true, excluded = false;
  PatternMatcher::ParentMatches includes, excludes;
  if (!item.relative.empty()) {
    static const PatternMatcher::ParentMatches kUnknown;
    if (rules_.include.has_value()) include = rules_.include->Matches(item.relative, item.includes != nullptr ? *item.includes : kUnknown, &includes);
    if (rules_.exclude.has_value())
      excluded = rules_.exclude->Matches(item.relative, item.excludes != nullptr ? *item.excludes : kUnknown, &excludes);
    if (excluded) include = false;
    if (!include && !rules_.include.has_value() && !rules_.exclude->has_exceptions()) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const struct stat st, source_.Lstat(item.source));
  const bool is_directory = S_ISDIR(st.st_mode);
  if (!include && !is_directory) return absl::OkStatus();
  if (include) {
    if (rules_.replace && !item.target_empty) {
      ASSIGN_OR_RETURN(const auto old, target_.Lstat(item.target));
      if (old.has_value() && !(is_directory && S_ISDIR(old->st_mode))) {
        RETURN_IF_ERROR(target_.Remove(item.target));
      }
    }
    RETURN_IF_ERROR(CreateParents());
  }
  if (is_directory) return CopyDirectory(item, st, include, excluded, includes, excludes);
  ASSIGN_OR_RETURN(const TreeWriter::Place place, target_.MakeRoom(item.target, item.target_empty));
  return CopyFile(item, st, place);
}

absl::Status Copier::CreateParents() {
  for (Parent* parent : parents_) {
    if (parent->made) continue;
    ASSIGN_OR_RETURN(const bool created, EnsureDirectory(*parent->item, parent->st));
    if (created) {
      RETURN_IF_ERROR(FinishDirectory(parent->item->source, parent->item->target, parent->st));
    } else {
      // As BuildKit has it: what is there keeps its owner and takes the source's mode, also where a mode was asked for.
      RETURN_IF_ERROR(SetMode(target_, parent->item->target, parent->st.st_mode & kPermissions));
    }
    parent->made = true;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Copier::EnsureDirectory(const Item& item, const struct stat& st) {
  if (!item.target_empty) {
    ASSIGN_OR_RETURN(const auto old, target_.Lstat(item.target));
    if (old.has_value()) {
      if (!S_ISDIR(old->st_mode)) return absl::FailedPreconditionError(absl::StrCat("cannot copy to non-directory: ", item.target));
      return false;
    }
  }
  RETURN_IF_ERROR(target_.MakeDirectory(item.target, st.st_mode & kPermissions, item.target_empty));
  return true;
}

absl::Status Copier::CopyDirectory(const Item& item, const struct stat& st, bool include, bool excluded,
                                   const PatternMatcher::ParentMatches& includes, const PatternMatcher::ParentMatches& excludes) {
  Parent parent{&item, st};
  bool created = false;
  if (include) {
    ASSIGN_OR_RETURN(created, EnsureDirectory(item, st));
    parent.made = true;
  }
  if (!excluded || rules_.exclude->has_exceptions()) {
    parents_.push_back(&parent);
    ASSIGN_OR_RETURN(const std::vector<std::string> names, source_.List(item.source));
    for (const std::string& name : names) {
      Item child;
      child.source = ChildPath(item.source, name);
      child.relative = item.relative.empty() ? name : absl::StrCat(item.relative, "/", name);
      child.target = ChildPath(item.target, name);
      child.overwrite = true;
      child.target_empty = created;
      child.includes = &includes;
      child.excludes = &excludes;
      RETURN_IF_ERROR(CopyEntry(child));
    }
    parents_.pop_back();
  }
  // A copy's root that existed before keeps its attributes; its time becomes the source's.
  if (include) left_.push_back({item.source, item.target, st, created || item.overwrite});
  return left_.size() < kMaxLeft ? absl::OkStatus() : Finish();
}

absl::Status Copier::Finish() {
  RETURN_IF_ERROR(files_.Run());
  for (const Link& link : links_) RETURN_IF_ERROR(MakeLink(link));
  links_.clear();
  for (const Left& left : left_) {
    RETURN_IF_ERROR(left.attributes ? FinishDirectory(left.source, left.target, left.st) : SetTimes(left.target, left.st));
  }
  left_.clear();
  return absl::OkStatus();
}

absl::Status Copier::FinishDirectory(const std::string& source, const std::string& target, const struct stat& st) {
  ASSIGN_OR_RETURN(const int to, target_.OpenDirectory(target));
  ASSIGN_OR_RETURN(const UniqueFd from, source_.OpenDirectoryAt(source));
  RETURN_IF_ERROR(SetAttributes(to, "", AttributesFor(st)));
  CopyXattrs(from.get(), to);
  return absl::OkStatus();
}

absl::Status Copier::SetTimes(const std::string& path, const struct stat& st) {
  ASSIGN_OR_RETURN(const int fd, target_.OpenDirectory(path));
  const struct timespec times[2] = {rules_.time.value_or(st.st_mtim), rules_.time.value_or(st.st_mtim)};
  if (::futimens(fd, times) != 0) return ErrnoError(absl::StrCat("utime ", path));
  return absl::OkStatus();
}

Attributes Copier::AttributesFor(const struct stat& st) const {
  Attributes attributes = AttributesOf(st);
  attributes.atime = st.st_mtim;  // the source's says what a client's file was, or when it was last read
  if (rules_.owner.has_value()) attributes.uid = rules_.owner->uid, attributes.gid = rules_.owner->gid;
  if (rules_.symbolic_mode.has_value()) {
    attributes.mode = rules_.symbolic_mode->Apply(st.st_mode);
  } else if (rules_.mode.has_value()) {
    attributes.mode = (st.st_mode & S_IFMT) | (*rules_.mode & kPermissions);
  }
  if (rules_.time.has_value()) attributes.atime = attributes.mtime = *rules_.time;
  return attributes;
}

absl::Status Copier::CopyFile(const Item& item, const struct stat& st, const TreeWriter::Place& place) {
  if (!S_ISREG(st.st_mode)) return CopySpecial(item, st, place);
  ASSIGN_OR_RETURN(const SourceTree::Place from, source_.Locate(item.source));
  if (st.st_nlink > 1) {
    const auto [first, added] = linked_.try_emplace(std::make_pair(from.layer, st.st_ino), item.target);
    if (!added) {
      links_.push_back({first->second, item.target});
      return absl::OkStatus();
    }
  }
  RETURN_IF_ERROR(files_.Add(item.source, from, item.target, place, AttributesFor(st)));
  return files_.full() ? Finish() : absl::OkStatus();
}

absl::Status Copier::MakeLink(const Link& link) {
  ASSIGN_OR_RETURN(const int directory, target_.OpenDirectory(DirName(link.first)));
  const UniqueFd from(::fcntl(directory, F_DUPFD_CLOEXEC, 0));
  ASSIGN_OR_RETURN(const TreeWriter::Place place, target_.MakeRoom(link.target, /*empty=*/true));
  if (::linkat(from.get(), BaseName(link.first).c_str(), place.parent, place.name.c_str(), 0) == 0) return absl::OkStatus();
  return ErrnoError(absl::StrCat("failed to create hard link: link ", link.first, " ", link.target));
}

absl::Status Copier::CopySpecial(const Item& item, const struct stat& st, const TreeWriter::Place& place) {
  if (S_ISLNK(st.st_mode)) {
    ASSIGN_OR_RETURN(const std::string link, source_.ReadLink(item.source));
    if (::symlinkat(link.c_str(), place.parent, place.name.c_str()) != 0) return ErrnoError(absl::StrCat("failed to create symlink: ", item.target));
  } else {
    // Sockets become empty files.
    const mode_t mode = S_ISSOCK(st.st_mode) ? S_IFREG | (st.st_mode & kPermissions) : st.st_mode;
    if (::mknodat(place.parent, place.name.c_str(), mode, st.st_rdev) != 0) return ErrnoError(absl::StrCat("failed to create device: ", item.target));
  }
  ASSIGN_OR_RETURN(const UniqueFd directory, source_.OpenDirectoryAt(DirName(item.source)));
  RETURN_IF_ERROR(SetAttributes(place.parent, place.name, AttributesFor(st)));
  CopyXattrs(absl::StrCat(os::DescriptorPath(directory.get()), "/", BaseName(item.source)),
             absl::StrCat(os::DescriptorPath(place.parent), "/", place.name));
  return absl::OkStatus();
}

}  // namespace cachalot::op
