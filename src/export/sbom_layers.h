// Software bills of materials learn from the exporter which layer brought each file.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "export/attestation.h"
#include "snapshot/snapshots.h"

namespace cachalot::exporting {

// An SPDX document about the image itself gets a comment "layerID: <digest>" on every file that a layer of `layers` has and that has
// no comment yet. Everything else is returned as it is.
absl::StatusOr<Attestation> NameLayersOfFiles(const Attestation& attestation, const std::vector<snapshot::Layer>& layers, const Context& context);

}  // namespace cachalot::exporting
