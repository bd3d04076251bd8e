// Passthrough operations: some of their inputs as they are, once all inputs are there.
#pragma once

#include <string>
#include <vector>

#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::op {

class PassthroughOperation : public solver::Operation {
 public:
  explicit PassthroughOperation(llb::VertexPtr vertex) : vertex_(std::move(vertex)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;

 private:
  const llb::VertexPtr vertex_;
};

}  // namespace cachalot::op
