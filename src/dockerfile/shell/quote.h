// Quoting the way Go's %q prints strings: clients match on such texts.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// `text` in double quotes, with control characters, quotes, backslashes and invalid UTF-8 escaped.
std::string GoQuote(absl::string_view text);

// `["a" "b"]`: a list of strings as Go's %q prints it.
std::string GoQuote(const std::vector<std::string>& texts);

// `[a b]`: a list of strings as Go's %v prints it.
std::string GoList(const std::vector<std::string>& texts);

}  // namespace cachalot::dockerfile
