// Writing a build's cache where other builds find it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "oci/image.h"
#include "remotecache/attributes.h"
#include "remotecache/azure_client.h"
#include "remotecache/cache_origin.h"
#include "remotecache/imported_cache.h"
#include "remotecache/record_graph.h"
#include "remotecache/s3_client.h"
#include "snapshot/snapshots.h"
#include "solver/cache_key.h"

namespace cachalot::remotecache {

// An output of the build.
using ExportedOutput = RecordGraph::Place;

// Who has the results of a build. Calls may block.
class ResultLookup {
 public:
  virtual ~ResultLookup() = default;
  // The layers of an output's result, or nothing. `make`: layers without a fitting blob get one; otherwise they count as nothing.
  virtual absl::StatusOr<std::optional<CachedLayers>> Find(const ExportedOutput& output, const snapshot::Compression& compression, bool make) = 0;
  // Brings a layer of such a result into the blob store.
  virtual absl::Status Fetch(const snapshot::Layer& layer) = 0;
};

// The records of a build's outputs, with their results. In the form for fewer layers (`everything` false, BuildKit's mode "min"),
// blobs are made for the outputs alone; what else has its blobs already comes along.
struct CollectedCache {
  CacheConfig config;
  std::map<oci::Digest, snapshot::Layer> layers;  // by blob
};
absl::StatusOr<CollectedCache> CollectCache(const std::vector<ExportedOutput>& outputs, const snapshot::Compression& compression, bool everything,
                                            ResultLookup& results);

// One cache export of a request: type "registry", "local", "s3" or "azblob".
struct ExportPlan {
  std::string type;
  snapshot::Compression compression;
  bool everything = false;     // mode "max"
  bool image_manifest = true;  // an image manifest; otherwise an index
  bool oci_types = true;
  bool ignore_error = false;
  oci::Reference ref;  // registry
  bool insecure = false;
  std::string store;  // local
  S3Config s3;
  AzureConfig azure;
};
// INVALID_ARGUMENT for an unknown type, and for what is missing or wrong.
absl::StatusOr<ExportPlan> PlanExport(const std::string& type, const Attributes& attributes);
// "exporting cache to registry".
std::string ExportTitle(const ExportPlan& plan);

// Shows a step of the work by its name while it runs.
using ShowStep = std::function<absl::Status(const std::string& name, const std::function<absl::Status()>& step)>;

// Collects and writes. Returns the response's members ("cache.manifest"); none when there was nothing to write.
absl::StatusOr<std::map<std::string, std::string>> ExportCache(const ExportPlan& plan, const std::vector<ExportedOutput>& outputs,
                                                               ResultLookup& results, const Places& places, const ShowStep& show,
                                                               const CancelToken& cancel);

}  // namespace cachalot::remotecache
