#include "dockerfile/parse/location.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace cachalot::dockerfile {
namespace {

// The payload reads "first-last;first-last".
constexpr absl::string_view kPayload = "cachalot.dockerfile.lines";

}  // namespace

absl::Status AtLines(absl::Status status, Lines lines) {
  if (status.ok() || status.GetPayload(kPayload).has_value()) return status;
  return AlsoAtLines(std::move(status), lines);
}

absl::Status AlsoAtLines(absl::Status status, Lines lines) {
  if (status.ok()) return status;
  std::string text;
  if (const auto payload = status.GetPayload(kPayload); payload.has_value()) text = absl::StrCat(std::string(*payload), ";");
  absl::StrAppend(&text, lines.first, "-", lines.last);
  status.SetPayload(kPayload, absl::Cord(text));
  return status;
}

absl::Status WithoutLines(absl::Status status) {
  status.ErasePayload(kPayload);
  return status;
}

std::vector<Lines> LinesOf(const absl::Status& status) {
  std::vector<Lines> out;
  const auto payload = status.GetPayload(kPayload);
  if (!payload.has_value()) return out;
  const std::string text(*payload);
  for (const absl::string_view range : absl::StrSplit(text, ';')) {
    const std::pair<absl::string_view, absl::string_view> ends = absl::StrSplit(range, '-');
    Lines lines;
    if (absl::SimpleAtoi(ends.first, &lines.first) && absl::SimpleAtoi(ends.second, &lines.last)) out.push_back(lines);
  }
  return out;
}

}  // namespace cachalot::dockerfile
