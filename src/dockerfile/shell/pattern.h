// The patterns of ${name#pattern}, ${name%pattern} and ${name/pattern/text}: `?` is one character, `*` any number; neither
// matches a newline. A backslash quotes `*`, `?`, `\`, `}` and `/`; before anything else it is an error.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::dockerfile {

// `value` without its shortest (or longest) matching prefix or suffix. Unchanged when nothing matches.
absl::StatusOr<std::string> TrimPrefix(absl::string_view pattern, absl::string_view value, bool longest);
absl::StatusOr<std::string> TrimSuffix(absl::string_view pattern, absl::string_view value, bool longest);

// `value` with the leftmost longest match (or every match) of `pattern` replaced. `limit` bounds the result in bytes.
absl::StatusOr<std::string> ReplacePattern(absl::string_view pattern, absl::string_view replacement, absl::string_view value, bool all,
                                           std::size_t limit);

}  // namespace cachalot::dockerfile
