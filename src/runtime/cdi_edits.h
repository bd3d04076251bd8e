// The `containerEdits` of CDI files. Internal to the room.
#pragma once

#include "absl/status/statusor.h"
#include "runtime/device_edits.h"
#include "runtime/yaml.h"

namespace cachalot::runtime {

// What `node` (null: nothing) says. Device nodes without type or numbers take them from the host's device when the container is
// described: it may come later than the file.
absl::StatusOr<DeviceEdits> ReadDeviceEdits(const YamlNode* node);

// Fills in what a device node leaves to the host's device.
absl::Status CompleteNode(DeviceNode& node);

}  // namespace cachalot::runtime
