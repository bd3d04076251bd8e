#include "build/build_cache.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "op/layer_fetcher.h"
#include "op/result.h"

namespace cachalot::build {
namespace {

// Whether `layers` are the first ones of `all`.
bool BeginsWith(const std::vector<snapshot::Layer>& all, const std::vector<snapshot::Layer>& layers) {
  if (layers.empty() || layers.size() > all.size()) return false;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].blob.digest != all[i].blob.digest) return false;
  }
  return true;
}

}  // namespace

BuildCache::BuildCache(op::EnvironmentPtr environment, CancelToken cancel)
    : environment_(std::move(environment)), cancel_(std::move(cancel)), local_(environment_->parts.index, environment_->parts.snapshots) {}

void BuildCache::Import(const std::string& type, const remotecache::Attributes& attributes) {
  if (const auto names = attributes.find("name"); type == "azblob" && names != attributes.end() && absl::StrContains(names->second, ';')) {
    // Several configs of one container, each a cache of its own.
    remotecache::Attributes one = attributes;
    for (const absl::string_view name : absl::StrSplit(names->second, ';', absl::SkipEmpty())) {
      one["name"] = std::string(name);
      Import(type, one);
    }
    return;
  }
  const op::Parts& parts = environment_->parts;
  auto imports = imports_.Lock();
  std::unique_ptr<CacheImport>& import = (*imports)[CacheImport::NameOf(type, attributes)];
  if (import != nullptr) return;
  import = std::make_unique<CacheImport>(type, attributes, remotecache::Places{parts.registry, parts.http, parts.blobs, environment_->session},
                                         parts.clock, environment_->progress, cancel_);
}

std::vector<remotecache::ImportedCache*> BuildCache::Imported() {
  std::vector<CacheImport*> imports;
  {
    auto known = imports_.Lock();
    for (const auto& [name, import] : *known) imports.push_back(import.get());  // none is ever taken out
  }
  std::vector<remotecache::ImportedCache*> caches;
  for (CacheImport* import : imports) {
    if (remotecache::ImportedCache* cache = import->Get(); cache != nullptr) caches.push_back(cache);
  }
  return caches;
}

absl::StatusOr<solver::ResultPtr> BuildCache::Load(const solver::CacheKeyPtr& key, int output) {
  ASSIGN_OR_RETURN(solver::ResultPtr result, local_.Load(key, output));
  if (result != nullptr) return result;
  for (remotecache::ImportedCache* cache : Imported()) {
    const std::optional<remotecache::CachedLayers> found = cache->ResultOf(key, output);
    if (!found.has_value()) continue;
    absl::StatusOr<solver::ResultPtr> adopted = Adopt(*cache, key, output, *found);
    if (adopted.ok()) return adopted;
    RETURN_IF_ERROR(cancel_.status());
    // The step can still be run.
    LogWarning("imported cache: a result cannot be loaded: ", adopted.status().message());
  }
  return solver::ResultPtr();
}

absl::StatusOr<solver::ResultPtr> BuildCache::Adopt(remotecache::ImportedCache& cache, const solver::CacheKeyPtr& key, int output,
                                                    const remotecache::CachedLayers& result) {
  const op::Parts& parts = environment_->parts;
  std::vector<std::shared_ptr<store::BlobPin>> pins;
  if (cache.origin().sources().empty()) {
    for (const snapshot::Layer& layer : result.layers) {
      pins.push_back(parts.blobs->Pin(layer.blob.digest));
      RETURN_IF_ERROR(cache.origin().Fetch(layer.blob, cancel_));
    }
  }
  std::vector<snapshot::SnapshotPtr> trees;
  for (const snapshot::Layer& layer : result.layers) {
    snapshot::Label label;
    label.description = layer.description.empty() ? "imported from a cache" : layer.description;
    ASSIGN_OR_RETURN(snapshot::SnapshotPtr tree, parts.snapshots->FromLayer(trees.empty() ? nullptr : trees.back(), layer, label));
    trees.push_back(std::move(tree));
  }
  RETURN_IF_ERROR(local_.SaveSnapshot(*key, output, {trees.empty() ? "" : trees.back()->id(), result.created_at}));
  RETURN_IF_ERROR(RememberPrefixes(cache, key, result, trees));
  return std::make_shared<op::TreeResult>(trees.empty() ? nullptr : trees.back());
}

// The steps beneath whose results are part of this one's are cached now as well, for builds that do not import.
absl::Status BuildCache::RememberPrefixes(remotecache::ImportedCache& cache, const solver::CacheKeyPtr& key, const remotecache::CachedLayers& result,
                                          const std::vector<snapshot::SnapshotPtr>& trees) {
  store::CacheIndex& index = *environment_->parts.index;
  std::vector<solver::CacheKeyPtr> pending = {key};
  std::set<std::string> seen;
  while (!pending.empty()) {
    const solver::CacheKeyPtr next = std::move(pending.back());
    pending.pop_back();
    for (const solver::KeyInput& input : next->inputs) {
      const std::string name = solver::OutputKey(input.vertex->id, input.output);
      if (input.vertex->ephemeral || !seen.insert(name).second) continue;
      pending.push_back(input.vertex);
      const std::optional<remotecache::CachedLayers> beneath = cache.ResultOf(input.vertex, input.output);
      if (!beneath.has_value() || !BeginsWith(result.layers, beneath->layers)) continue;
      ASSIGN_OR_RETURN(const std::optional<store::CacheIndex::Result> known, index.ResultOf(name));
      if (known.has_value()) continue;
      RETURN_IF_ERROR(local_.SaveSnapshot(*input.vertex, input.output, {trees[beneath->layers.size() - 1]->id(), beneath->created_at}));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<solver::CacheStore::Contents> BuildCache::LoadContents(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs) {
  ASSIGN_OR_RETURN(Contents contents, local_.LoadContents(definition, outputs));
  if (contents.has_value()) return contents;
  for (remotecache::ImportedCache* cache : Imported()) {
    contents = cache->ContentsOf(definition, outputs);
    if (!contents.has_value()) continue;
    RETURN_IF_ERROR(local_.SaveContents(definition, *contents));
    return contents;
  }
  return Contents();
}

absl::StatusOr<bool> BuildCache::MayHaveContents(const solver::PartialKey& known, const std::vector<int>& outputs) {
  ASSIGN_OR_RETURN(const bool local, local_.MayHaveContents(known, outputs));
  return local || AnyImportedFits(known, outputs);
}

absl::StatusOr<bool> BuildCache::MayHaveResult(const solver::PartialKey& known, const std::vector<int>& outputs) {
  ASSIGN_OR_RETURN(const bool local, local_.MayHaveResult(known, outputs));
  return local || AnyImportedFits(known, outputs);
}

bool BuildCache::AnyImportedFits(const solver::PartialKey& known, const std::vector<int>& outputs) {
  for (remotecache::ImportedCache* cache : Imported()) {
    if (cache->AnyFits(known, outputs)) return true;
  }
  return false;
}

}  // namespace cachalot::build
