#include "remotecache/cache_destination.h"

#include <utility>

#include "base/status_macros.h"
#include "remotecache/azure_client.h"
#include "remotecache/object_cache.h"
#include "remotecache/s3_client.h"

namespace cachalot::remotecache {
namespace {

class RegistryDestination : public CacheDestination {
 public:
  RegistryDestination(const ExportPlan& plan, const Places& places, const CancelToken& cancel) : ref_(plan.ref), places_(places) {
    if (places.session != nullptr) options_.credentials = places.session->credentials();
    options_.insecure = plan.insecure;
    options_.cancel = cancel;
  }

  absl::Status WriteBlob(const oci::Descriptor& blob, const std::vector<std::string>& sources) override {
    return places_.registry->PushBlob(ref_, blob, *places_.blobs, sources, options_);
  }
  absl::Status WriteDocument(const oci::Descriptor& descriptor, const std::string& bytes) override {
    const std::shared_ptr<store::BlobPin> pin = places_.blobs->Pin(descriptor.digest);
    RETURN_IF_ERROR(places_.blobs->Put(bytes).status());
    return WriteBlob(descriptor, {});
  }
  absl::Status WriteManifest(const oci::Descriptor& descriptor, const std::string& bytes) override {
    return places_.registry->PushManifest(ref_, descriptor, bytes, /*by_digest=*/false, options_);
  }

 private:
  const oci::Reference ref_;
  const Places places_;
  registry::Options options_;
};

// A directory of the client. The client itself writes its index.json, from the response.
class ClientDestination : public CacheDestination {
 public:
  ClientDestination(const ExportPlan& plan, const Places& places, CancelToken cancel)
      : store_(plan.store), places_(places), cancel_(std::move(cancel)) {}

  absl::Status WriteBlob(const oci::Descriptor& blob, const std::vector<std::string>&) override {
    return places_.session->UploadBlob(store_, blob, *places_.blobs, cancel_);
  }
  absl::Status WriteDocument(const oci::Descriptor& descriptor, const std::string& bytes) override {
    const std::shared_ptr<store::BlobPin> pin = places_.blobs->Pin(descriptor.digest);
    RETURN_IF_ERROR(places_.blobs->Put(bytes).status());
    return WriteBlob(descriptor, {});
  }
  absl::Status WriteManifest(const oci::Descriptor& descriptor, const std::string& bytes) override { return WriteDocument(descriptor, bytes); }

 private:
  const std::string store_;
  const Places places_;
  const CancelToken cancel_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CacheDestination>> NewCacheDestination(const ExportPlan& plan, const Places& places, const CancelToken& cancel) {
  if (plan.type == "registry") return std::make_unique<RegistryDestination>(plan, places, cancel);
  if (plan.type == "s3") return NewObjectDestination(std::make_unique<S3Client>(plan.s3, places.http), LayoutOf(plan.s3), places, cancel);
  if (plan.type == "azblob")
    return NewObjectDestination(std::make_unique<AzureClient>(plan.azure, places.http), LayoutOf(plan.azure), places, cancel);
  if (places.session == nullptr) return absl::InvalidArgumentError("local cache exporter/importer requires session");
  return std::make_unique<ClientDestination>(plan, places, cancel);
}

}  // namespace cachalot::remotecache
