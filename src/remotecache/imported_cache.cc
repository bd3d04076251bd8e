#include "remotecache/imported_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "oci/go_json.h"
#include "remotecache/cache_config.h"

namespace cachalot::remotecache {
namespace {

// Indexes of indexes.
constexpr int kMaxDepth = 4;

// The document's own word for what it is, else what it looks like.
absl::StatusOr<std::string> ManifestTypeOf(const std::string& bytes) {
  ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(bytes, "cache manifest"));
  absl::Status status;
  oci::ObjectReader reader(json, "cache manifest", status);
  std::string type = reader.String("mediaType");
  RETURN_IF_ERROR(status);
  if (oci::IsIndex(type) || oci::IsManifest(type)) return type;
  if (!type.empty()) return absl::InvalidArgumentError(absl::StrCat("unsupported or uninferrable manifest type ", absl::CEscape(type)));
  if (reader.Find("manifests") != nullptr) return std::string(oci::kMediaTypeIndex);
  if (reader.Find("layers") != nullptr) return std::string(oci::kMediaTypeManifest);
  return absl::InvalidArgumentError("unsupported or uninferrable manifest type");
}

// A layer of a cache manifest. Without a diff id it is of no use.
snapshot::Layer LayerFrom(oci::Descriptor descriptor, const CacheOrigin& origin) {
  snapshot::Layer layer;
  const auto annotation = [&](const char* name) {
    const auto found = descriptor.annotations.find(name);
    return found == descriptor.annotations.end() ? std::string() : found->second;
  };
  if (absl::StatusOr<oci::Digest> diff_id = oci::Digest::Parse(annotation(kDiffIdAnnotation)); diff_id.ok()) layer.diff_id = *std::move(diff_id);
  if (absl::StatusOr<absl::Time> created = oci::ParseGoTime(annotation(kCreatedAnnotation)); created.ok()) layer.created_at = *created;
  descriptor.annotations.erase(kDiffIdAnnotation);
  descriptor.annotations.erase(kCreatedAnnotation);
  layer.blob = std::move(descriptor);
  layer.sources = origin.sources();
  return layer;
}

absl::StatusOr<std::string> InlineRecordsOf(const std::string& image_config) {
  ASSIGN_OR_RETURN(const oci::Json json, oci::ParseJson(image_config, "image config"));
  absl::Status status;
  oci::ObjectReader reader(json, "image config", status);
  const std::string encoded = reader.String(kInlineCacheMember);
  RETURN_IF_ERROR(status);
  std::string records;
  if (!absl::Base64Unescape(encoded, &records)) return absl::InvalidArgumentError("the image's inline cache is no base64");
  return records;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ImportedCache>> ImportedCache::Load(CacheOriginPtr origin, const CancelToken& cancel) {
  auto cache = std::unique_ptr<ImportedCache>(new ImportedCache(std::move(origin)));
  ASSIGN_OR_RETURN(const std::optional<std::string> bare, cache->origin_->ReadBareConfig(cancel));
  if (bare.has_value()) {
    RETURN_IF_ERROR(cache->LoadBareConfig(*bare));
    return cache;
  }
  ASSIGN_OR_RETURN(const oci::Descriptor root, cache->origin_->Resolve(cancel));
  ASSIGN_OR_RETURN(const std::string bytes, cache->origin_->ReadDocument(root, cancel));
  ASSIGN_OR_RETURN(cache->manifest_type_, ManifestTypeOf(bytes));
  if (oci::IsIndex(cache->manifest_type_)) {
    ASSIGN_OR_RETURN(const oci::Index index, oci::ParseIndex(bytes));
    oci::Descriptor config;
    std::vector<oci::Descriptor> layers;
    for (const oci::Descriptor& entry : index.manifests) {
      if (entry.media_type == kMediaTypeCacheConfig) {
        config = entry;
      } else {
        layers.push_back(entry);
      }
    }
    RETURN_IF_ERROR(config.digest.empty() ? cache->LoadImages(index, 0, cancel) : cache->LoadConfig(config, layers, cancel));
  } else {
    ASSIGN_OR_RETURN(const oci::Manifest manifest, oci::ParseManifest(bytes));
    RETURN_IF_ERROR(manifest.config.media_type == kMediaTypeCacheConfig ? cache->LoadConfig(manifest.config, manifest.layers, cancel)
                                                                        : cache->LoadImage(manifest, cancel));
  }
  return cache;
}

absl::Status ImportedCache::LoadConfig(const oci::Descriptor& config, const std::vector<oci::Descriptor>& layers, const CancelToken& cancel) {
  if (config.size > kMaxConfigBytes) {
    return absl::InvalidArgumentError(absl::StrCat("blob ", config.digest.str(), " is too large (", config.size, " > ", kMaxConfigBytes, ")"));
  }
  ASSIGN_OR_RETURN(const std::string bytes, origin_->ReadDocument(config, cancel));
  ASSIGN_OR_RETURN(CacheConfig parsed, ParseCacheConfig(bytes));
  Part& part = parts_.emplace_back();
  part.matcher = std::make_unique<KeyMatcher>(std::move(parsed));
  for (const oci::Descriptor& layer : layers) part.layers[layer.digest] = LayerFrom(layer, *origin_);
  return absl::OkStatus();
}

absl::Status ImportedCache::LoadBareConfig(const std::string& config) {
  ASSIGN_OR_RETURN(CacheConfig parsed, ParseCacheConfig(config));
  Part part;
  for (const ConfigLayer& layer : parsed.layers) {
    if (!layer.note.has_value()) return absl::InvalidArgumentError("cache layer with missing annotations");
    if (layer.note->diff_id.empty()) return absl::InvalidArgumentError("cache layer with missing diffid");
    if (layer.note->size <= 0) return absl::InvalidArgumentError("cache layer with missing size");
    snapshot::Layer& known = part.layers[layer.blob];
    known.blob.digest = layer.blob;
    known.blob.media_type = layer.note->media_type;
    known.blob.size = layer.note->size;
    known.diff_id = layer.note->diff_id;
    if (layer.note->created_at != absl::InfinitePast()) known.created_at = layer.note->created_at;
    known.sources = origin_->sources();
  }
  part.matcher = std::make_unique<KeyMatcher>(std::move(parsed));
  parts_.push_back(std::move(part));
  return absl::OkStatus();
}

absl::Status ImportedCache::LoadImage(const oci::Manifest& manifest, const CancelToken& cancel) {
  if (manifest.config.digest.empty() || manifest.layers.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string config, origin_->ReadDocument(manifest.config, cancel));
  ASSIGN_OR_RETURN(const oci::ImageConfig image, oci::ParseImageConfig(config));
  if (image.diff_ids.size() != manifest.layers.size()) {
    LogWarning("cache import: an image with as many diff ids as ", image.diff_ids.size(), " for ", manifest.layers.size(), " layers is ignored");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string records, InlineRecordsOf(config));
  if (records.empty()) return absl::OkStatus();
  std::vector<const oci::HistoryEntry*> history;
  for (const oci::HistoryEntry& entry : image.history) {
    if (!entry.empty_layer) history.push_back(&entry);
  }
  Part& part = parts_.emplace_back();
  std::vector<oci::Digest> blobs;
  for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
    snapshot::Layer layer = LayerFrom(manifest.layers[i], *origin_);
    layer.diff_id = image.diff_ids[i];
    if (i < history.size()) {
      if (history[i]->created.has_value()) layer.created_at = history[i]->created;
      layer.description = history[i]->created_by;
    }
    blobs.push_back(layer.blob.digest);
    part.layers[layer.blob.digest] = std::move(layer);
  }
  ASSIGN_OR_RETURN(CacheConfig parsed, ParseInlineRecords(records, blobs));
  part.matcher = std::make_unique<KeyMatcher>(std::move(parsed));
  return absl::OkStatus();
}

absl::Status ImportedCache::LoadImages(const oci::Index& index, int depth, const CancelToken& cancel) {
  if (depth == kMaxDepth) return absl::InvalidArgumentError("cache manifest: indexes are nested too deep");
  for (const oci::Descriptor& entry : index.manifests) {
    if (!oci::IsIndex(entry.media_type) && !oci::IsManifest(entry.media_type)) continue;
    ASSIGN_OR_RETURN(const std::string bytes, origin_->ReadDocument(entry, cancel));
    if (oci::IsIndex(entry.media_type)) {
      ASSIGN_OR_RETURN(const oci::Index nested, oci::ParseIndex(bytes));
      RETURN_IF_ERROR(LoadImages(nested, depth + 1, cancel));
    } else {
      ASSIGN_OR_RETURN(const oci::Manifest manifest, oci::ParseManifest(bytes));
      RETURN_IF_ERROR(LoadImage(manifest, cancel));
    }
  }
  return absl::OkStatus();
}

std::optional<CachedLayers> ImportedCache::LayersOf(const Part& part, const std::vector<int>& chain, absl::Time created_at) const {
  CachedLayers result;
  result.created_at = created_at;
  for (const int index : chain) {
    const auto found = part.layers.find(part.matcher->config().layers[index].blob);
    if (found == part.layers.end() || found->second.diff_id.empty()) return std::nullopt;
    result.layers.push_back(found->second);
  }
  return result;
}

std::optional<CachedLayers> ImportedCache::ResultOf(const solver::CacheKeyPtr& key, int output) {
  std::optional<CachedLayers> best;
  const auto offer = [&](std::optional<CachedLayers> found) {
    if (found.has_value() && (!best.has_value() || found->created_at > best->created_at)) best = std::move(found);
  };
  for (const Part& part : parts_) {
    for (const int index : part.matcher->Find(key, output)) {
      const Record& record = part.matcher->config().records[index];
      for (const RecordResult& result : record.results) offer(LayersOf(part, ChainOf(part.matcher->config(), result.layer), result.created_at));
      for (const ChainedResult& result : record.chains) offer(LayersOf(part, result.layers, result.created_at));
    }
  }
  return best;
}

std::optional<std::vector<std::string>> ImportedCache::ContentsOf(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs) {
  for (const Part& part : parts_) {
    if (auto contents = part.matcher->ContentsOf(definition, outputs); contents.has_value()) return contents;
  }
  return std::nullopt;
}

bool ImportedCache::AnyFits(const solver::PartialKey& known, const std::vector<int>& outputs) {
  return std::any_of(parts_.begin(), parts_.end(), [&](const Part& part) { return part.matcher->AnyFits(known, outputs); });
}

}  // namespace cachalot::remotecache
