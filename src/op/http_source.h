// Source operation "http://" and "https://": one file from the web.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "op/environment.h"
#include "op/pinned.h"
#include "registry/http.h"
#include "solver/solver.h"

namespace cachalot::op {

// What is known of a web resource once it was asked for.
struct HttpResource {
  oci::Digest digest;
  std::string filename;
  std::optional<absl::Time> last_modified;
};

// Thread-safe when used by one operation at a time.
class HttpSource : public solver::Operation, public Pinned {
 public:
  HttpSource(llb::VertexPtr vertex, EnvironmentPtr environment);
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  std::string Pin() const override { return resource_.has_value() ? resource_->digest.str() : ""; }

 private:
  absl::Status Parse();
  absl::Status Resolve(const CancelToken& cancel);
  // Asks the server whether what is remembered of the resource still holds.
  absl::StatusOr<bool> StillFresh(const CancelToken& cancel);
  absl::Status Download(const CancelToken& cancel);
  // Takes the file from the client's session.
  absl::Status Receive(absl::string_view path, const CancelToken& cancel);
  absl::StatusOr<registry::HttpRequest> NewRequest(const CancelToken& cancel) const;
  std::string MemoryKey() const;
  std::string CacheKey() const;

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  std::string url_, filename_attr_, auth_secret_;
  oci::Digest expected_;
  int perm_ = 0, uid_ = 0, gid_ = 0;
  registry::HttpHeaders headers_;
  std::optional<HttpResource> resource_;
  std::shared_ptr<store::BlobPin> pin_;
};

// The name that a resource is stored under: `wanted`, or what Content-Disposition says, or the URL's last component, or "download".
std::string HttpFilename(const std::string& url, const std::string& wanted, const std::string& content_disposition);

}  // namespace cachalot::op
