// What an operation reads from one input, when that can be told beforehand: the basis of content keys.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::op {

struct Selector {
  std::string path;
  bool wildcard = false, follow_links = false;
  std::vector<std::string> include_patterns, exclude_patterns, required_paths;
};

// Without doubled paths and paths beneath others.
std::vector<Selector> Deduplicate(const std::vector<Selector>& selectors);

// The digest of what `selectors` (none: everything) cover of `input`, which is materialized first.
absl::StatusOr<std::string> DigestSelected(const Environment& environment, const std::vector<Selector>& selectors, const solver::ResultPtr& input,
                                           const CancelToken& cancel);

// Materializes the trees of all `inputs`.
absl::Status MaterializeAll(const Environment& environment, const std::vector<solver::ResultPtr>& inputs, const CancelToken& cancel);

}  // namespace cachalot::op
