#include "os/quiet_open.h"

#include <cerrno>

namespace cachalot::os {

UniqueFd OpenQuietly(int dir_fd, const std::string& name, int flags) {
  flags |= O_RDONLY | O_CLOEXEC;
  UniqueFd fd(::openat(dir_fd, name.c_str(), flags | O_NOATIME));
  // Only the owner and root may ask for it.
  if (!fd.valid() && errno == EPERM) fd.reset(::openat(dir_fd, name.c_str(), flags));
  return fd;
}

}  // namespace cachalot::os
