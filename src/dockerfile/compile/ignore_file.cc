#include "dockerfile/compile/ignore_file.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/path.h"
#include "base/pattern_matcher.h"
#include "base/status.h"
#include "base/status_macros.h"
#include "dockerfile/parse/directives.h"

namespace cachalot::dockerfile {

absl::StatusOr<std::vector<std::string>> ParseIgnoreFile(absl::string_view name, absl::string_view text) {
  std::vector<std::string> patterns;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(WithoutByteOrderMark(text), '\n')) {
    ++number;
    if (absl::StartsWith(line, "#")) continue;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    const bool exception = absl::ConsumePrefix(&line, "!");
    line = absl::StripAsciiWhitespace(line);
    std::string pattern = line.empty() ? std::string() : CleanPath(line);
    if (pattern.size() > 1 && pattern[0] == '/') pattern.erase(0, 1);
    if (exception) pattern.insert(0, 1, '!');
    const absl::Status valid = PatternMatcher::Create({pattern}).status();
    RETURN_IF_ERROR(Annotate(valid, absl::StrCat(name, ":", number, ": ", pattern)));
    patterns.push_back(std::move(pattern));
  }
  return patterns;
}

}  // namespace cachalot::dockerfile
