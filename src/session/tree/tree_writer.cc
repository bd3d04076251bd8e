#include "session/tree/tree_writer.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "session/tree/path_order.h"

namespace cachalot::session {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

absl::StatusOr<std::vector<std::string>> SortedNames(int directory) {
  ASSIGN_OR_RETURN(const auto entries, os::ListDirectory(directory));
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (const auto& entry : entries) {
    names.push_back(entry.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

bool SameOwnerAndMode(const Stat& stat, const struct stat& old) {
  return stat.mode() == GoMode(old.st_mode) && stat.uid() == old.st_uid && stat.gid() == old.st_gid;
}

bool HasMark(const struct stat& old, std::uint64_t mark) {
  const timespec kept = KeptMark(mark);
  return mark == 0 || (old.st_atim.tv_sec == kept.tv_sec && old.st_atim.tv_nsec == kept.tv_nsec);
}

}  // namespace

TreeWriter::TreeWriter(UniqueFd root, const TreeWriterOptions& options) : options_(options), root_(std::move(root)) {
  writers_ = std::make_unique<FileWriters>(root_.get());
}

absl::StatusOr<std::unique_ptr<TreeWriter>> TreeWriter::Open(const std::string& root, const TreeWriterOptions& options) {
  ASSIGN_OR_RETURN(UniqueFd fd, os::OpenDirectory(root));
  Level top;
  top.fd.reset(openat(fd.get(), ".", kOpenDirectory));
  if (!top.fd.valid()) {
    return ErrnoError(absl::StrCat("open ", root));
  }
  if (!options.merge) {
    ASSIGN_OR_RETURN(top.old_names, SortedNames(top.fd.get()));
  }
  auto writer = std::unique_ptr<TreeWriter>(new TreeWriter(std::move(fd), options));
  writer->levels_.push_back(std::move(top));
  return writer;
}

absl::StatusOr<bool> TreeWriter::TakeOld(Level& level, const std::string& name, struct stat* st) {
  if (!options_.merge) {
    for (; level.next_old < level.old_names.size() && level.old_names[level.next_old] < name; ++level.next_old) {
      RETURN_IF_ERROR(os::RemoveTreeAt(level.fd.get(), level.old_names[level.next_old]));
      level.changed = true;
    }
    if (level.next_old >= level.old_names.size() || level.old_names[level.next_old] != name) {
      return false;
    }
    ++level.next_old;
  }
  if (fstatat(level.fd.get(), name.c_str(), st, AT_SYMLINK_NOFOLLOW) == 0) {
    return true;
  }
  return errno == ENOENT ? absl::StatusOr<bool>(false) : ErrnoError(absl::StrCat("stat ", level.path, "/", name));
}

absl::Status TreeWriter::LeaveLevel() {
  Level& level = levels_.back();
  for (; level.next_old < level.old_names.size(); ++level.next_old) {
    RETURN_IF_ERROR(os::RemoveTreeAt(level.fd.get(), level.old_names[level.next_old]));
    level.changed = true;
  }
  if (level.changed && level.stat.has_value()) changed_directories_.push_back(*std::move(level.stat));
  if (level.changed && !level.stat.has_value()) root_changed_ = true;
  levels_.pop_back();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<NewFile>> TreeWriter::Add(const Stat& stat) {
  const absl::string_view parent = ParentOf(stat.path());
  while (levels_.size() > 1 && levels_.back().path != parent) {
    RETURN_IF_ERROR(LeaveLevel());
  }
  const std::string name(NameOf(stat.path()));
  struct stat st {};
  ASSIGN_OR_RETURN(const bool exists, TakeOld(levels_.back(), name, &st));
  if (IsDirectory(stat)) {
    RETURN_IF_ERROR(AddDirectory(stat, name, exists ? &st : nullptr));
    return nullptr;
  }
  return AddFile(stat, name, exists ? &st : nullptr);
}

absl::Status TreeWriter::AddDirectory(const Stat& stat, const std::string& name, const struct stat* old) {
  Level& parent = levels_.back();
  const bool kept = old != nullptr && S_ISDIR(old->st_mode);
  if (!kept) {
    parent.changed = true;
    if (old != nullptr) {
      RETURN_IF_ERROR(os::RemoveTreeAt(parent.fd.get(), name));
    }
    // Its own mode comes at the end: it may forbid to fill the directory.
    if (mkdirat(parent.fd.get(), name.c_str(), 0700) != 0) {
      return ErrnoError(absl::StrCat("mkdir ", stat.path()));
    }
  }
  Level level;
  level.path = stat.path();
  level.fd.reset(openat(parent.fd.get(), name.c_str(), kOpenDirectory));
  if (!level.fd.valid()) {
    return ErrnoError(absl::StrCat("open ", stat.path()));
  }
  level.changed = !kept || options_.merge || !SameOwnerAndMode(stat, *old) || stat.modtime() != ModTimeOf(*old);
  level.stat = stat;
  if (kept && !options_.merge) {
    ASSIGN_OR_RETURN(level.old_names, SortedNames(level.fd.get()));
  }
  levels_.push_back(std::move(level));
  return absl::OkStatus();
}

bool TreeWriter::IsUnchangedLink(const Stat& stat, const struct stat& old) const {
  const auto target = files_.find(stat.linkname());
  return target != files_.end() && target->second != 0 && target->second == old.st_ino;
}

bool TreeWriter::IsUnchanged(int directory, const std::string& name, const Stat& stat, const struct stat& old) {
  if (!options_.compare || options_.merge || !SameOwnerAndMode(stat, old) || stat.modtime() != ModTimeOf(old)) {
    return false;
  }
  if (IsSymlink(stat)) {
    const auto target = os::ReadLink(directory, name);
    return target.ok() && *target == stat.linkname();
  }
  if (!stat.linkname().empty()) {
    return IsUnchangedLink(stat, old);
  }
  if ((stat.mode() & kModeDevice) != 0) {
    return stat.devmajor() == major(old.st_rdev) && stat.devminor() == minor(old.st_rdev);
  }
  if (HasData(stat) && (stat.size() != old.st_size || !HasMark(old, stat.change()))) {
    return false;
  }
  // A name that once was a link and no longer is one must not share its file with another.
  return old.st_nlink == 1 || owners_.try_emplace(old.st_ino, stat.path()).second;
}

absl::StatusOr<std::shared_ptr<NewFile>> TreeWriter::AddFile(const Stat& stat, const std::string& name, const struct stat* old) {
  Level& parent = levels_.back();
  const bool is_link = !stat.linkname().empty() && !IsSymlink(stat);
  if (is_link && !files_.contains(stat.linkname())) {
    return absl::InvalidArgumentError(absl::StrCat("invalid link ", stat.path(), " to unknown path: \"", stat.linkname(), "\""));
  }
  if (old != nullptr && IsUnchanged(parent.fd.get(), name, stat, *old) &&
      (!HasData(stat) || SameXattrs(stat.xattrs(), ReadXattrs(parent.fd.get(), name)))) {
    if (!IsSymlink(stat)) {
      files_.try_emplace(stat.path(), old->st_ino);
    }
    return nullptr;
  }
  parent.changed = true;
  if (old != nullptr) {
    RETURN_IF_ERROR(os::RemoveTreeAt(parent.fd.get(), name));
  }
  if (!IsSymlink(stat)) {
    files_.try_emplace(stat.path(), 0);
  }
  if (is_link) {
    links_.push_back({stat.path(), stat.linkname()});
    return nullptr;
  }
  if (!HasData(stat)) {
    RETURN_IF_ERROR(MakeSpecial(parent.fd.get(), name, stat));
    return nullptr;
  }
  auto file = std::make_shared<NewFile>();
  file->stat = stat;
  return file;
}

// Links, pipes and devices.
absl::Status TreeWriter::MakeSpecial(int directory, const std::string& name, const Stat& stat) {
  ASSIGN_OR_RETURN(const mode_t mode, UnixMode(stat.mode()));
  const int made = IsSymlink(stat) ? symlinkat(stat.linkname().c_str(), directory, name.c_str())
                                   : mknodat(directory, name.c_str(), mode,
                                             makedev(static_cast<unsigned>(stat.devmajor()), static_cast<unsigned>(stat.devminor())));
  if (made != 0) {
    return ErrnoError(absl::StrCat("create ", stat.path()));
  }
  if (fchownat(directory, name.c_str(), stat.uid(), stat.gid(), AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoError(absl::StrCat("chown ", stat.path()));
  }
  if (!IsSymlink(stat) && fchmodat(directory, name.c_str(), mode & 07777, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoError(absl::StrCat("chmod ", stat.path()));
  }
  const timespec times[2] = {TimespecOf(stat.modtime()), TimespecOf(stat.modtime())};
  if (utimensat(directory, name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoError(absl::StrCat("set the times of ", stat.path()));
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::EndOfEntries() {
  while (!levels_.empty()) {
    RETURN_IF_ERROR(LeaveLevel());
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::MakeHardLink(const HardLink& link) {
  const auto open_parent = [&](const std::string& path) {
    const absl::string_view parent = ParentOf(path);
    return os::OpenBeneath(root_.get(), parent.empty() ? "." : parent, O_PATH | O_DIRECTORY | O_NOFOLLOW);
  };
  ASSIGN_OR_RETURN(const UniqueFd from, open_parent(link.target));
  ASSIGN_OR_RETURN(const UniqueFd to, open_parent(link.path));
  if (linkat(from.get(), std::string(NameOf(link.target)).c_str(), to.get(), std::string(NameOf(link.path)).c_str(), 0) != 0) {
    return ErrnoError(absl::StrCat("link ", link.path, " to ", link.target));
  }
  return absl::OkStatus();
}

absl::Status TreeWriter::Finish() {
  RETURN_IF_ERROR(writers_->Finish());
  for (const HardLink& link : links_) {
    RETURN_IF_ERROR(MakeHardLink(link));
  }
  // Inner directories were left first; their attributes do not touch the outer ones' times.
  for (const Stat& stat : changed_directories_) {
    ASSIGN_OR_RETURN(const UniqueFd fd, os::OpenBeneath(root_.get(), stat.path(), kOpenDirectory));
    RETURN_IF_ERROR(SetMetadata(fd.get(), stat));
  }
  return absl::OkStatus();
}

std::vector<std::string> TreeWriter::TouchedDirectories() const {
  std::vector<std::string> touched;
  if (root_changed_) touched.emplace_back();
  for (const Stat& stat : changed_directories_) {
    touched.push_back(stat.path());
    touched.emplace_back(ParentOf(stat.path()));  // that is where its attributes are seen
  }
  return touched;
}

}  // namespace cachalot::session
