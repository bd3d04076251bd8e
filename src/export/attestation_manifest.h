// The manifest that carries the attestations of one platform's manifest in an index.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "export/exporter.h"
#include "export/image_writer.h"
#include "export/options.h"
#include "oci/image.h"

namespace cachalot::exporting {

struct AttestationManifest {
  WrittenManifest manifest;
  std::vector<std::string> blobs;  // of the manifest and of all that it names, to be stored
};

// Unbundles the attestations of `result` and makes their statements, about `target` under the image's names (comma separated).
absl::StatusOr<AttestationManifest> MakeAttestationManifest(const ExportOptions& options, const PlatformResult& result, const WrittenManifest& target,
                                                            const std::string& names, const Context& context);

}  // namespace cachalot::exporting
