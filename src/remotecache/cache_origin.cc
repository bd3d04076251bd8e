#include "remotecache/cache_origin.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "base/value_of.h"
#include "oci/reference.h"
#include "remotecache/attributes.h"
#include "remotecache/azure_client.h"
#include "remotecache/object_cache.h"
#include "remotecache/s3_client.h"

namespace cachalot::remotecache {
namespace {

class RegistryOrigin : public CacheOrigin {
 public:
  RegistryOrigin(oci::Reference ref, bool insecure, const Places& places) : ref_(std::move(ref)), insecure_(insecure), places_(places) {}

  absl::StatusOr<oci::Descriptor> Resolve(const CancelToken& cancel) override { return places_.registry->Resolve(ref_, OptionsWith(cancel)); }

  absl::StatusOr<std::string> ReadDocument(const oci::Descriptor& descriptor, const CancelToken& cancel) override {
    if (oci::IsIndex(descriptor.media_type) || oci::IsManifest(descriptor.media_type)) {
      return places_.registry->FetchManifest(ref_, descriptor, OptionsWith(cancel));
    }
    if (descriptor.size > kMaxDocumentBytes) return absl::InvalidArgumentError(absl::StrCat("blob ", descriptor.digest.str(), " is too large"));
    const std::shared_ptr<store::BlobPin> pin = places_.blobs->Pin(descriptor.digest);
    RETURN_IF_ERROR(Fetch(descriptor, cancel));
    return places_.blobs->Read(descriptor.digest);
  }

  // Asking for each would cost a request each, and what is gone is found out when it is needed.
  absl::StatusOr<bool> Has(const oci::Descriptor&, const CancelToken&) override { return true; }

  absl::Status Fetch(const oci::Descriptor& layer, const CancelToken& cancel) override {
    return places_.registry->FetchBlob(ref_, layer, *places_.blobs, OptionsWith(cancel));
  }

  std::vector<std::string> sources() const override { return {absl::StrCat(insecure_ ? snapshot::kInsecureSource : "", ref_.name())}; }

 private:
  registry::Options OptionsWith(const CancelToken& cancel) const {
    registry::Options options;
    if (places_.session != nullptr) options.credentials = places_.session->credentials();
    options.insecure = insecure_;
    options.cancel = cancel;
    return options;
  }

  const oci::Reference ref_;
  const bool insecure_;
  const Places places_;
};

// A directory of the client, as a content store in its session.
class ClientOrigin : public CacheOrigin {
 public:
  ClientOrigin(std::string store, oci::Digest root, const Places& places) : store_(std::move(store)), root_(std::move(root)), places_(places) {}

  absl::StatusOr<oci::Descriptor> Resolve(const CancelToken& cancel) override {
    oci::Descriptor descriptor;
    descriptor.digest = root_;
    ASSIGN_OR_RETURN(descriptor.size, places_.session->BlobSize(store_, root_, cancel));
    return descriptor;
  }

  absl::StatusOr<std::string> ReadDocument(const oci::Descriptor& descriptor, const CancelToken& cancel) override {
    if (descriptor.size > kMaxConfigBytes) return absl::InvalidArgumentError(absl::StrCat("blob ", descriptor.digest.str(), " is too large"));
    std::string bytes;
    RETURN_IF_ERROR(places_.session->ReadBlob(
        store_, descriptor.digest,
        [&](absl::string_view chunk) -> absl::Status {
          if (bytes.size() + chunk.size() > static_cast<std::size_t>(kMaxConfigBytes)) return absl::OutOfRangeError("the document is too large");
          bytes.append(chunk.data(), chunk.size());
          return absl::OkStatus();
        },
        cancel));
    if (oci::Digest::Of(bytes) == descriptor.digest) return bytes;
    return absl::DataLossError(absl::StrCat("blob ", descriptor.digest.str(), " of the client has another digest"));
  }

  absl::StatusOr<bool> Has(const oci::Descriptor& layer, const CancelToken& cancel) override {
    if (places_.blobs->Has(layer.digest)) return true;
    const absl::StatusOr<std::int64_t> size = places_.session->BlobSize(store_, layer.digest, cancel);
    if (absl::IsNotFound(size.status())) return false;
    RETURN_IF_ERROR(size.status());
    return true;
  }

  absl::Status Fetch(const oci::Descriptor& layer, const CancelToken& cancel) override {
    if (places_.blobs->Has(layer.digest)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> writer, places_.blobs->NewWriter());
    RETURN_IF_ERROR(places_.session->ReadBlob(
        store_, layer.digest, [&](absl::string_view chunk) { return store::WriteWithin(layer.size, layer.digest, chunk, *writer); }, cancel));
    return writer->Commit(layer.digest, layer.size).status();
  }

  std::vector<std::string> sources() const override { return {}; }

 private:
  const std::string store_;
  const oci::Digest root_;
  const Places places_;
};

absl::StatusOr<CacheOriginPtr> NewRegistryOrigin(const Attributes& attributes, const Places& places) {
  ASSIGN_OR_RETURN(oci::Reference ref, RefAttribute(attributes));
  ASSIGN_OR_RETURN(const bool insecure, BoolAttribute(attributes, "registry.insecure", false));
  return std::make_shared<RegistryOrigin>(std::move(ref), insecure, places);
}

absl::StatusOr<CacheOriginPtr> NewClientOrigin(const Attributes& attributes, const Places& places) {
  const std::string digest = ValueOf(attributes, "digest");
  if (digest.empty()) return absl::InvalidArgumentError("local cache importer requires explicit digest");
  const std::string source = ValueOf(attributes, "src");
  if (source.empty()) return absl::InvalidArgumentError("local cache importer requires src");
  ASSIGN_OR_RETURN(oci::Digest root, oci::Digest::Parse(digest));
  if (places.session == nullptr) return absl::InvalidArgumentError("local cache exporter/importer requires session");
  return std::make_shared<ClientOrigin>(ClientStore(source), std::move(root), places);
}

template <typename Client, typename Config>
absl::StatusOr<CacheOriginPtr> NewStoreOrigin(const absl::StatusOr<Config>& config, const Places& places) {
  RETURN_IF_ERROR(config.status());
  return NewObjectOrigin(std::make_unique<Client>(*config, places.http), LayoutOf(*config), places);
}

}  // namespace

absl::StatusOr<CacheOriginPtr> NewCacheOrigin(const std::string& type, const Attributes& attributes, const Places& places) {
  absl::StatusOr<CacheOriginPtr> origin;
  if (type == "registry") {
    origin = NewRegistryOrigin(attributes, places);
  } else if (type == "local") {
    origin = NewClientOrigin(attributes, places);
  } else if (type == "s3") {
    origin = NewStoreOrigin<S3Client>(S3Attributes(attributes), places);
  } else if (type == "azblob") {
    origin = NewStoreOrigin<AzureClient>(AzureAttributes(attributes), places);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("unknown cache importer: ", type));
  }
  if (!origin.ok()) return Annotate(origin.status(), absl::StrCat("failed to configure ", type, " cache importer"));
  return origin;
}

}  // namespace cachalot::remotecache
