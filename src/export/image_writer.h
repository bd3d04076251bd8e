// Turns a result into the blobs of an image: configuration, manifest and, for several platforms, an index.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "export/exporter.h"
#include "export/options.h"
#include "export/progress.h"
#include "oci/image.h"
#include "snapshot/snapshots.h"
#include "store/blobs.h"

namespace cachalot::exporting {

struct WrittenManifest {
  oci::Descriptor descriptor;
  oci::Manifest manifest;
  std::vector<snapshot::Layer> layers;  // with the places where the blobs can be had; none for attestations, which are here
};

struct WrittenImage {
  oci::Descriptor root;  // of the index, or of the only manifest
  bool is_index = false;
  oci::Digest config;                      // of the only manifest
  std::vector<WrittenManifest> manifests;  // one per platform, then those of attestations
  // Keep the new blobs from being collected until the export is done.
  std::vector<std::shared_ptr<store::BlobPin>> pins;
};

// `keep_remote`: layers that are elsewhere may stay there.
absl::StatusOr<WrittenImage> WriteImage(const ExportOptions& options, const Source& source, bool keep_remote, const Context& context,
                                        ExportVertex& vertex);

// The platform of a result: what it says, else what its configuration says, else the host's.
absl::StatusOr<oci::Platform> PlatformOf(const PlatformResult& result, const std::string& config);
// The id of a result's platform: its own, else the platform's name.
absl::StatusOr<std::string> PlatformId(const PlatformResult& result, const std::string& config);

// The names to export under: the options', or the frontend's if they leave it to that.
std::string ImageNames(const ExportOptions& options, const Source& source);

// The source with the export's own metadata (options.other) laid over it.
Source WithMetadata(const Source& source, const ExportOptions& options);

// Puts the blob into the store unless it is there.
absl::Status EnsureLocal(const snapshot::Layer& layer, const Context& context);

// Calls `work(index)` for 0..count-1 on at most `width` threads. The first error stops what has not begun.
absl::Status ForEach(std::size_t count, int width, const std::function<absl::Status(std::size_t)>& work);

// "containerimage.digest", "containerimage.descriptor" and, of single images, "containerimage.config.digest".
std::map<std::string, std::string> ImageResponse(const WrittenImage& image);

}  // namespace cachalot::exporting
