// Where a cache is exported to.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "oci/image.h"
#include "remotecache/cache_exporter.h"

namespace cachalot::remotecache {

// Thread-safe.
class CacheDestination {
 public:
  virtual ~CacheDestination() = default;
  // Whether there is no manifest: the cache config, with notes of its layers, is written in its place.
  virtual bool bare() const { return false; }
  // Writes a blob unless it is there already. `sources`: repositories that may have it too. NOT_FOUND when the blob would have to
  // travel, but is not in the blob store.
  virtual absl::Status WriteBlob(const oci::Descriptor& blob, const std::vector<std::string>& sources) = 0;
  virtual absl::Status WriteDocument(const oci::Descriptor& descriptor, const std::string& bytes) = 0;
  virtual absl::Status WriteManifest(const oci::Descriptor& descriptor, const std::string& bytes) = 0;
};

absl::StatusOr<std::unique_ptr<CacheDestination>> NewCacheDestination(const ExportPlan& plan, const Places& places, const CancelToken& cancel);

}  // namespace cachalot::remotecache
