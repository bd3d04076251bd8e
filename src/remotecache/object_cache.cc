#include "remotecache/s3_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/status_macros.h"

namespace cachalot::remotecache {
namespace {

std::string BlobKey(const S3Config& config, const oci::Digest& digest) { return absl::StrCat(config.prefix, config.blobs_prefix, digest.str()); }
std::string ConfigKey(const S3Config& config, const std::string& name) { return absl::StrCat(config.prefix, config.manifests_prefix, name); }

class S3Origin : public CacheOrigin {
 public:
  S3Origin(S3Config config, const Places& places) : client_(std::move(config), places.http), places_(places) {}

  absl::StatusOr<std::optional<std::string>> ReadBareConfig(const CancelToken& cancel) override {
    ASSIGN_OR_RETURN(std::optional<std::string> config,
                     client_.Read(ConfigKey(client_.config(), client_.config().names.front()), kMaxConfigBytes, cancel));
    return config.has_value() ? std::move(config) : "{}";  // nothing was exported yet
  }
  absl::StatusOr<oci::Descriptor> Resolve(const CancelToken&) override { return absl::InternalError("a bucket has no manifests"); }
  absl::StatusOr<std::string> ReadDocument(const oci::Descriptor&, const CancelToken&) override {
    return absl::InternalError("a bucket has no manifests");
  }
  absl::StatusOr<bool> Has(const oci::Descriptor& layer, const CancelToken& cancel) override {
    ASSIGN_OR_RETURN(const std::optional<absl::Time> written, client_.WrittenAt(BlobKey(client_.config(), layer.digest), cancel));
    return written.has_value();
  }
  absl::Status Fetch(const oci::Descriptor& layer, const CancelToken& cancel) override {
    if (places_.blobs->Has(layer.digest)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> writer, places_.blobs->NewWriter());
    RETURN_IF_ERROR(client_.Fetch(
        BlobKey(client_.config(), layer.digest), [&](absl::string_view bytes) { return writer->Write(bytes); }, cancel));
    return writer->Commit(layer.digest, layer.size).status();
  }
  std::vector<std::string> sources() const override { return {}; }

 private:
  S3Client client_;
  const Places places_;
};

class S3Destination : public CacheDestination {
 public:
  S3Destination(S3Config config, const Places& places, CancelToken cancel)
      : client_(std::move(config), places.http), places_(places), cancel_(std::move(cancel)) {}

  bool bare() const override { return true; }
  absl::Status WriteBlob(const oci::Descriptor& blob, const std::vector<std::string>&) override {
    const std::string key = BlobKey(client_.config(), blob.digest);
    ASSIGN_OR_RETURN(const std::optional<absl::Time> written, client_.WrittenAt(key, cancel_));
    if (written.has_value()) return absl::Now() - *written > client_.config().touch_refresh ? client_.Touch(key, cancel_) : absl::OkStatus();
    ASSIGN_OR_RETURN(const UniqueFd file, places_.blobs->Open(blob.digest));
    ASSIGN_OR_RETURN(const std::int64_t size, places_.blobs->Size(blob.digest));
    const S3Client::Body body = [&](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
      const ssize_t got = ::pread(file.get(), out, room, offset);
      if (got < 0) return ErrnoError(absl::StrCat("read blob ", blob.digest.str()));
      return static_cast<std::size_t>(got);
    };
    return client_.Write(key, size, std::string(blob.digest.hex()), body, cancel_);
  }
  absl::Status WriteDocument(const oci::Descriptor&, const std::string&) override { return absl::InternalError("a bucket has no documents"); }
  absl::Status WriteManifest(const oci::Descriptor& descriptor, const std::string& bytes) override {
    const S3Client::Body body = [&](std::int64_t offset, char* out, std::size_t room) -> absl::StatusOr<std::size_t> {
      const std::size_t count = std::min(room, bytes.size() - static_cast<std::size_t>(offset));
      std::memcpy(out, bytes.data() + offset, count);
      return count;
    };
    for (const std::string& name : client_.config().names) {
      const absl::Status status =
          client_.Write(ConfigKey(client_.config(), name), descriptor.size, std::string(descriptor.digest.hex()), body, cancel_);
      if (!status.ok()) return Annotate(status, absl::StrCat("error writing manifest: ", name));
    }
    return absl::OkStatus();
  }

 private:
  S3Client client_;
  const Places places_;
  const CancelToken cancel_;
};

}  // namespace

CacheOriginPtr NewS3Origin(S3Config config, const Places& places) { return std::make_shared<S3Origin>(std::move(config), places); }

std::unique_ptr<CacheDestination> NewS3Destination(S3Config config, const Places& places, const CancelToken& cancel) {
  return std::make_unique<S3Destination>(std::move(config), places, cancel);
}

}  // namespace cachalot::remotecache
