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
constexpr mode_t kOthers = 077, kReadByOthers = 066, kWrittenByOthers = 022;

bool IsOwn(const std::string& name) {
  return absl::StartsWith(name, kDatabase) || std::find(std::begin(kOwn), std::end(kOwn), name) != std::end(kOwn);
}

absl::Status NotOurs(absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(what, " does not belong to the user that runs this engine: name another root, or remove it"));
}

// A link would lead an engine, which is root, to what others have; so would a directory that another user can change.
absl::Status Tighten(int root, const std::string& name) {
  const UniqueFd entry(::openat(root, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!entry.valid()) return errno == ENOENT ? absl::OkStatus() : ErrnoError(absl::StrCat("open ", name));
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(entry.get()));
  if (st.st_uid != ::geteuid()) return NotOurs(name);
  if (S_ISLNK(st.st_mode)) return absl::FailedPreconditionError(absl::StrCat(name, " is a link: an engine keeps nothing outside of its root"));
  if ((st.st_mode & kOthers) == 0) return absl::OkStatus();
  if (::chmod(os::DescriptorPath(entry.get()).c_str(), st.st_mode & 07700) != 0) return ErrnoError(absl::StrCat("chmod ", name));
  return absl::OkStatus();
}

bool IsClaimed(int directory) { return ::faccessat(directory, kLock, F_OK, AT_SYMLINK_NOFOLLOW) == 0; }

// Marks a directory as an engine's, durably, before anything is made in it: what lies under an engine's names is an engine's from then on.
absl::Status Claim(const std::string& root, int directory, const std::vector<os::DirectoryEntry>& entries) {
  for (const os::DirectoryEntry& entry : entries) {
    // Another engine may be the first just now: the lock comes before all else.
    if (IsOwn(entry.name) && !IsClaimed(directory)) {
      return absl::FailedPreconditionError(
          absl::StrCat(root, " holds ", entry.name, ", which no engine has made: an engine's root is a directory of its own"));
    }
  }
  const UniqueFd lock(::openat(directory, kLock, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoError(absl::StrCat("open ", root, "/", kLock));
  if (::fsync(directory) != 0) return ErrnoError(absl::StrCat("fsync ", root));
  return absl::OkStatus();
}

}  // namespace

absl::Status MakePrivateRoot(const std::string& root) {
  RETURN_IF_ERROR(os::MakeDirectories(root, 0711));
  ASSIGN_OR_RETURN(const UniqueFd directory, os::OpenDirectory(root));
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(directory.get()));
  if (st.st_uid != ::geteuid()) return NotOurs(root);
  // One that was there before any engine stays as readable as it was. Nobody else may change it, unless it is sticky as /tmp is.
  const bool own = IsClaimed(directory.get());
  const mode_t taken = (st.st_mode & S_ISVTX) != 0 ? 0 : own ? kReadByOthers : kWrittenByOthers;
  if ((st.st_mode & taken) != 0 && ::fchmod(directory.get(), st.st_mode & ~taken & 07777) != 0) return ErrnoError(absl::StrCat("chmod ", root));
  ASSIGN_OR_RETURN(const std::vector<os::DirectoryEntry> entries, os::ListDirectory(directory.get()));
  if (!own) RETURN_IF_ERROR(Claim(root, directory.get(), entries));
  for (const os::DirectoryEntry& entry : entries) {
    if (IsOwn(entry.name)) RETURN_IF_ERROR(Annotate(Tighten(directory.get(), entry.name), root));
  }
  return absl::OkStatus();
}

}  // namespace cachalot::build
