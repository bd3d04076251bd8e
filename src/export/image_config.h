// The image configuration as it is exported: the frontend's, with the layers and their history filled in.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "oci/image.h"
#include "snapshot/snapshots.h"

namespace cachalot::exporting {

// For results without one: the host's platform, "/" and a PATH.
std::string DefaultImageConfig();

struct ConfigInputs {
  std::string config;       // the frontend's (JSON)
  std::string base_config;  // of the image it was built upon, or empty: its history keeps its times
  std::vector<snapshot::Layer> layers;
  std::optional<absl::Time> epoch;  // no time may be later
  std::string inline_cache{};       // records for the member "moby.buildkit.cache.v0"; empty: none
};
// The bytes of the configuration blob. Members that are not touched stay as they are; they come sorted, as from Go's maps.
absl::StatusOr<std::string> AssembleImageConfig(const ConfigInputs& inputs);

}  // namespace cachalot::exporting
