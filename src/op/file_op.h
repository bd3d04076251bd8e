// File operations: copy, mkdir, mkfile, rm, symlink.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "op/environment.h"
#include "op/selectors.h"
#include "solver/solver.h"

namespace cachalot::op {

class FileOperation : public solver::Operation {
 public:
  FileOperation(llb::VertexPtr vertex, EnvironmentPtr environment);
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;

 private:
  absl::Status CollectSelectors();

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  const llb::FileOp& op_;
  std::map<int, std::vector<Selector>> selectors_;  // by input; only of those that are digested by content
};

}  // namespace cachalot::op
