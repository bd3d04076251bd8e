#include "runtime/stubs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/path.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "tree/resolve.h"

namespace cachalot::runtime {
namespace {

void RemoveStub(int root_fd, const std::string& path) {
  std::size_t slash = path.rfind('/');
  absl::StatusOr<UniqueFd> parent = os::OpenBeneath(root_fd, slash == std::string::npos ? "." : path.substr(0, slash), O_RDONLY | O_DIRECTORY);
  if (!parent.ok()) return;
  std::string name = path.substr(slash + 1);
  struct stat stub, before;
  if (::fstatat(parent->get(), name.c_str(), &stub, AT_SYMLINK_NOFOLLOW) != 0 || ::fstat(parent->get(), &before) != 0) return;
  bool directory = S_ISDIR(stub.st_mode);
  if (!directory && stub.st_size != 0) return;
  if (::unlinkat(parent->get(), name.c_str(), directory ? AT_REMOVEDIR : 0) != 0) {
    if (errno != ENOTEMPTY && errno != ENOENT) LogWarning(ErrnoError(absl::StrCat("remove mount stub ", path)).message());
    return;
  }
  struct timespec times[2] = {before.st_atim, before.st_mtim};
  if (::futimens(parent->get(), times) != 0) LogWarning(ErrnoError(absl::StrCat("restore the times of the parent of ", path)).message());
}

bool IsFile(const std::string& source) {
  struct stat st;
  return !source.empty() && ::stat(source.c_str(), &st) == 0 && !S_ISDIR(st.st_mode);
}

// Makes a mount point. Where that fails, the runtime's own error tells.
void MakePoint(int root_fd, const tree::PathEnd& end, const std::string& source) {
  bool file = IsFile(source);
  tree::PathEnd parent = end;
  if (file) parent.rest.pop_back();
  absl::StatusOr<UniqueFd> directory = tree::MakeDirectories(root_fd, parent.Path());
  // O_EXCL: a step that shares the tree may put a pipe or a device there meanwhile.
  if (file && directory.ok()) (void)os::OpenBeneath(directory->get(), end.rest.back(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
}

// The point in whose tree `points[index]` lies, or null for the root's.
const MountStubs::Point* Around(const std::vector<MountStubs::Point>& points, std::size_t index) {
  const MountStubs::Point* around = nullptr;
  for (std::size_t i = 0; i < index; ++i) {
    const std::string& other = points[i].destination;
    if (other != points[index].destination && IsBeneath(points[index].destination, other)) around = &points[i];
  }
  return around;
}

constexpr absl::string_view kReplaceableInProc[] = {"/proc/cpuinfo",
                                                    "/proc/diskstats",
                                                    "/proc/meminfo",
                                                    "/proc/stat",
                                                    "/proc/swaps",
                                                    "/proc/uptime",
                                                    "/proc/loadavg",
                                                    "/proc/slabinfo",
                                                    "/proc/net/dev",
                                                    "/proc/sys/kernel/ns_last_pid",
                                                    "/proc/sys/crypto/fips_enabled"};

// A container's /proc is the kernel's: among other things the security labels of its processes are set there. As with runc, an empty tree may
// hide a part of it, and some files may be replaced.
absl::Status CheckProc(int root, const MountStubs::Point& point) {
  const absl::StatusOr<tree::Resolved> end = tree::Resolve(root, point.destination);
  const std::string path = end.ok() ? end->Path() : point.destination;
  if (!IsBeneath(path, "/proc")) return absl::OkStatus();
  const bool within = path != "/proc";
  if (within && (point.source.empty() || absl::c_linear_search(kReplaceableInProc, path))) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("cannot mount on ", point.destination, ": it is ", within ? "inside " : "", "/proc"));
}

absl::Status MakeInSource(const MountStubs::Point& point, const MountStubs::Point& around) {
  if (around.source.empty()) return absl::OkStatus();
  absl::StatusOr<UniqueFd> root = os::Open(around.source, O_PATH | O_DIRECTORY);
  if (!root.ok()) return absl::OkStatus();
  absl::StatusOr<tree::Resolved> end = tree::Resolve(root->get(), point.destination.substr(around.destination.size()));
  if (!end.ok() || end->exists()) return absl::OkStatus();
  if (around.readonly) {
    return absl::FailedPreconditionError(
        absl::StrCat("mount point ", point.destination, " does not exist in what is mounted read-only at ", around.destination));
  }
  MakePoint(root->get(), *end, point.source);
  return absl::OkStatus();
}

}  // namespace

absl::Status MountStubs::Check(int root, const std::vector<Point>& points) {
  struct stat st;
  if (::fstatat(root, "dev", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
    return absl::InvalidArgumentError("/dev is a symbolic link in the root file system: containers need a directory there");
  }
  for (const Point& point : points) {
    if (!point.stays) RETURN_IF_ERROR(CheckProc(root, point));
    if (!IsFile(point.source)) continue;
    const absl::StatusOr<UniqueFd> existing = os::OpenInRoot(root, point.destination, O_PATH);
    if (!existing.ok()) continue;
    ASSIGN_OR_RETURN(st, os::Stat(existing->get()));
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) continue;
    return absl::InvalidArgumentError(absl::StrCat("cannot mount on ", point.destination, ": it is neither a file nor a directory"));
  }
  return absl::OkStatus();
}

absl::StatusOr<MountStubs> MountStubs::Make(UniqueFd root, const std::vector<Point>& points, bool parents) {
  MountStubs stubs(std::move(root));
  for (std::size_t i = 0; i < points.size(); ++i) {
    const Point* around = Around(points, i);
    RETURN_IF_ERROR(around == nullptr ? stubs.MakeInRoot(points[i], parents) : MakeInSource(points[i], *around));
  }
  return stubs;
}

absl::Status MountStubs::MakeInRoot(const Point& point, bool parents) {
  absl::StatusOr<tree::Resolved> end = tree::Resolve(root_.get(), point.destination);
  if (!end.ok() || end->exists()) return absl::OkStatus();
  tree::PathEnd directory = *end;
  directory.rest.clear();
  Changed changed;
  changed.path = directory.Path();
  ASSIGN_OR_RETURN(changed.before, os::Stat(end->directory.get()));
  MakePoint(root_.get(), *end, point.source);
  ASSIGN_OR_RETURN(changed.after, os::Stat(end->directory.get()));
  const auto same = std::find_if(changed_.begin(), changed_.end(), [&](const Changed& other) { return other.path == changed.path; });
  if (same != changed_.end()) {
    same->after = changed.after;
  } else {
    changed_.push_back(std::move(changed));
  }
  const std::size_t there = end->kind == tree::EntryKind::kNone ? 0 : 1;
  while (!point.stays && end->rest.size() > there) {
    stubs_.push_back(end->Path().substr(1));
    end->rest.pop_back();
    if (!parents) break;
  }
  return absl::OkStatus();
}

void MountStubs::Remove() {
  // What several points lie in goes after all of them.
  std::sort(stubs_.begin(), stubs_.end(), std::greater<std::string>());
  for (const std::string& path : stubs_) RemoveStub(root_.get(), path);
  stubs_.clear();
  for (const Changed& changed : changed_) {
    const std::string relative = changed.path == "/" ? "." : changed.path.substr(1);
    absl::StatusOr<UniqueFd> directory = os::OpenBeneath(root_.get(), relative, O_RDONLY | O_DIRECTORY);
    if (!directory.ok()) continue;
    absl::StatusOr<struct stat> now = os::Stat(directory->get());
    const auto same = [](const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; };
    if (!now.ok() || !same(now->st_mtim, changed.after.st_mtim)) continue;
    const struct timespec times[2] = {{0, UTIME_OMIT}, changed.before.st_mtim};
    if (::futimens(directory->get(), times) != 0) LogWarning(ErrnoError(absl::StrCat("restore the times of ", changed.path)).message());
  }
  changed_.clear();
}

}  // namespace cachalot::runtime
