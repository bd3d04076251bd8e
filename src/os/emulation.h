// Programs for other processors that this kernel runs.
#pragma once

#include <string>
#include <vector>

namespace cachalot::os {

inline constexpr char kBinfmtDirectory[] = "/proc/sys/fs/binfmt_misc";

// The architectures (as images name them, "arm64") whose programs an emulator registered in the binfmt_misc file system at `directory` runs
// in containers: it is enabled and was opened when it was registered (flag F), for a container lacks it. In a fixed order.
std::vector<std::string> EmulatedArchitectures(const std::string& directory = kBinfmtDirectory);

// Makes the registry visible to this process where nobody has mounted it, if the kernel has one and we may. In a mount namespace of our own.
void MountBinfmtRegistry();

}  // namespace cachalot::os
