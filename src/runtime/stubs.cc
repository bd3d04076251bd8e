#include "runtime/stubs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
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
  if (file && directory.ok()) (void)os::OpenBeneath(directory->get(), end.rest.back(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
}

}  // namespace

absl::Status MountStubs::Check(int root, const std::vector<Point>& points) {
  struct stat st;
  if (::fstatat(root, "dev", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) {
    return absl::InvalidArgumentError("/dev is a symbolic link in the root file system: containers need a directory there");
  }
  for (const Point& point : points) {
    if (!IsFile(point.source)) continue;
    const absl::StatusOr<UniqueFd> existing = os::OpenInRoot(root, point.destination, O_PATH);
    if (!existing.ok()) continue;
    ASSIGN_OR_RETURN(st, os::Stat(existing->get()));
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) continue;
    return absl::InvalidArgumentError(absl::StrCat("cannot mount on ", point.destination, ": it is neither a file nor a directory"));
  }
  return absl::OkStatus();
}

MountStubs::MountStubs(UniqueFd root, const std::vector<Point>& points, bool parents) : root_(std::move(root)) {
  for (const Point& point : points) {
    absl::StatusOr<tree::Resolved> end = tree::Resolve(root_.get(), point.destination);
    if (!end.ok() || end->exists()) continue;
    if (end->linked) MakePoint(root_.get(), *end, point.source);
    std::size_t there = end->kind == tree::EntryKind::kNone ? 0 : 1;
    while (end->rest.size() > there) {
      missing_.push_back(end->Path().substr(1));
      end->rest.pop_back();
      if (!parents) break;
    }
  }
}

void MountStubs::Remove() {
  for (const std::string& path : missing_) RemoveStub(root_.get(), path);
  missing_.clear();
}

}  // namespace cachalot::runtime
