// Words that a user may have meant.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cachalot {

// The option nearest to `text` when it looks like a typing error (fewer than three edits); none when `text` is an option.
std::optional<std::string> Suggest(absl::string_view text, const std::vector<std::string>& options, bool case_sensitive = true);
// `status` with " (did you mean X?)" behind its message, if there is a suggestion.
absl::Status WithSuggestion(absl::Status status, absl::string_view text, const std::vector<std::string>& options, bool case_sensitive = true);

}  // namespace cachalot
