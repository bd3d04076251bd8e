// The source policies of one build.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "build/source_verifier.h"
#include "llb/frontend.h"
#include "llb/op.h"
#include "policy/evaluator.h"

namespace cachalot::build {

// Thread-safe.
class SourcePolicy {
 public:
  // `verifier` may be null.
  SourcePolicy(std::vector<policy::Policy> policies, std::shared_ptr<SourceVerifier> verifier)
      : rules_(std::make_shared<policy::Evaluator>(std::move(policies))), verifier_(std::move(verifier)) {}

  // Rewrites the sources of a graph as the policies and then those of the frontend (`more`) say, and asks the verifier about each
  // of them, all at the same time. The error is a refusal, or that a policy is invalid.
  absl::StatusOr<llb::Edge> Apply(const llb::Edge& edge, const std::vector<policy::Policy>& more, llb::FrontendBridge& metadata,
                                  const CancelToken& cancel);
  // The same for one source.
  absl::Status Apply(llb::SourceOp& source, const std::optional<oci::Platform>& platform, const std::vector<policy::Policy>& more,
                     llb::FrontendBridge& metadata, const CancelToken& cancel);
  // The rules alone, for what the verifier itself asks.
  absl::Status ApplyRules(llb::SourceOp& source, const std::vector<policy::Policy>& more);

  // Whether there is nothing to apply.
  bool empty(const std::vector<policy::Policy>& more) const { return rules_->empty() && more.empty() && verifier_ == nullptr; }

 private:
  std::shared_ptr<policy::Evaluator> RulesWith(const std::vector<policy::Policy>& more) const;
  absl::Status Judge(policy::Evaluator& rules, llb::SourceOp& source, const std::optional<oci::Platform>& platform, llb::FrontendBridge& metadata,
                     const CancelToken& cancel);

  const std::shared_ptr<policy::Evaluator> rules_;
  const std::shared_ptr<SourceVerifier> verifier_;
};

}  // namespace cachalot::build
