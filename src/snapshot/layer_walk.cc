#include "snapshot/layer_walk.h"

#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "os/file.h"
#include "os/quiet_open.h"
#include "snapshot/file_attributes.h"
#include "tree/path_walk.h"

namespace cachalot::snapshot {

namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::string LinkTarget(int dir_fd, const std::string& name) {
  absl::StatusOr<std::string> target = os::ReadLink(dir_fd, name);
  return target.ok() ? *target : "";
}

std::string Capability(int dir_fd, const std::string& name) {
  char value[64];
  const ssize_t n = ::lgetxattr(absl::StrCat(os::DescriptorPath(dir_fd), "/", name).c_str(), "security.capability", value, sizeof(value));
  return n > 0 ? std::string(value, n) : "";
}

absl::StatusOr<bool> SameData(int a_dir, int b_dir, const std::string& name) {
  const UniqueFd a = os::OpenQuietly(a_dir, name), b = os::OpenQuietly(b_dir, name);
  if (!a.valid() || !b.valid()) return ErrnoError(absl::StrCat("open ", name));
  std::vector<char> left(64 * 1024), right(64 * 1024);
  while (true) {
    const ssize_t n = ::read(a.get(), left.data(), left.size());
    if (n < 0) return ErrnoError(absl::StrCat("read ", name));
    ssize_t m = 0;
    while (m < std::max<ssize_t>(n, 1)) {
      const ssize_t part = ::read(b.get(), right.data() + m, n - m);
      if (part < 0) return ErrnoError(absl::StrCat("read ", name));
      if (part == 0) break;
      m += part;
    }
    if (n != m || !std::equal(left.begin(), left.begin() + n, right.begin())) return false;
    if (n == 0) return true;
  }
}

// Times that have been through an archive have no fractions.
bool SameTime(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && (a.tv_nsec == b.tv_nsec || a.tv_nsec == 0 || b.tv_nsec == 0); }

// Whether a copied-up entry is still what it was. Equal times say little: the kernel's clock for files ticks slowly, and archives cut them to
// seconds.
absl::StatusOr<bool> Unchanged(int base_fd, const struct stat& base, int dir_fd, const struct stat& now, const std::string& name) {
  if (base.st_mode != now.st_mode || base.st_uid != now.st_uid || base.st_gid != now.st_gid || base.st_rdev != now.st_rdev) return false;
  if (Capability(base_fd, name) != Capability(dir_fd, name)) return false;
  if (S_ISDIR(now.st_mode)) return true;
  if (base.st_size != now.st_size || !SameTime(base.st_mtim, now.st_mtim)) return false;
  if (S_ISLNK(now.st_mode)) return LinkTarget(base_fd, name) == LinkTarget(dir_fd, name);
  if (!S_ISREG(now.st_mode) || now.st_size == 0) return true;
  return SameData(base_fd, dir_fd, name);
}

absl::StatusOr<std::vector<std::string>> SortedNames(int dir_fd) {
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(dir_fd));
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (const os::DirectoryEntry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

// Shared by both walks: remembers hard links, and reports unchanged directories only when something in them is reported.
class Reporter {
 public:
  explicit Reporter(ChangeSink& sink) : sink_(sink) {}

  absl::Status Entry(const std::string& path, int dir_fd, const std::string& name, const struct stat& status) {
    RETURN_IF_ERROR(ReportDirectories());
    std::string link;
    if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
      const auto [first, inserted] = links_.try_emplace({status.st_dev, status.st_ino}, path);
      if (!inserted) link = first->second;
    }
    return sink_.OnEntry(path, dir_fd, name, status, link);
  }
  absl::Status Deleted(const std::string& path) {
    RETURN_IF_ERROR(ReportDirectories());
    return sink_.OnDeleted(path);
  }
  // An unchanged directory on the way.
  void Enter(std::string path, int dir_fd, std::string name, const struct stat& status) {
    pending_.push_back({std::move(path), dir_fd, std::move(name), status});
  }
  void Leave() {
    if (!pending_.empty()) pending_.pop_back();
    reported_ = std::min(reported_, pending_.size());
  }

 private:
  struct Pending {
    std::string path;
    int dir_fd;
    std::string name;
    struct stat status;
  };

  absl::Status ReportDirectories() {
    for (; reported_ < pending_.size(); ++reported_) {
      const Pending& p = pending_[reported_];
      RETURN_IF_ERROR(sink_.OnEntry(p.path, p.dir_fd, p.name, p.status, ""));
    }
    return absl::OkStatus();
  }

  ChangeSink& sink_;
  std::vector<Pending> pending_;
  std::size_t reported_ = 0;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;
};

class Walker {
 public:
  Walker(ChangeSink& sink, const CancelToken& cancel, const std::vector<std::string>& deleted, bool rebased = false)
      : report_(sink), cancel_(cancel), rebased_(rebased) {
    for (const std::string& path : deleted) deleted_[DirName(path)].insert(BaseName(path));
  }

