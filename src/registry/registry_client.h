// The client over HTTP.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "registry/caller.h"
#include "registry/client.h"

namespace cachalot::registry {

class RegistryClient final : public Client {
 public:
  RegistryClient(HostConfigs configs, std::unique_ptr<HttpTransport> transport)
      : configs_(std::move(configs)), transport_(std::move(transport)), caller_(*transport_) {}

  absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const Options& options) override;
  absl::StatusOr<std::string> FetchManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, const Options& options) override;
  absl::Status FetchBlob(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs, const Options& options) override;
  absl::Status PushBlob(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                        const std::vector<std::string>& mount_from, const Options& options) override;
  absl::Status PushManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, absl::string_view bytes, bool by_digest,
                            const Options& options) override;

 private:
  std::vector<Target> PullTargets(const oci::Reference& ref, const Options& options) const;
  Target PushTarget(const oci::Reference& ref, const Options& options) const;

  // Pulling (pull.cc).
  absl::StatusOr<oci::Descriptor> ResolveAt(const Target& target, const oci::Reference& ref, const std::string& what, bool& found, HostErrors& errors,
                                            const Options& options);
  absl::StatusOr<oci::Descriptor> ResolveByGet(const Target& target, HttpRequest request, const oci::Reference& ref, const Options& options);
  absl::Status FetchBlobFrom(const Target& target, const std::string& url, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                             const Options& options);

  // Pushing (push.cc). A try that fails in a way that may pass sets `transient`.
  // When it fails in a way that may pass, `pause` becomes the time that the registry asks to wait.
  absl::Status TryPushBlob(const Target& target, const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                           const std::vector<std::string>& mount_from, const Options& options, std::optional<absl::Duration>& pause);
  // The upload's location; empty when a mount made it needless.
  absl::StatusOr<std::string> StartUpload(const Target& target, const oci::Reference& ref, const oci::Descriptor& descriptor,
                                          const std::vector<std::string>& mount_from, const Options& options);
  absl::StatusOr<HttpResponse> Upload(const Target& target, const std::string& location, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                      const Options& options);

  const HostConfigs configs_;
  const std::unique_ptr<HttpTransport> transport_;
  Caller caller_;
};

// The largest manifest or index that is accepted.
inline constexpr std::size_t kMaxManifestBytes = 8 << 20;

}  // namespace cachalot::registry
