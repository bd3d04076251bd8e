// Exporters: a solved result becomes an image, an archive or files.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "oci/image.h"
#include "registry/client.h"
#include "session/session.h"
#include "snapshot/snapshots.h"
#include "solver/progress.h"
#include "store/blobs.h"

namespace cachalot::exporting {

// One platform's part of a result.
struct PlatformResult {
  std::string id;  // "linux/amd64"; empty for a result without platforms
  std::optional<oci::Platform> platform;
  snapshot::SnapshotPtr tree;  // null: scratch
  std::string config;          // image configuration (JSON) as the frontend gave it; empty: none
};

struct Source {
  std::vector<PlatformResult> platforms;        // one, or one per platform
  bool multi_platform = false;                  // refs.platforms was given
  std::map<std::string, std::string> metadata;  // the frontend's result metadata
};

// What an exporter may use. Everything outlives the export.
struct Context {
  snapshot::Snapshots* snapshots;
  snapshot::BlobFetcher* fetcher;
  store::BlobStore* blobs;
  registry::Client* registry;
  session::SessionPtr session;  // of the client that asked; null when there is none
  int exporter_id = 0;          // its index in the request
  std::shared_ptr<solver::ProgressSink> progress;
  Clock* clock;
  CancelToken cancel;
};

// Runs exporter `type` ("image", "oci", "docker", "tar", "local") with the request's attributes ("name", "push",
// "compression", "dest", ...). Returns the exporter response ("containerimage.digest", "image.name", ...). An unknown type
// or attribute value is an INVALID_ARGUMENT that names it.
absl::StatusOr<std::map<std::string, std::string>> Export(const std::string& type, const std::map<std::string, std::string>& attrs,
                                                          const Source& source, const Context& context);
// Checks type and attributes before the build starts; the same errors as Export.
absl::Status CheckExport(const std::string& type, const std::map<std::string, std::string>& attrs);

}  // namespace cachalot::exporting