  // `base_fd` is the same directory in the tree below, or -1. `full`: the directory holds all that is left (it is opaque, or a
  // merged tree's), so that names which only the base has are deleted.
  absl::Status Walk(int dir_fd, int base_fd, const std::string& prefix, bool full) {
    if (cancel_.cancelled()) return cancel_.status();
    ASSIGN_OR_RETURN(std::vector<std::string> names, SortedNames(dir_fd));
    if (full && base_fd >= 0) {
      ASSIGN_OR_RETURN(const std::vector<std::string> below, SortedNames(base_fd));
      std::vector<std::string> all;
      std::set_union(names.begin(), names.end(), below.begin(), below.end(), std::back_inserter(all));
      names.swap(all);
    }
    const auto deleted = deleted_.find(prefix.empty() ? "." : prefix);
    if (deleted != deleted_.end()) {
      std::vector<std::string> all;
      std::set_union(names.begin(), names.end(), deleted->second.begin(), deleted->second.end(), std::back_inserter(all));
      names.swap(all);
    }
    for (const std::string& name : names) {
      const absl::Status status = Visit(dir_fd, base_fd, prefix.empty() ? name : absl::StrCat(prefix, "/", name), name, full);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Visit(int dir_fd, int base_fd, const std::string& path, const std::string& name, bool full) {
    RETURN_IF_ERROR(tree::CheckPathLength("lstat", path));
    struct stat now, base;
    const bool in_base = base_fd >= 0 && ::fstatat(base_fd, name.c_str(), &base, AT_SYMLINK_NOFOLLOW) == 0;
    if (::fstatat(dir_fd, name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return report_.Deleted(path);  // listed from the base, or as deleted
      return ErrnoError(absl::StrCat("stat ", path));
    }
    if (IsWhiteout(now)) return in_base || rebased_ ? report_.Deleted(path) : absl::OkStatus();
    if (S_ISSOCK(now.st_mode)) return absl::OkStatus();
    bool unchanged = false;
    if (in_base) {
      ASSIGN_OR_RETURN(unchanged, Unchanged(base_fd, base, dir_fd, now, name));
    }
    if (!S_ISDIR(now.st_mode)) return unchanged ? absl::OkStatus() : report_.Entry(path, dir_fd, name, now);
    return VisitDirectory(dir_fd, in_base && S_ISDIR(base.st_mode) ? base_fd : -1, path, name, now, unchanged, full);
  }

  absl::Status VisitDirectory(int dir_fd, int base_fd, const std::string& path, const std::string& name, const struct stat& now, bool unchanged,
                              bool full) {
    const UniqueFd child(::openat(dir_fd, name.c_str(), kOpenDirectory));
    if (!child.valid()) return ErrnoError(absl::StrCat("open ", path));
    const bool opaque = IsOpaque(child.get(), "");
    UniqueFd base_child;
    if (base_fd >= 0) {
      base_child.reset(::openat(base_fd, name.c_str(), kOpenDirectory));
      if (!base_child.valid()) return ErrnoError(absl::StrCat("open ", path, " below"));
    }
    if (unchanged) {
      report_.Enter(path, dir_fd, name, now);
    } else {
      RETURN_IF_ERROR(report_.Entry(path, dir_fd, name, now));
    }
    RETURN_IF_ERROR(Walk(child.get(), base_child.get(), path, full || opaque));
    if (unchanged) report_.Leave();
    return absl::OkStatus();
  }

  Reporter report_;
  const CancelToken& cancel_;
  const bool rebased_;
  std::map<std::string, std::set<std::string>> deleted_;  // names by directory
};

}  // namespace

absl::Status WalkLayer(const LayerWalk& walk, ChangeSink& sink, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const UniqueFd layer, os::OpenDirectory(walk.layer));
  UniqueFd base;
  if (!walk.base.empty()) {
    ASSIGN_OR_RETURN(base, os::OpenDirectory(walk.base));
  }
  return Walker(sink, cancel, walk.deleted, walk.rebased).Walk(layer.get(), base.get(), "", walk.whole || IsOpaque(layer.get(), ""));
}

absl::Status WalkDifference(const std::string& lower, const std::string& upper, ChangeSink& sink, const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const UniqueFd lower_fd, os::OpenDirectory(lower));
  ASSIGN_OR_RETURN(const UniqueFd upper_fd, os::OpenDirectory(upper));
  return Walker(sink, cancel, {}).Walk(upper_fd.get(), lower_fd.get(), "", true);
}

}  // namespace cachalot::snapshot
