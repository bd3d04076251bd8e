// Source operation "local://": a directory of the client.
#pragma once

#include <string>
#include <vector>

#include "op/environment.h"
#include "session/session.h"
#include "solver/solver.h"

namespace cachalot::op {

// The client's directory is mirrored in a tree that stays between builds: only what changed travels and is touched. The
// result is that tree itself, held for as long as the build needs it; another build of the same directory meanwhile works
// with a second tree.
class LocalSource : public solver::Operation {
 public:
  LocalSource(llb::VertexPtr vertex, EnvironmentPtr environment) : vertex_(std::move(vertex)), environment_(std::move(environment)) {}
  absl::StatusOr<solver::CacheMap> DescribeCache(const solver::OpContext& context) override;
  absl::StatusOr<std::string> ContentDigest(int index, const solver::ResultPtr& input, const solver::OpContext& context) override;
  absl::StatusOr<std::vector<solver::ResultPtr>> Run(const std::vector<solver::ResultPtr>& inputs, const solver::OpContext& context) override;
  // The files come from one client.
  bool Shareable() const override { return false; }

 private:
  absl::Status Parse();

  const llb::VertexPtr vertex_;
  const EnvironmentPtr environment_;
  session::SyncRequest request_;
  std::string session_id_, key_hint_;
};

}  // namespace cachalot::op
