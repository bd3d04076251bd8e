// What sources of all kinds are at the moment, for those who ask before they build.
#pragma once

#include "absl/status/statusor.h"
#include "base/cancel.h"
#include "llb/frontend.h"
#include "op/environment.h"

namespace cachalot::op {

// The build keeps to the answer. Sources that have nothing to tell are returned as they are.
absl::StatusOr<llb::ResolvedSource> ResolveSource(const Environment& environment, const llb::SourceOp& source, const llb::ResolveOptions& options,
                                                  const CancelToken& cancel);

}  // namespace cachalot::op
