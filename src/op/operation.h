// The operations: from a vertex of the build graph to something the solver can run.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "llb/op.h"
#include "op/environment.h"
#include "solver/solver.h"

namespace cachalot::op {

// The operation of `vertex`. INVALID_ARGUMENT for a source of a scheme, or an operation, that this engine does not know.
absl::StatusOr<std::shared_ptr<solver::Operation>> MakeOperation(const llb::VertexPtr& vertex, const EnvironmentPtr& environment);

}  // namespace cachalot::op
