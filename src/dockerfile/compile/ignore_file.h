// .dockerignore files.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// The patterns of an ignore file, cleaned, relative to the context; comments and blank lines are dropped. INVALID_ARGUMENT for a
// pattern that is none; it names the file, as `name`, and the line.
absl::StatusOr<std::vector<std::string>> ParseIgnoreFile(absl::string_view name, absl::string_view text);

}  // namespace cachalot::dockerfile
