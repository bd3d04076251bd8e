// The spans of a build, made from what it told of itself.
#pragma once

#include <string>
#include <vector>

#include "solver/progress.h"
#include "trace/span.h"

namespace cachalot::trace {

struct BuildSummary {
  std::string ref, frontend;
  absl::Time start, end;
  std::string error;  // empty: it succeeded
};

// One span for the build, `root`, beneath `parent_id` (empty: nothing), and one beneath that for each vertex that ran or was
// found. `vertices` has the last state of each.
std::vector<Span> SpansOfBuild(const Context& root, const std::string& parent_id, const BuildSummary& build,
                               const std::vector<solver::VertexEvent>& vertices);

}  // namespace cachalot::trace
