// What selectors match with, and how the match fills in an update: regular expressions in the syntax of Go's regexp package,
// templates in that of its Expand.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cachalot::policy {

// Immutable.
class Pattern {
 public:
  virtual ~Pattern() = default;
  virtual bool Matches(absl::string_view text) const = 0;
  // What `text` becomes under `replacement`; a text that does not match stays as it is.
  virtual std::string Format(absl::string_view text, absl::string_view replacement) const = 0;

  // "*" stands for anything and is a group of its own; the whole text must match. "**" is invalid.
  static absl::StatusOr<std::shared_ptr<const Pattern>> Wildcard(absl::string_view text);
  // Matches anywhere in the text; Format replaces every match.
  static absl::StatusOr<std::shared_ptr<const Pattern>> Regex(absl::string_view text);
};

}  // namespace cachalot::policy
