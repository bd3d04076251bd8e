// Files and directories: bounded reads, atomic writes, resolution that cannot leave a root, and removal that cannot leave a tree.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace cachalot::os {

// The whole file. RESOURCE_EXHAUSTED when it has more than `max_bytes`; NOT_FOUND when it does not exist.
absl::StatusOr<std::string> ReadFile(const std::string& path, std::size_t max_bytes);
// What is left to read from `fd`; `name` is for error messages.
absl::StatusOr<std::string> ReadAll(int fd, std::size_t max_bytes, absl::string_view name);
// Writes all of `bytes`; `name` is for error messages.
absl::Status WriteAll(int fd, absl::string_view bytes, absl::string_view name);
enum class Durability { kFast, kSynced };  // kSynced: on disk when the call returns
// Replaces the file at `path` in one step: readers see the old or the new content.
absl::Status WriteFileAtomic(const std::string& path, absl::string_view bytes, mode_t mode = 0644, Durability durability = Durability::kFast);

// open(2), always close-on-exec. NOT_FOUND when there is nothing.
absl::StatusOr<UniqueFd> Open(const std::string& path, int flags, mode_t mode = 0);
absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path);
// Opens `path` as if `root_fd` were the root directory: absolute links and ".." stay inside. Close-on-exec.
absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, absl::string_view path, int flags, mode_t mode = 0);
// Opens `path` beneath `dir_fd`. Every link on the way is an error, and so is ".." that would leave the directory; the last name may be a link
// with O_PATH | O_NOFOLLOW.
absl::StatusOr<UniqueFd> OpenBeneath(int dir_fd, absl::string_view path, int flags, mode_t mode = 0);
// The status of what an O_PATH or other descriptor shows.
absl::StatusOr<struct stat> Stat(int fd);
// The status of `path` as lstat(2) sees it.
absl::StatusOr<struct stat> Lstat(const std::string& path);
// The target of the link `name` in `dir_fd` ("" for a link opened with O_PATH | O_NOFOLLOW).
absl::StatusOr<std::string> ReadLink(int dir_fd, const std::string& name);
// A path that names the open descriptor: "/proc/self/fd/<fd>". Valid while it is open, in this process alone.
std::string DescriptorPath(int fd);

// mkdir -p. Existing directories are left as they are.
absl::Status MakeDirectories(const std::string& path, mode_t mode = 0755);

struct DirectoryEntry {
  std::string name;
  unsigned char type;  // DT_DIR, DT_REG, ...; DT_UNKNOWN only where the file system does not tell
};
// The entries without "." and "..", in no order. The descriptor's position is moved.
absl::StatusOr<std::vector<DirectoryEntry>> ListDirectory(int dir_fd);
absl::StatusOr<std::vector<DirectoryEntry>> ListDirectory(const std::string& path);

// Removes `path` with all below it. Never follows a link and never enters another mount: a mount point in the way is an error
// (FAILED_PRECONDITION), with everything else removed. OK when nothing is there. Missing permissions of directories are granted first.
absl::Status RemoveTree(const std::string& path);
// The same for the entry `name` (one component) of an open directory.
absl::Status RemoveTreeAt(int dir_fd, const std::string& name);

}  // namespace cachalot::os
