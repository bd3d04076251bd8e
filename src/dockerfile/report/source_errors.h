// Pointing at lines of the Dockerfile.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "dockerfile/lint/rules.h"
#include "dockerfile/parse/location.h"
#include "llb/op.h"

namespace cachalot::dockerfile {

// One range per line, as clients expect them.
std::vector<solver::SourceRange> RangesOf(const std::vector<Lines>& lines);

// Turns the lines that an error carries (LinesOf) into the place of `source` that clients show.
absl::Status WithSource(const absl::Status& status, const llb::SourceInfo& source);
bool HasSource(const absl::Status& status);

// A finding as the warning that progress shows.
solver::WarningEvent WarningOf(const LintRule& rule, const std::string& message, Lines lines, const llb::SourceInfo& source);

}  // namespace cachalot::dockerfile
