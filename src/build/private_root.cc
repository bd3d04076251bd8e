#include "build/private_root.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"

namespace cachalot::build {
namespace {

constexpr char kLock[] = "engine.lock";
constexpr absl::string_view kOwn[] = {kLock, "workerid", "synced", "snapshotter", "blobs", "snapshots", "mounts", "work", "runtime"};
constexpr char kDatabase[] = "metadata.db";  // with all that lies beside it under longer names
constexpr mode_t kOthers = 077, kReadByOthers = 066;

bool IsOwn(const std::string& name) {
  return absl::StartsWith(name, kDatabase) || std::find(std::begin(kOwn), std::end(kOwn), name) != std::end(kOwn);
}

absl::Status Tighten(int root, const std::string& name) {
  const UniqueFd entry(::openat(root, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!entry.valid()) return errno == ENOENT ? absl::OkStatus() : ErrnoError(absl::StrCat("open ", name));
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(entry.get()));
  if (S_ISLNK(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & kOthers) == 0) return absl::OkStatus();
  if (::chmod(os::DescriptorPath(entry.get()).c_str(), st.st_mode & 07700) != 0) return ErrnoError(absl::StrCat("chmod ", name));
  return absl::OkStatus();
}

}  // namespace

absl::Status MakePrivateRoot(const std::string& root) {
  RETURN_IF_ERROR(os::MakeDirectories(root, 0711));
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(root));
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(directory.get()));
  // A directory that is somebody else's, or was there before any engine, keeps its mode.
  const bool own = st.st_uid == ::geteuid() && ::faccessat(directory.get(), kLock, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  if (own && (st.st_mode & S_ISVTX) == 0 && (st.st_mode & kReadByOthers) != 0) {
    if (::fchmod(directory.get(), st.st_mode & ~kReadByOthers & 07777) != 0) return ErrnoError(absl::StrCat("chmod ", root));
  }
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(directory.get()));
  for (const os::DirectoryEntry& entry : entries) {
    if (IsOwn(entry.name)) RETURN_IF_ERROR(Annotate(Tighten(directory.get(), entry.name), root));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::build
