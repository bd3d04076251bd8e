#include "trace/span.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "base/random_id.h"
#include "base/sha256.h"

namespace cachalot::trace {
namespace {

constexpr std::size_t kTraceDigits = 32, kSpanDigits = 16;

std::string RandomHex(std::size_t digits) { return Sha256Hex(RandomId()).substr(0, digits); }

bool IsId(absl::string_view text, std::size_t digits) {
  const auto is_hex = [](char c) { return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f'); };
  return text.size() == digits && std::all_of(text.begin(), text.end(), is_hex) && text.find_first_not_of('0') != absl::string_view::npos;
}

}  // namespace

std::optional<Context> ParseTraceparent(absl::string_view header) {
  const std::vector<absl::string_view> parts = absl::StrSplit(header, '-');
  if (parts.size() < 4 || parts[0].size() != 2 || parts[0] == "ff" || !IsId(parts[1], kTraceDigits) || !IsId(parts[2], kSpanDigits)) {
    return std::nullopt;
  }
  return Context{std::string(parts[1]), std::string(parts[2])};
}

Context NewContext() { return {RandomHex(kTraceDigits), NewSpanId()}; }
std::string NewSpanId() { return RandomHex(kSpanDigits); }

}  // namespace cachalot::trace
