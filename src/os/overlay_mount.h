// Overlay mounts of any number of layers. Internal to the room: MountAt() is the way in.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace cachalot::os {

struct MountOptions {
  unsigned long flags = 0;        // MS_* of mount(2)
  unsigned long propagation = 0;  // MS_PRIVATE, ..., or 0
  std::vector<std::string> data;  // what the file system itself understands
};

enum class OverlayMethod {
  kBest,       // the new mount API when the kernel has it, else mount(2)
  kMountData,  // mount(2) alone
};

absl::Status MountOverlay(const std::string& source, const MountOptions& options, const std::string& target,
                          OverlayMethod method = OverlayMethod::kBest);

}  // namespace cachalot::os
