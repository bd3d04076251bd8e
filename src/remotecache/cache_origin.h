// Where a cache is imported from.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "oci/image.h"
#include "registry/client.h"
#include "registry/http.h"
#include "remotecache/attributes.h"
#include "session/session.h"
#include "store/blobs.h"

namespace cachalot::remotecache {

// Documents are small: manifests, indexes, configurations. Thread-safe.
class CacheOrigin {
 public:
  virtual ~CacheOrigin() = default;
  // The cache config itself, with notes of its layers, where caches have no manifest; the next two are not called then.
  virtual absl::StatusOr<std::optional<std::string>> ReadBareConfig(const CancelToken&) { return std::optional<std::string>(); }
  // The manifest or index that the cache begins with.
  virtual absl::StatusOr<oci::Descriptor> Resolve(const CancelToken& cancel) = 0;
  virtual absl::StatusOr<std::string> ReadDocument(const oci::Descriptor& descriptor, const CancelToken& cancel) = 0;
  // Whether the blob is still there.
  virtual absl::StatusOr<bool> Has(const oci::Descriptor& layer, const CancelToken& cancel) = 0;
  // Brings the blob into the blob store, verified.
  virtual absl::Status Fetch(const oci::Descriptor& layer, const CancelToken& cancel) = 0;
  // Where layers can be had after the build, for snapshot::Layer::sources; empty when that is from here and now only.
  virtual std::vector<std::string> sources() const = 0;
};
using CacheOriginPtr = std::shared_ptr<CacheOrigin>;

// What origins and destinations work with; all outlive them.
struct Places {
  registry::Client* registry = nullptr;
  registry::HttpTransport* http = nullptr;
  store::BlobStore* blobs = nullptr;
  session::SessionPtr session;  // of the client that asked; null when there is none
};

// The origin for an import of `type` ("registry", "local", "s3", "azblob") with the attributes of a build request. INVALID_ARGUMENT for what is
// missing or wrong.
absl::StatusOr<CacheOriginPtr> NewCacheOrigin(const std::string& type, const Attributes& attributes, const Places& places);

// The largest cache config that is read from where it has a manifest; BuildKit reads no larger one.
inline constexpr std::int64_t kMaxConfigBytes = 1 << 20;
// The largest of other documents: bare cache configs, configs of images.
inline constexpr std::int64_t kMaxDocumentBytes = 8 << 20;

}  // namespace cachalot::remotecache
