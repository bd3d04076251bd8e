#include "dockerfile/report/source_errors.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "llb/source_error.h"

namespace cachalot::dockerfile {

std::vector<solver::SourceRange> RangesOf(const std::vector<Lines>& lines) {
  std::vector<solver::SourceRange> ranges;
  for (const Lines place : lines) {
    for (int line = place.first; line <= place.last; ++line) ranges.push_back({line, 0, line, 0});
  }
  return ranges;
}

absl::Status WithSource(const absl::Status& status, const llb::SourceInfo& source) {
  const std::vector<Lines> lines = LinesOf(status);
  if (status.ok() || lines.empty()) return status;
  absl::Status out = WithoutLines(status);
  llb::AttachSource(out, {std::make_shared<llb::SourceInfo>(source), RangesOf(lines)});
  return out;
}

bool HasSource(const absl::Status& status) { return llb::SourceOf(status).has_value(); }

solver::WarningEvent WarningOf(const LintRule& rule, const std::string& message, Lines lines, const llb::SourceInfo& source) {
  solver::WarningEvent warning;
  warning.level = 1;
  warning.brief = absl::StrCat(rule.name, ": ", message);
  if (lines.first > 0) absl::StrAppend(&warning.brief, " (line ", lines.first, ")");
  warning.detail = {std::string(rule.description)};
  warning.url = std::string(rule.url);
  warning.source_filename = source.filename;
  warning.source_data = source.data;
  warning.source_language = source.language;
  warning.source_definition = source.definition;
  warning.ranges = RangesOf({lines});
  return warning;
}

}  // namespace cachalot::dockerfile
