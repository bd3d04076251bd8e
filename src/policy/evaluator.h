// Evaluates source policies.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/guarded.h"
#include "policy/pattern.h"
#include "policy/policy.h"

namespace cachalot::policy {

// Thread-safe.
class Evaluator {
 public:
  explicit Evaluator(std::vector<Policy> policies) : policies_(std::move(policies)) {}

  // Rewrites `source` as the policies say, until none has anything to change; whether anything changed. Each policy must allow
  // the source: the last of its rules that matches decides, no match allows. A denied source is a FAILED_PRECONDITION; an
  // invalid rule is an INVALID_ARGUMENT, found only when it comes to be used.
  absl::StatusOr<bool> Apply(Source& source);

  bool empty() const { return policies_.empty(); }
  const std::vector<Policy>& policies() const { return policies_; }

 private:
  using PatternPtr = std::shared_ptr<const Pattern>;

  absl::StatusOr<bool> ApplyOnce(const Policy& policy, Source& source);
  absl::StatusOr<bool> Matches(const Selector& selector, const Source& source);
  absl::StatusOr<bool> HoldsFor(const Constraint& constraint, const Source& source);
  absl::StatusOr<bool> Convert(const Rule& rule, Source& source);
  // Compiled once: a policy is asked about every source of a build.
  absl::StatusOr<PatternPtr> PatternOf(Match match, const std::string& text);

  const std::vector<Policy> policies_;
  Guarded<absl::flat_hash_map<std::string, PatternPtr>> patterns_;
};

}  // namespace cachalot::policy
