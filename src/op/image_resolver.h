// From an image's name to its manifest and configuration.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "oci/image.h"
#include "oci/platform.h"
#include "oci/reference.h"
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
      : registry_(registry), blobs_(blobs), credentials_(std::move(credentials)) {}

  absl::StatusOr<ResolvedManifestPtr> Resolve(const std::string& ref, const oci::Platform& platform, const CancelToken& cancel);

 private:
  struct Entry {
    std::mutex mutex;  // held while resolving
    ResolvedManifestPtr resolved;
  };
  absl::StatusOr<ResolvedManifestPtr> ResolveNow(const std::string& ref, const oci::Platform& platform, const CancelToken& cancel);
  absl::StatusOr<oci::Descriptor> FindTarget(const oci::Reference& ref, const registry::Options& options);
  absl::StatusOr<std::string> ReadDocument(const oci::Reference& ref, const oci::Descriptor& descriptor, const registry::Options& options,
                                           ResolvedManifest& keep);

  registry::Client* const registry_;
  store::BlobStore* const blobs_;
  const std::shared_ptr<registry::Credentials> credentials_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Entry>> entries_;
};

// The manifest of `index` that serves `platform` best. NOT_FOUND "no match for platform in manifest <digest>: not found".
absl::StatusOr<oci::Descriptor> ChooseManifest(const oci::Index& index, const oci::Digest& digest, const oci::Platform& platform);

}  // namespace cachalot::op
