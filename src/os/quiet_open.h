// Reading files whose time of access says something else than when they were read.
#pragma once

#include <fcntl.h>

#include <string>

#include "base/unique_fd.h"

namespace cachalot::os {

// openat(2) for reading, close-on-exec, without touching the file's time of access: in a client's directory and in layers that share its
// files it holds the client's mark (see session/tree/stat.h). Invalid, with errno, on failure.
UniqueFd OpenQuietly(int dir_fd, const std::string& name, int flags = O_NOFOLLOW | O_NONBLOCK);

}  // namespace cachalot::os
