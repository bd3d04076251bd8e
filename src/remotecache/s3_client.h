// Objects in an S3 bucket: the few requests that a cache needs, signed with AWS's Signature Version 4.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel.h"
#include "registry/http.h"
#include "remotecache/attributes.h"
#include "remotecache/object_store.h"

namespace cachalot::remotecache {

struct S3Config {
  std::string bucket, region;
  std::string prefix, manifests_prefix = "manifests/", blobs_prefix = "blobs/";
  std::vector<std::string> names = {"buildkit"};
  absl::Duration touch_refresh = absl::Hours(24);     // what is older is touched when it is used again: buckets delete by age
  std::string endpoint_url;                           // empty: Amazon's
  std::string access_key, secret_key, session_token;  // empty: requests are not signed
  bool use_path_style = false;                        // the bucket in the path instead of the host name
};
ObjectLayout LayoutOf(const S3Config& config);
// From the attributes of an import or export; what they leave out, from AWS's environment variables.
absl::StatusOr<S3Config> S3Attributes(const Attributes& attributes);

class S3Client : public ObjectStore {
 public:
  // `transport` outlives the client.
  S3Client(S3Config config, registry::HttpTransport* transport) : config_(std::move(config)), transport_(transport) {}

  absl::StatusOr<std::optional<std::string>> Read(const std::string& key, std::size_t max_bytes, const CancelToken& cancel) override;
  absl::Status Fetch(const std::string& key, const std::function<absl::Status(absl::string_view)>& sink, std::optional<absl::Duration>& pause,
                     const CancelToken& cancel) override;
  absl::StatusOr<std::optional<absl::Time>> WrittenAt(const std::string& key, const CancelToken& cancel) override;
  absl::Status Touch(const std::string& key, const CancelToken& cancel) override;
  absl::Status Write(const std::string& key, std::int64_t size, const std::string& sha256, const Body& body, const CancelToken& cancel) override;

 private:
  registry::HttpRequest Request(const std::string& method, const std::string& key, const CancelToken& cancel) const;

  const S3Config config_;
  registry::HttpTransport* const transport_;
};

// The headers that sign a request with this method, URL, body hash and further headers (lower case), at `now`.
registry::HttpHeaders SignS3(const S3Config& config, const std::string& method, const std::string& url, const std::string& body_sha256,
                             const registry::HttpHeaders& headers, absl::Time now);

}  // namespace cachalot::remotecache
