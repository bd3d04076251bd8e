// Registries (OCI distribution specification 1.1): resolving, pulling and pushing over libcurl.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel.h"
#include "oci/image.h"
#include "oci/reference.h"
#include "store/blobs.h"

namespace cachalot::registry {

// Who pays for a request. Implemented by a build's session; a null pointer is anonymous.
class Credentials {
 public:
  struct Basic {
    std::string username, secret;  // a refresh (identity) token has an empty username
  };
  virtual ~Credentials() = default;
  virtual absl::StatusOr<Basic> ForHost(const std::string& host) = 0;
  // Lets the client fetch a bearer token itself. UNIMPLEMENTED or NOT_FOUND: the caller fetches it with ForHost().
  struct TokenRequest {
    std::string client_id, host, realm, service;
    std::vector<std::string> scopes;
  };
  virtual absl::StatusOr<std::string> FetchToken(const TokenRequest& request) = 0;
};

// Per-registry settings from the daemon's configuration ([registry."host"] of buildkitd.toml).
struct HostConfig {
  std::vector<std::string> mirrors;
  std::optional<bool> plain_http;
  std::optional<bool> insecure;  // skip certificate checks
  std::vector<std::string> root_cas;
  std::vector<std::pair<std::string, std::string>> key_pairs;  // key file, certificate file
};
using HostConfigs = std::map<std::string, HostConfig>;

struct Options {
  std::shared_ptr<Credentials> credentials{};
  bool insecure = false;  // per request: allow http and bad certificates ("registry.insecure=true")
  CancelToken cancel{};
  // Told of every blob's bytes as they arrive or leave.
  std::function<void(const oci::Descriptor&, std::int64_t done)> on_progress{};
};

// Thread-safe; keeps connections and tokens.
class Client {
 public:
  static std::unique_ptr<Client> Create(HostConfigs configs);
  virtual ~Client() = default;

  // The descriptor that a reference points at now (HEAD, or GET where HEAD is not offered). Mirrors are tried first.
  virtual absl::StatusOr<oci::Descriptor> Resolve(const oci::Reference& ref, const Options& options) = 0;
  // A manifest or index by digest, verified.
  virtual absl::StatusOr<std::string> FetchManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, const Options& options) = 0;
  // Streams a blob into `blobs`, verified; resumes broken transfers. No-op when the store has it.
  virtual absl::Status FetchBlob(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs, const Options& options) = 0;
  // Uploads a blob unless the repository has it; mounts it from `mount_from` (repositories of the same registry) if offered.
  virtual absl::Status PushBlob(const oci::Reference& ref, const oci::Descriptor& descriptor, store::BlobStore& blobs,
                                const std::vector<std::string>& mount_from, const Options& options) = 0;
  // Puts a manifest or index under the reference's tag, or by digest when `by_digest`.
  virtual absl::Status PushManifest(const oci::Reference& ref, const oci::Descriptor& descriptor, absl::string_view bytes, bool by_digest,
                                    const Options& options) = 0;
};

}  // namespace cachalot::registry
