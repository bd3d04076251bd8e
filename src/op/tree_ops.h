// Merge and diff: trees made of other trees.
#pragma once

#include <string>
#include <vector>

#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::op {

class MergeOperation : public solver::Operation {
 public:
  MergeOperation(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;

 private:
  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
};

class DiffOperation : public solver::Operation {
 public:
  DiffOperation(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;

 private:
  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
};

}  // namespace cachalot::op
