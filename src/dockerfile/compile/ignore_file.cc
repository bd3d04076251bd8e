#include "dockerfile/compile/ignore_file.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "dockerfile/parse/directives.h"

namespace cachalot::dockerfile {

std::vector<std::string> ParseIgnoreFile(absl::string_view text) {
  std::vector<std::string> patterns;
  for (absl::string_view line : absl::StrSplit(WithoutByteOrderMark(text), '\n')) {
    if (absl::StartsWith(line, "#")) continue;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    const bool exception = absl::ConsumePrefix(&line, "!");
    line = absl::StripAsciiWhitespace(line);
    std::string pattern = line.empty() ? std::string() : CleanPath(line);
    if (pattern.size() > 1 && pattern[0] == '/') pattern.erase(0, 1);
    patterns.push_back(exception ? absl::StrCat("!", pattern) : pattern);
  }
  return patterns;
}

}  // namespace cachalot::dockerfile
