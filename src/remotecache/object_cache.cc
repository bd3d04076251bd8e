#include "remotecache/object_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "registry/retry.h"

namespace cachalot::remotecache {
namespace {

std::string BlobKey(const ObjectLayout& layout, const oci::Digest& digest) { return absl::StrCat(layout.blobs, digest.str()); }
std::string ConfigKey(const ObjectLayout& layout, const std::string& name) { return absl::StrCat(layout.configs, name); }

class ObjectOrigin : public CacheOrigin {
 public:
  ObjectOrigin(std::unique_ptr<ObjectStore> store, ObjectLayout layout, const Places& places)
      : store_(std::move(store)), layout_(std::move(layout)), places_(places) {}

  absl::StatusOr<std::optional<std::string>> ReadBareConfig(const CancelToken& cancel) override {
    ASSIGN_OR_RETURN(std::optional<std::string> config, store_->Read(ConfigKey(layout_, layout_.names.front()), kMaxDocumentBytes, cancel));
    return config.has_value() ? std::move(config) : "{}";  // nothing was exported yet
  }
  absl::StatusOr<oci::Descriptor> Resolve(const CancelToken&) override { return absl::InternalError("an object store has no manifests"); }
  absl::StatusOr<std::string> ReadDocument(const oci::Descriptor&, const CancelToken&) override {
    return absl::InternalError("an object store has no manifests");
  }
  absl::StatusOr<bool> Has(const oci::Descriptor& layer, const CancelToken& cancel) override {
    ASSIGN_OR_RETURN(const std::optional<absl::Time> written, store_->WrittenAt(BlobKey(layout_, layer.digest), cancel));
    return written.has_value();
  }
  absl::Status Fetch(const oci::Descriptor& layer, const CancelToken& cancel) override {
    if (places_.blobs->Has(layer.digest)) return absl::OkStatus();
    registry::Backoff backoff;
    while (true) {
      ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> writer, places_.blobs->NewWriter());
      const auto sink = [&](absl::string_view bytes) { return store::WriteWithin(layer.size, layer.digest, bytes, *writer); };
      std::optional<absl::Duration> pause;
      const absl::Status fetched = store_->Fetch(BlobKey(layout_, layer.digest), sink, pause, cancel);
      if (fetched.ok()) return writer->Commit(layer.digest, layer.size).status();
      if (!pause.has_value()) return fetched;
      ASSIGN_OR_RETURN(const bool again, backoff.Again(cancel, *pause));
      if (!again) return fetched;
    }
  }
  std::vector<std::string> sources() const override { return {}; }

 private:
  const std::unique_ptr<ObjectStore> store_;
  const ObjectLayout layout_;
  const Places places_;
};

class ObjectDestination : public CacheDestination {
 public:
  ObjectDestination(std::unique_ptr<ObjectStore> store, ObjectLayout layout, const Places& places, CancelToken cancel)
      : store_(std::move(store)), layout_(std::move(layout)), places_(places), cancel_(std::move(cancel)) {}

  bool bare() const override { return true; }
  absl::Status WriteBlob(const oci::Descriptor& blob, const std::vector<std::string>&) override {
    const std::string key = BlobKey(layout_, blob.digest);
    ASSIGN_OR_RETURN(const std::optional<absl::Time> written, store_->WrittenAt(key, cancel_));
    if (written.has_value()) return absl::Now() - *written > layout_.touch_refresh ? store_->Touch(key, cancel_) : absl::OkStatus();
    ASSIGN_OR_RETURN(const UniqueFd file, places_.blobs->Open(blob.digest));
    ASSIGN_OR_RETURN(const std::int64_t size, places_.blobs->Size(blob.digest));
    const ObjectStore::Body body = [&](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
      const ssize_t got = ::pread(file.get(), out, room, offset);
      if (got < 0) return ErrnoError(absl::StrCat("read blob ", blob.digest.str()));
      return static_cast<std::size_t>(got);
    };
    return store_->Write(key, size, std::string(blob.digest.hex()), body, cancel_);
  }
  absl::Status WriteDocument(const oci::Descriptor&, const std::string&) override { return absl::InternalError("an object store has no documents"); }
  absl::Status WriteManifest(const oci::Descriptor& descriptor, const std::string& bytes) override {
    const ObjectStore::Body body = [&](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
      const std::size_t count = std::min(room, bytes.size() - static_cast<std::size_t>(offset));
      std::memcpy(out, bytes.data() + offset, count);
      return count;
    };
    for (const std::string& name : layout_.names) {
      const absl::Status status = store_->Write(ConfigKey(layout_, name), descriptor.size, std::string(descriptor.digest.hex()), body, cancel_);
      if (!status.ok()) return Annotate(status, absl::StrCat("error writing manifest: ", name));
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<ObjectStore> store_;
  const ObjectLayout layout_;
  const Places places_;
  const CancelToken cancel_;
};

}  // namespace

CacheOriginPtr NewObjectOrigin(std::unique_ptr<ObjectStore> store, ObjectLayout layout, const Places& places) {
  return std::make_shared<ObjectOrigin>(std::move(store), std::move(layout), places);
}

std::unique_ptr<CacheDestination> NewObjectDestination(std::unique_ptr<ObjectStore> store, ObjectLayout layout, const Places& places,
                                                       const CancelToken& cancel) {
  return std::make_unique<ObjectDestination>(std::move(store), std::move(layout), places, cancel);
}

}  // namespace cachalot::remotecache
