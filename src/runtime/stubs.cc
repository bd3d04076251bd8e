#include "runtime/stubs.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/status.h"
#include "os/file.h"

namespace cachalot::runtime {
namespace {

struct Resolved {
  std::vector<std::string> parts;  // without links
  std::size_t existing;            // how many of them exist
  bool linked = false;             // a link was on the way
};

// Resolves `path` part by part, as far as it exists; the rest is taken as it is. Nothing when links lead in circles.
std::optional<Resolved> Resolve(int root_fd, absl::string_view path) {
  constexpr int kMaxLinks = 40;
  std::deque<std::string> ahead = absl::StrSplit(path, '/', absl::SkipEmpty());
  Resolved resolved{{}, 0};
  int links = 0;
  while (!ahead.empty()) {
    std::string part = std::move(ahead.front());
    ahead.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      if (!resolved.parts.empty()) resolved.parts.pop_back();
      resolved.existing = std::min(resolved.existing, resolved.parts.size());
      continue;
    }
    bool parent_exists = resolved.existing == resolved.parts.size();
    resolved.parts.push_back(part);
    if (!parent_exists) continue;
    absl::StatusOr<UniqueFd> fd = os::OpenInRoot(root_fd, absl::StrJoin(resolved.parts, "/"), O_PATH | O_NOFOLLOW);
    if (!fd.ok()) continue;
    absl::StatusOr<std::string> target = os::ReadLink(fd->get(), "");
    if (!target.ok()) {
      ++resolved.existing;
      continue;
    }
    if (++links > kMaxLinks) return std::nullopt;
    resolved.parts.pop_back();
    if (!target->empty() && target->front() == '/') resolved = Resolved{{}, 0};
    resolved.linked = true;
    std::vector<std::string> next = absl::StrSplit(*target, '/', absl::SkipEmpty());
    ahead.insert(ahead.begin(), next.begin(), next.end());
  }
  return resolved;
}

// The directory that holds `path`, opened only if no part of the way is a link.
UniqueFd OpenParent(int root_fd, const std::string& path) {
  std::size_t slash = path.rfind('/');
  std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  struct open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  return UniqueFd(static_cast<int>(::syscall(SYS_openat2, root_fd, parent.c_str(), &how, sizeof how)));
}

void RemoveStub(int root_fd, const std::string& path) {
  UniqueFd parent = OpenParent(root_fd, path);
  if (!parent.valid()) return;
  std::string name = path.substr(path.rfind('/') + 1);
  struct stat stub, before;
  if (::fstatat(parent.get(), name.c_str(), &stub, AT_SYMLINK_NOFOLLOW) != 0 || ::fstat(parent.get(), &before) != 0) return;
  bool directory = S_ISDIR(stub.st_mode);
  if (!directory && stub.st_size != 0) return;
  if (::unlinkat(parent.get(), name.c_str(), directory ? AT_REMOVEDIR : 0) != 0) {
    if (errno != ENOTEMPTY && errno != ENOENT) LogWarning(ErrnoError(absl::StrCat("remove mount stub ", path)).message());
    return;
  }
  struct timespec times[2] = {before.st_atim, before.st_mtim};
  if (::futimens(parent.get(), times) != 0) LogWarning(ErrnoError(absl::StrCat("restore the times of the parent of ", path)).message());
}

// Makes a mount point. Where that fails, the runtime's own error tells.
void MakePoint(int root_fd, const Resolved& resolved, const std::string& source) {
  if (resolved.parts.empty()) return;
  struct stat st;
  bool file = !source.empty() && ::stat(source.c_str(), &st) == 0 && !S_ISDIR(st.st_mode);
  std::string parent = absl::StrJoin(resolved.parts.begin(), resolved.parts.end() - (file ? 1 : 0), "/");
  absl::StatusOr<UniqueFd> directory = os::MkdirAllInRoot(root_fd, parent);
  if (file && directory.ok()) (void)os::OpenBeneath(directory->get(), resolved.parts.back(), O_WRONLY | O_CREAT | O_NOFOLLOW, 0644);
}

}  // namespace

MountStubs::MountStubs(UniqueFd root, const std::vector<Point>& points, bool parents) : root_(std::move(root)) {
  for (const Point& point : points) {
    absl::StatusOr<UniqueFd> existing = os::OpenInRoot(root_.get(), point.destination, O_PATH);
    if (existing.ok()) continue;
    std::optional<Resolved> resolved = Resolve(root_.get(), point.destination);
    if (!resolved.has_value()) continue;
    if (resolved->linked) MakePoint(root_.get(), *resolved, point.source);
    while (resolved->parts.size() > resolved->existing) {
      missing_.push_back(absl::StrJoin(resolved->parts, "/"));
      resolved->parts.pop_back();
      if (!parents) break;
    }
  }
}

void MountStubs::Remove() {
  for (const std::string& path : missing_) RemoveStub(root_.get(), path);
  missing_.clear();
}

}  // namespace cachalot::runtime
