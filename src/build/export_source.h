// From what a frontend returned to what exporters take.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "build/build_core.h"
#include "export/exporter.h"
#include "llb/frontend.h"

namespace cachalot::build {

// The platforms of a result by its metadata ("refs.platforms", "containerimage.config"), without the trees.
absl::StatusOr<exporting::Source> DescribeResult(const llb::FrontendResult& result, const oci::Platform& default_platform);

// The trees of the result, those of attestations included.
std::vector<llb::RefPtr> AllRefsOf(const llb::FrontendResult& result);
// Solves all of them.
absl::Status SolveResult(BuildCore& core, const llb::FrontendResult& result);

// The same as DescribeResult with the solved trees, committed.
absl::StatusOr<exporting::Source> MakeExportSource(BuildCore& core, const llb::FrontendResult& result);

}  // namespace cachalot::build
