#include "build/cache_exports.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "build/shown_vertex.h"
#include "op/layer_fetcher.h"
#include "remotecache/inline_cache.h"

namespace cachalot::build {
namespace {

constexpr char kInline[] = "inline";

// Results of the engine's memory, and of imported caches that the build had no need of.
class BuildResults : public remotecache::ResultLookup {
 public:
  BuildResults(BuildCache& cache, const op::Environment& environment, CancelToken cancel)
      : cache_(cache), environment_(environment), cancel_(std::move(cancel)) {}

  absl::StatusOr<std::optional<remotecache::CachedLayers>> Find(const remotecache::ExportedOutput& output, const snapshot::Compression& compression,
                                                                bool make) override {
    const op::Parts& parts = environment_.parts;
    ASSIGN_OR_RETURN(const auto known, parts.index->ResultOf(solver::OutputKey(output.key->id, output.output)));
    if (known.has_value() && known->snapshot.empty()) return std::optional<remotecache::CachedLayers>();
    if (known.has_value()) {
      ASSIGN_OR_RETURN(const snapshot::SnapshotPtr tree, parts.snapshots->Get(known->snapshot));
      if (tree != nullptr) return OfTree(tree, known->created_at, compression, make);
    }
    for (remotecache::ImportedCache* imported : cache_.Imported()) {
      std::optional<remotecache::CachedLayers> found = imported->ResultOf(output.key, output.output);
      if (!found.has_value()) continue;
      ASSIGN_OR_RETURN(const bool usable, IsUsable(*imported, *found, compression));
      if (usable) return found;
    }
    return std::optional<remotecache::CachedLayers>();
  }

  absl::Status Fetch(const snapshot::Layer& layer) override {
    const auto origin = origins_.find(layer.blob.digest);
    if (origin != origins_.end()) return origin->second->Fetch(layer.blob, cancel_);
    return environment_.layers->Fetch(layer, *environment_.parts.blobs, cancel_);
  }

 private:
  absl::StatusOr<std::optional<remotecache::CachedLayers>> OfTree(const snapshot::SnapshotPtr& tree, absl::Time created_at,
                                                                  const snapshot::Compression& compression, bool make) {
    snapshot::Snapshots& snapshots = *environment_.parts.snapshots;
    if (make) {
      ASSIGN_OR_RETURN(std::vector<snapshot::Layer> layers, snapshots.Layers(tree, compression, /*keep_remote=*/true, *environment_.layers, cancel_));
      return remotecache::CachedLayers{std::move(layers), created_at};
    }
    ASSIGN_OR_RETURN(std::optional<std::vector<snapshot::Layer>> layers, snapshots.LayersAtHand(tree, compression));
    if (!layers.has_value()) return std::optional<remotecache::CachedLayers>();
    return remotecache::CachedLayers{*std::move(layers), created_at};
  }

  absl::StatusOr<bool> IsUsable(remotecache::ImportedCache& imported, const remotecache::CachedLayers& found,
                                const snapshot::Compression& compression) {
    for (const snapshot::Layer& layer : found.layers) {
      ASSIGN_OR_RETURN(const std::string type, oci::LayerCompression(layer.blob.media_type));
      if (compression.force && type != compression.type) return false;
      ASSIGN_OR_RETURN(const bool there, imported.origin().Has(layer.blob, cancel_));
      if (!there) return false;
    }
    for (const snapshot::Layer& layer : found.layers) origins_[layer.blob.digest] = &imported.origin();
    return true;
  }

  BuildCache& cache_;
  const op::Environment& environment_;
  const CancelToken cancel_;
  std::map<oci::Digest, remotecache::CacheOrigin*> origins_;
};

}  // namespace

absl::Status CheckCacheExports(const std::vector<ExportRequest>& requests) {
  for (const ExportRequest& request : requests) {
    if (request.type != kInline) RETURN_IF_ERROR(remotecache::PlanExport(request.type, request.attrs).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> RunCacheExports(const std::vector<ExportRequest>& requests,
                                                                   const std::vector<remotecache::ExportedOutput>& outputs, BuildCache& cache,
                                                                   const op::Environment& environment, const CancelToken& cancel) {
  const std::string session = environment.session == nullptr ? "" : environment.session->id();
  const remotecache::Places places{environment.parts.registry, environment.parts.http, environment.parts.blobs, environment.session};
  std::map<std::string, std::string> response;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    if (requests[i].type == kInline) continue;
    ASSIGN_OR_RETURN(const remotecache::ExportPlan plan, remotecache::PlanExport(requests[i].type, requests[i].attrs));
    ShownVertex vertex(environment.parts.clock, environment.progress, remotecache::ExportTitle(plan), absl::StrCat(session, "-cache-", i));
    BuildResults results(cache, environment, cancel);
    const auto show = [&](const std::string& name, const std::function<absl::Status()>& step) { return vertex.Run(name, step); };
    absl::StatusOr<std::map<std::string, std::string>> exported = remotecache::ExportCache(plan, outputs, results, places, show, cancel);
    if (!vertex.Finish(exported.status()).ok()) {
      RETURN_IF_ERROR(cancel.status());
      if (!plan.ignore_error) return exported.status();
      LogWarning(remotecache::ExportTitle(plan), ": ", exported.status().message());
      continue;
    }
    for (auto& [key, value] : *exported) response[key] = std::move(value);
  }
  return response;
}

bool WantsInlineCache(const std::vector<ExportRequest>& requests) {
  return std::any_of(requests.begin(), requests.end(), [](const ExportRequest& request) { return request.type == kInline; });
}

void AddInlineCaches(const llb::FrontendResult& result, BuildCore& core, exporting::Source& source) {
  for (exporting::PlatformResult& platform : source.platforms) {
    const std::optional<remotecache::ExportedOutput> output = core.OutputOf(source.multi_platform ? result.refs.at(platform.id) : result.ref);
    if (!output.has_value()) continue;
    platform.inline_cache = [&core, output = *output](const std::vector<oci::Digest>& diff_ids,
                                                      const snapshot::Compression& compression) -> absl::StatusOr<std::string> {
      BuildResults results(core.cache(), *core.environment(), core.cancel());
      ASSIGN_OR_RETURN(const remotecache::CollectedCache collected, remotecache::CollectCache({output}, compression, /*everything=*/false, results));
      return remotecache::InlineRecords(collected, diff_ids);
    };
  }
}

}  // namespace cachalot::build
