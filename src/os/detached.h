// Work that goes on when this process has ended.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace cachalot::os {

// Runs `work` in a process that outlives this one, with `directory` opened. It is in nobody's way: it holds nothing else of this process,
// neither descriptor nor terminal, ps shows it under `title`, and requests to end (SIGTERM, SIGHUP, SIGINT) do not reach it. With
// privileges it has no mounts but a private one of `directory`: every file system can be unmounted meanwhile.
//
// `work` sees memory as it was. Locks that other threads held stay held for ever: it may call nothing but system calls, and must not
// allocate. Nobody learns of its outcome.
absl::Status RunDetached(const char* title, const std::string& directory, const std::function<void(int directory_fd)>& work);

}  // namespace cachalot::os
