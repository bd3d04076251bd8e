// Command lines as a shell splits them, without expansion.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::llb {

// Words separated by white space; "..." with \ escapes, '...' without, \ outside quotes, # comments at the start of a word.
// Nothing when a quote or an escape is not finished.
std::vector<std::string> SplitCommandLine(absl::string_view command);

}  // namespace cachalot::llb
