// Mounts: descriptions and the system calls for them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::os {

// A mount as the OCI runtime specification writes it.
struct Mount {
  std::string type;  // "overlay", "bind", "tmpfs", ...
  std::string source;
  std::vector<std::string> options;  // "lowerdir=a:b", "ro", "rbind", ...
};

// A path as overlay options have it.
std::string EscapeOverlayPath(absl::string_view path);

// Mounts `mount` on the existing directory or file `target`. Handles overlay chains longer than one page of options (500 layers,
// the kernel's bound). In overlay options ':', ',' and '\' within a path are escaped with '\' (EscapeOverlayPath).
absl::Status MountAt(const Mount& mount, const std::string& target);
// Mounts an empty file system in memory on the directory `target`, which root alone enters: for what must not reach a disk. It is not
// swapped out either where the kernel can promise that (6.4).
absl::Status MountMemory(const std::string& target);
// Unmounts lazily; OK when nothing is mounted there.
absl::Status Unmount(const std::string& target);
// True when `target` is the root of a mount (bind mounts included).
absl::StatusOr<bool> IsMountPoint(const std::string& target);

// Moves the calling process into a mount namespace of its own, so that its mounts die with it: the host's mounts come in, none goes
// out, and namespaces made from it later follow its mounts. When this host's hybrid cgroup layout would make crun refuse, hides the
// unified hierarchy there. Call before any thread starts.
absl::Status EnterPrivateMountNamespace();

}  // namespace cachalot::os
