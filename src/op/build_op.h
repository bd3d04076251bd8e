// Build operations: solve the graph that is written in a file of an input.
#pragma once

#include <string>
#include <vector>

#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::op {

class BuildOperation : public solver::Operation {
 public:
  BuildOperation(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;

 private:
  absl::StatusOr<std::string> ReadDefinition(const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel) const;

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
};

}  // namespace cachalot::op
