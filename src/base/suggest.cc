#include "base/suggest.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace cachalot {
namespace {

constexpr std::size_t kMaxSuggestBytes = 256;

std::size_t EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::optional<std::string> Suggest(absl::string_view text, const std::vector<std::string>& options, bool case_sensitive) {
  if (text.size() > kMaxSuggestBytes) return std::nullopt;
  const std::string wanted = case_sensitive ? std::string(text) : absl::AsciiStrToLower(text);
  std::optional<std::string> best;
  std::size_t best_distance = 3;
  for (const std::string& option : options) {
    const std::string candidate = case_sensitive ? option : absl::AsciiStrToLower(option);
    if (candidate == wanted) return std::nullopt;
    if (candidate.size() > kMaxSuggestBytes) continue;
    const std::size_t distance = EditDistance(wanted, candidate);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = candidate;
    if (!case_sensitive && text == absl::AsciiStrToUpper(text)) best = absl::AsciiStrToUpper(candidate);
  }
  return best;
}

absl::Status WithSuggestion(absl::Status status, absl::string_view text, const std::vector<std::string>& options, bool case_sensitive) {
  const std::optional<std::string> suggestion = Suggest(text, options, case_sensitive);
  if (status.ok() || !suggestion.has_value()) return status;
  absl::Status suggested(status.code(), absl::StrCat(status.message(), " (did you mean ", *suggestion, "?)"));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { suggested.SetPayload(url, payload); });
  return suggested;
}

}  // namespace cachalot
