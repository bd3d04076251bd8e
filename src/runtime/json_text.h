// JSON by appending to a string: a container's description is made for every build step.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::runtime {

// Appends `text` quoted and escaped. Bytes beyond ASCII go as they are.
void AppendQuoted(std::string& json, absl::string_view text);
// Appends ["a","b"].
void AppendQuotedList(std::string& json, const std::vector<std::string>& texts);

}  // namespace cachalot::runtime
