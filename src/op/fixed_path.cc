#include "op/fixed_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/random_id.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "os/file.h"
#include "os/mount.h"

namespace cachalot::op {

absl::StatusOr<std::unique_ptr<FixedPath>> FixedPath::Fix(int fd, const std::string& directory) {
  ASSIGN_OR_RETURN(const struct stat st, os::Stat(fd));
  const std::string path = absl::StrCat(directory, "/fixed-", RandomId());
  // What is mounted, and where, are of one kind.
  if (S_ISDIR(st.st_mode)) {
    if (::mkdir(path.c_str(), 0700) != 0) return ErrnoError(absl::StrCat("mkdir ", path));
  } else {
    RETURN_IF_ERROR(os::Open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600).status());
  }
  std::unique_ptr<FixedPath> fixed(new FixedPath(path));
  RETURN_IF_ERROR(os::MountAt({"bind", os::DescriptorPath(fd), {"bind"}}, path));
  return fixed;
}

FixedPath::~FixedPath() {
  if (absl::Status status = os::Unmount(path_); !status.ok()) LogWarning("a mount stays: ", status.message());
  if (::rmdir(path_.c_str()) != 0) ::unlink(path_.c_str());
}

}  // namespace cachalot::op
