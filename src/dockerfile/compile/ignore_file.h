// .dockerignore files.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// The patterns of an ignore file, cleaned, relative to the context; comments and blank lines are dropped.
std::vector<std::string> ParseIgnoreFile(absl::string_view text);

}  // namespace cachalot::dockerfile
