// Errors that point at a place in a source file (a Dockerfile), so that clients can show its lines.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "llb/op.h"

namespace cachalot::llb {

// Attaches the place that `status` is about. An earlier attachment stays; an OK status is left alone.
void AttachSource(absl::Status& status, const SourceLocation& location);

// The attached place, if there is one.
std::optional<SourceLocation> SourceOf(const absl::Status& status);

}  // namespace cachalot::llb
