#include "dockerfile/compile/file_mode.h"

#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "dockerfile/instructions/values.h"

namespace cachalot::dockerfile {
namespace {

// [augo]*([-+=][rwxXstugo]*)+
bool IsClause(absl::string_view clause) {
  std::size_t i = 0;
  while (i < clause.size() && absl::StrContains("augo", clause.substr(i, 1))) ++i;
  if (i == clause.size() || !absl::StrContains("+-=", clause.substr(i, 1))) return false;
  return clause.substr(i).find_first_not_of("+-=rwxXstugo") == absl::string_view::npos;
}

}  // namespace

absl::Status ParseFileMode(const std::string& text, int* mode, std::string* symbolic) {
  const std::optional<std::uint32_t> octal = ParseUnsigned32(text, 8);
  if (octal.has_value() && *octal <= 07777) {
    *mode = static_cast<int>(*octal);
    return absl::OkStatus();
  }
  if (octal.has_value() || (!text.empty() && absl::ascii_isdigit(text[0]))) {
    return absl::InvalidArgumentError(absl::StrCat("invalid chmod parameter: '", text, "'. it should be octal string and between 0 and 07777"));
  }
  for (const absl::string_view clause : absl::StrSplit(text, ',')) {
    if (!IsClause(clause)) return absl::InvalidArgumentError("invalid syntax");
  }
  *symbolic = text;
  return absl::OkStatus();
}

}  // namespace cachalot::dockerfile
