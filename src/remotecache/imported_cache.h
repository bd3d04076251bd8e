// A cache that was made elsewhere, ready to be asked for results.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "remotecache/cache_origin.h"
#include "remotecache/key_matcher.h"
#include "snapshot/snapshots.h"
#include "solver/cache_key.h"

namespace cachalot::remotecache {

// A result by its layers, lowest first.
struct CachedLayers {
  std::vector<snapshot::Layer> layers;
  absl::Time created_at;
};

// Thread-safe.
class ImportedCache {
 public:
  // Reads the cache at `origin`: a manifest or index with a cache config, or images with an inline cache. Its layers stay there.
  static absl::StatusOr<std::unique_ptr<ImportedCache>> Load(CacheOriginPtr origin, const CancelToken& cancel);

  // The newest result of an output, if the cache has one.
  std::optional<CachedLayers> ResultOf(const solver::CacheKeyPtr& key, int output);
  // See KeyMatcher.
  std::optional<std::vector<std::string>> ContentsOf(const solver::CacheKeyPtr& definition, const std::vector<int>& outputs);
  bool AnyFits(const solver::PartialKey& known, const std::vector<int>& outputs);

  CacheOrigin& origin() { return *origin_; }
  // "application/vnd.oci.image.manifest.v1+json" and the like; empty when there is no manifest.
  const std::string& manifest_type() const { return manifest_type_; }

 private:
  // One cache config with the descriptors of its layers.
  struct Part {
    std::unique_ptr<KeyMatcher> matcher;
    std::map<oci::Digest, snapshot::Layer> layers;
  };

  explicit ImportedCache(CacheOriginPtr origin) : origin_(std::move(origin)) {}
  absl::Status LoadConfig(const oci::Descriptor& config, const std::vector<oci::Descriptor>& layers, const CancelToken& cancel);
  absl::Status LoadBareConfig(const std::string& config);
  absl::Status LoadImage(const oci::Manifest& manifest, const CancelToken& cancel);
  absl::Status LoadImages(const oci::Index& index, int depth, const CancelToken& cancel);
  std::optional<CachedLayers> LayersOf(const Part& part, const std::vector<int>& chain, absl::Time created_at) const;

  const CacheOriginPtr origin_;
  std::string manifest_type_;
  std::vector<Part> parts_;
};

// Annotations of layers that caches need to be read again.
inline constexpr char kDiffIdAnnotation[] = "containerd.io/uncompressed";
inline constexpr char kCreatedAnnotation[] = "buildkit/createdat";
// The member of an image configuration that holds an inline cache, in base64.
inline constexpr char kInlineCacheMember[] = "moby.buildkit.cache.v0";

}  // namespace cachalot::remotecache
