// From an image's name to its manifest and configuration.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "oci/image.h"
#include "oci/platform.h"
#include "oci/reference.h"
#include "op/image_origin.h"
#include "registry/client.h"
#include "store/blobs.h"

namespace cachalot::op {

// An image of one platform.
struct ResolvedManifest {
  oci::Reference ref;
  oci::Digest digest;  // what the reference points at: an index, or the manifest
  oci::Manifest manifest;
  oci::Digest manifest_digest;
  oci::ImageConfig config;
  std::string config_json;
  std::vector<std::shared_ptr<store::BlobPin>> pins;  // its documents stay in the blob store while this lives
};
using ResolvedManifestPtr = std::shared_ptr<const ResolvedManifest>;

// One build's resolutions: each name is asked for once, however many ask at a time, and means the same for the whole build.
// Thread-safe.
class ImageResolver {
 public:
  ImageResolver(registry::Client* registry, store::BlobStore* blobs, std::shared_ptr<registry::Credentials> credentials)
      : blobs_(blobs), registry_(registry, std::move(credentials)) {}

  // An image of a registry, by its name.
  absl::StatusOr<ResolvedManifestPtr> Resolve(const std::string& ref, const oci::Platform& platform, const CancelToken& cancel);
  absl::StatusOr<ResolvedManifestPtr> Resolve(const oci::Reference& ref, ImageOrigin& origin, const oci::Platform& platform,
                                              const CancelToken& cancel);
  // What `ref` points at, which the build then keeps to.
  absl::StatusOr<oci::Descriptor> FindTarget(const oci::Reference& ref, ImageOrigin& origin, const CancelToken& cancel);
  // The bytes of an image's document. It stays in the blob store while the pin lives.
  struct Document {
    std::string bytes;
    std::shared_ptr<store::BlobPin> pin;
  };
  absl::StatusOr<Document> ReadDocument(const oci::Reference& ref, const oci::Descriptor& descriptor, ImageOrigin& origin, const CancelToken& cancel);

 private:
  template <typename Value>
  struct Entry {
    std::mutex mutex;  // held while resolving
    std::optional<Value> value;
  };
  template <typename Value>
  using Entries = std::map<std::string, std::shared_ptr<Entry<Value>>>;
  // Whether the document that `ref` names by digest is in the blob store and was had from `origin` itself.
  absl::StatusOr<bool> IsHere(const oci::Reference& ref, const ImageOrigin& origin);
  template <typename Value>
  std::shared_ptr<Entry<Value>> EntryOf(Entries<Value>& entries, const std::string& key);
  absl::StatusOr<ResolvedManifestPtr> ResolveNow(const oci::Reference& ref, ImageOrigin& origin, const oci::Platform& platform,
                                                 const CancelToken& cancel);

  store::BlobStore* const blobs_;
  RegistryOrigin registry_;
  std::mutex mutex_;
  Entries<ResolvedManifestPtr> images_;
  Entries<oci::Descriptor> targets_;
};

// The manifest of `index` that serves `platform` best. NOT_FOUND "no match for platform in manifest <digest>: not found".
absl::StatusOr<oci::Descriptor> ChooseManifest(const oci::Index& index, const oci::Digest& digest, const oci::Platform& platform);

}  // namespace cachalot::op
