// Block blobs in a container of Azure Blob Storage: the few requests that a cache needs, signed with the account's key or carrying a token.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/guarded.h"
#include "registry/http.h"
#include "remotecache/attributes.h"
#include "remotecache/azure_token.h"
#include "remotecache/object_store.h"

namespace cachalot::remotecache {

struct AzureConfig {
  std::string account_url, account_name;
  std::string account_key;  // decoded; empty: a token of the environment is used
  std::string container = "buildkit-cache";
  ObjectLayout layout;
};
// From the attributes of an import or export; what they leave out, from the environment variables BUILDKIT_AZURE_STORAGE_*.
absl::StatusOr<AzureConfig> AzureAttributes(const Attributes& attributes);
inline ObjectLayout LayoutOf(const AzureConfig& config) { return config.layout; }

class AzureClient : public ObjectStore {
 public:
  // `transport` outlives the client.
  AzureClient(AzureConfig config, registry::HttpTransport* transport) : config_(std::move(config)), transport_(transport), token_(transport) {}

  absl::StatusOr<std::optional<std::string>> Read(const std::string& key, std::size_t max_bytes, const CancelToken& cancel) override;
  absl::Status Fetch(const std::string& key, const std::function<absl::Status(absl::string_view)>& sink, std::optional<absl::Duration>& pause,
                     const CancelToken& cancel) override;
  absl::StatusOr<std::optional<absl::Time>> WrittenAt(const std::string& key, const CancelToken& cancel) override;
  absl::Status Touch(const std::string& key, const CancelToken& cancel) override;
  // Makes the container if it is not there. Large objects travel in blocks.
  absl::Status Write(const std::string& key, std::int64_t size, const std::string& sha256, const Body& body, const CancelToken& cancel) override;

 private:
  struct Call {
    std::string method, key;                   // of the container itself when the key is empty
    std::map<std::string, std::string> query;  // plain text
    registry::HttpHeaders headers;             // "x-ms-..." in lower case, others as Azure writes them
    std::int64_t size = -1;
    Body body;
  };
  // The request, complete but for what is to be done with the answer.
  absl::StatusOr<registry::HttpRequest> Request(const Call& call, const CancelToken& cancel);
  absl::StatusOr<registry::HttpResponse> Do(const Call& call, const CancelToken& cancel);
  absl::Status MakeContainer(const CancelToken& cancel);
  absl::Status WriteBlocks(const std::string& key, std::int64_t size, const Body& body, const CancelToken& cancel);

  const AzureConfig config_;
  registry::HttpTransport* const transport_;
  AzureToken token_;
  Guarded<bool> container_made_{false};
};

// The value of the Authorization header of a request with the account's key ("SharedKey", as of version 2015-02-21).
std::string SignAzure(const AzureConfig& config, const std::string& method, const std::string& url_path,
                      const std::map<std::string, std::string>& query, const registry::HttpHeaders& headers, std::int64_t size);

}  // namespace cachalot::remotecache
