#include "remotecache/cache_exporter.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/guarded.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "base/worker_pool.h"
#include "oci/go_json.h"
#include "remotecache/cache_destination.h"

namespace cachalot::remotecache {
namespace {

constexpr int kParallelBlobs = 4;

class Collector {
 public:
  Collector(const snapshot::Compression& compression, bool everything, ResultLookup& results)
      : compression_(compression), everything_(everything), results_(results) {}

  absl::StatusOr<CollectedCache> Collect(const std::vector<ExportedOutput>& outputs) {
    for (const ExportedOutput& output : outputs) graph_.Add(output.key, output.output);
    RETURN_IF_ERROR(MakeTopmost(outputs));
    // Of a copy: results are added to the graph on the way.
    const std::vector<ExportedOutput> places = graph_.places();
    for (const ExportedOutput& place : places) RETURN_IF_ERROR(AddResult(place, everything_).status());
    collected_.config = graph_.Build();
    return std::move(collected_);
  }

 private:
  // The results that are nearest to the outputs; an output that has none (it is a build's own) passes the turn to its inputs.
  absl::Status MakeTopmost(const std::vector<ExportedOutput>& outputs) {
    std::vector<ExportedOutput> pending = outputs;
    std::set<std::string> seen;
    while (!pending.empty()) {
      const ExportedOutput next = pending.back();
      pending.pop_back();
      if (!seen.insert(solver::OutputKey(next.key->id, next.output)).second || next.key->inputs.empty()) continue;
      ASSIGN_OR_RETURN(const bool found, AddResult(next, /*make=*/true));
      if (found) continue;
      for (const solver::KeyInput& input : next.key->inputs) pending.push_back({input.vertex, input.output});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<bool> AddResult(const ExportedOutput& place, bool make) {
    if (done_.count(solver::OutputKey(place.key->id, place.output)) > 0) return true;
    ASSIGN_OR_RETURN(const std::optional<CachedLayers> result, results_.Find(place, compression_, make));
    if (!result.has_value()) return false;
    done_.insert(solver::OutputKey(place.key->id, place.output));
    ResultChain chain{{}, result->created_at};
    for (const snapshot::Layer& layer : result->layers) {
      chain.blobs.push_back(layer.blob.digest);
      collected_.layers.try_emplace(layer.blob.digest, layer);
    }
    graph_.SetResult(place, std::move(chain));
    return true;
  }

  const snapshot::Compression& compression_;
  const bool everything_;
  ResultLookup& results_;
  RecordGraph graph_;
  std::set<std::string> done_;
  CollectedCache collected_;
};

// A layer as a cache manifest lists it: with what is needed to use it again.
absl::StatusOr<oci::Descriptor> Describe(const snapshot::Layer& layer, bool oci_types) {
  oci::Descriptor descriptor = layer.blob;
  ASSIGN_OR_RETURN(const std::string compression, oci::LayerCompression(descriptor.media_type));
  descriptor.media_type = oci::LayerMediaType(compression, oci_types);
  descriptor.annotations[kDiffIdAnnotation] = layer.diff_id.str();
  if (layer.created_at.has_value()) descriptor.annotations[kCreatedAnnotation] = oci::FormatGoTime(*layer.created_at);
  return descriptor;
}

absl::StatusOr<std::string> CacheManifest(const ExportPlan& plan, std::vector<oci::Descriptor> layers, oci::Descriptor config) {
  if (plan.image_manifest) {
    oci::Manifest manifest;
    manifest.config = std::move(config);
    manifest.layers = std::move(layers);
    return Serialize(manifest);
  }
  oci::Index index;
  index.media_type = std::string(plan.oci_types ? oci::kMediaTypeIndex : oci::kDockerManifestList);
  index.manifests = std::move(layers);
  index.manifests.push_back(std::move(config));
  return Serialize(index);
}

std::string ManifestType(const ExportPlan& plan) {
  if (plan.image_manifest) return std::string(oci::kMediaTypeManifest);
  return std::string(plan.oci_types ? oci::kMediaTypeIndex : oci::kDockerManifestList);
}

oci::Descriptor DescriptorOf(absl::string_view bytes, std::string media_type) {
  oci::Descriptor descriptor;
  descriptor.media_type = std::move(media_type);
  descriptor.digest = oci::Digest::Of(bytes);
  descriptor.size = static_cast<std::int64_t>(bytes.size());
  return descriptor;
}

absl::Status WriteLayers(const CollectedCache& cache, ResultLookup& results, const Places& places, CacheDestination& destination,
                         const ShowStep& show) {
  std::vector<const snapshot::Layer*> layers;
  for (const auto& [digest, layer] : cache.layers) layers.push_back(&layer);
  WorkerPool pool("cache export", kParallelBlobs);
  return ParallelFor(pool, kParallelBlobs, layers.size(), [&](std::size_t i) {
    return show(absl::StrCat("writing layer ", layers[i]->blob.digest.str()), [&]() -> absl::Status {
      const std::shared_ptr<store::BlobPin> pin = places.blobs->Pin(layers[i]->blob.digest);
      absl::Status written = destination.WriteBlob(layers[i]->blob, layers[i]->sources);
      if (absl::IsNotFound(written) && !places.blobs->Has(layers[i]->blob.digest)) {
        RETURN_IF_ERROR(results.Fetch(*layers[i]));
        written = destination.WriteBlob(layers[i]->blob, layers[i]->sources);
      }
      return Annotate(written, "error writing layer blob");
    });
  });
}

// Only layers that the records name travel.
void DropUnusedLayers(CollectedCache& cache) {
  std::set<oci::Digest> used;
  for (const ConfigLayer& layer : cache.config.layers) used.insert(layer.blob);
  std::erase_if(cache.layers, [&](const auto& entry) { return used.count(entry.first) == 0; });
}

// The config alone, with what a manifest would say of its layers.
absl::Status SendBare(CollectedCache cache, ResultLookup& results, const Places& places, CacheDestination& destination, const ShowStep& show) {
  RETURN_IF_ERROR(WriteLayers(cache, results, places, destination, show));
  for (ConfigLayer& layer : cache.config.layers) {
    const snapshot::Layer& known = cache.layers.at(layer.blob);
    layer.note = LayerNote{known.blob.media_type, known.diff_id, known.blob.size, known.created_at.value_or(absl::InfinitePast())};
  }
  const std::string config = Serialize(cache.config);
  return destination.WriteManifest(DescriptorOf(config, std::string(kMediaTypeCacheConfig)), config);
}

absl::StatusOr<std::map<std::string, std::string>> Send(const ExportPlan& plan, const CollectedCache& cache, ResultLookup& results,
                                                        const Places& places, CacheDestination& destination, const ShowStep& show) {
  std::vector<oci::Descriptor> layers;
  std::set<oci::Digest> listed;
  for (const ConfigLayer& layer : cache.config.layers) {
    if (!listed.insert(layer.blob).second) continue;
    ASSIGN_OR_RETURN(oci::Descriptor descriptor, Describe(cache.layers.at(layer.blob), plan.oci_types));
    layers.push_back(std::move(descriptor));
  }
  RETURN_IF_ERROR(WriteLayers(cache, results, places, destination, show));
  const std::string config = Serialize(cache.config);
  const oci::Descriptor config_descriptor = DescriptorOf(config, std::string(kMediaTypeCacheConfig));
  RETURN_IF_ERROR(show(absl::StrCat("writing config ", config_descriptor.digest.str()),
                       [&] { return Annotate(destination.WriteDocument(config_descriptor, config), "error writing config blob"); }));
  ASSIGN_OR_RETURN(const std::string manifest, CacheManifest(plan, std::move(layers), config_descriptor));
  const oci::Descriptor descriptor = DescriptorOf(manifest, ManifestType(plan));
  const std::string title = absl::StrCat("writing cache ", plan.image_manifest ? "image " : "", "manifest ", descriptor.digest.str());
  RETURN_IF_ERROR(show(title, [&] { return Annotate(destination.WriteManifest(descriptor, manifest), "error writing manifest blob"); }));
  return std::map<std::string, std::string>{{"cache.manifest", Serialize(descriptor)}};
}

}  // namespace

absl::StatusOr<CollectedCache> CollectCache(const std::vector<ExportedOutput>& outputs, const snapshot::Compression& compression, bool everything,
                                            ResultLookup& results) {
  return Collector(compression, everything, results).Collect(outputs);
}

absl::StatusOr<ExportPlan> PlanExport(const std::string& type, const Attributes& attributes) {
  ExportPlan plan;
  plan.type = type;
  if (type != "registry" && type != "local" && type != "s3" && type != "azblob")
    return absl::InvalidArgumentError(absl::StrCat("unknown cache exporter: \"", type, "\""));
  const absl::Status parsed = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(plan.compression, CompressionAttributes(attributes));
    ASSIGN_OR_RETURN(plan.oci_types, BoolAttribute(attributes, "oci-mediatypes", true));
    ASSIGN_OR_RETURN(plan.image_manifest, BoolAttribute(attributes, "image-manifest", plan.oci_types));
    if (plan.image_manifest && !plan.oci_types) {
      return absl::InvalidArgumentError("invalid configuration for remote cache, OCI mediatypes are required for image-manifest cache format");
    }
    if (type == "s3") {
      ASSIGN_OR_RETURN(plan.s3, S3Attributes(attributes));
      return absl::OkStatus();
    }
    if (type == "azblob") {
      ASSIGN_OR_RETURN(plan.azure, AzureAttributes(attributes));
      return absl::OkStatus();
    }
    if (type == "registry") {
      ASSIGN_OR_RETURN(plan.ref, RefAttribute(attributes));
      ASSIGN_OR_RETURN(plan.insecure, BoolAttribute(attributes, "registry.insecure", false));
      return absl::OkStatus();
    }
    const std::string dest = ValueOf(attributes, "dest");
    if (dest.empty()) return absl::InvalidArgumentError("local cache exporter requires dest");
    plan.store = ClientStore(dest);
    return absl::OkStatus();
  }();
  if (!parsed.ok()) return Annotate(parsed, absl::StrCat("failed to configure ", type, " cache exporter"));
  plan.compression.oci_media_types = true;
  plan.everything = ValueOf(attributes, "mode") == "max";
  // A value that is none counts as false.
  plan.ignore_error = BoolAttribute(attributes, "ignore-error", false).value_or(false);
  return plan;
}

std::string ExportTitle(const ExportPlan& plan) {
  static const std::map<std::string, std::string> kPlaces = {{"local", "client directory"}, {"s3", "Amazon S3"}, {"azblob", "Azure Blob Storage"}};
  const auto place = kPlaces.find(plan.type);
  return absl::StrCat("exporting cache to ", place == kPlaces.end() ? plan.type : place->second);
}

absl::StatusOr<std::map<std::string, std::string>> ExportCache(const ExportPlan& plan, const std::vector<ExportedOutput>& outputs,
                                                               ResultLookup& results, const Places& places, const ShowStep& show,
                                                               const CancelToken& cancel) {
  ASSIGN_OR_RETURN(const std::unique_ptr<CacheDestination> destination, NewCacheDestination(plan, places, cancel));
  CollectedCache cache;
  RETURN_IF_ERROR(show("preparing build cache for export", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(cache, CollectCache(outputs, plan.compression, plan.everything, results));
    DropUnusedLayers(cache);
    return absl::OkStatus();
  }));
  std::map<std::string, std::string> response;
  RETURN_IF_ERROR(show("sending cache export", [&]() -> absl::Status {
    if (cache.config.layers.empty()) {
      LogWarning("failed to match any cache with layers");
      return show("skipping cache export for empty result", [] { return absl::OkStatus(); });
    }
    if (destination->bare()) return SendBare(std::move(cache), results, places, *destination, show);
    ASSIGN_OR_RETURN(response, Send(plan, cache, results, places, *destination, show));
    return absl::OkStatus();
  }));
  return response;
}

}  // namespace cachalot::remotecache
