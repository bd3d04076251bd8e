// Source operation "http://" and "https://": one file from the web.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "op/http_resource.h"
#include "op/pinned.h"
#include "solver/solver.h"

namespace cachalot::op {

class HttpSource : public solver::Operation, public Pinned {
 public:
  HttpSource(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  std::string Pin() const override { return pin_; }

 private:
  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  std::string pin_;
};

// What is known of the resource without asking, when the identifier has its digest; else as HttpResources::Get. A signature is
// verified, which takes the file.
absl::StatusOr<HttpResourcePtr> ResolveHttp(const HttpIdentifier& identifier, const Environment& environment, const CancelToken& cancel);

}  // namespace cachalot::op
