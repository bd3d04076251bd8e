// Reading and printing small values the way the Dockerfile's users know them: Go's formats and error texts.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace cachalot::dockerfile {

// 1, t, T, true, TRUE, True and their opposites.
std::optional<bool> ParseBool(absl::string_view text);

// "1h30m", "1.5s", "100ms"; errors read as time.ParseDuration's.
absl::StatusOr<absl::Duration> ParseGoDuration(absl::string_view text);
// "1h0m0s", "1.5s", "0s".
std::string FormatGoDuration(absl::Duration duration);

// A decimal integer within [low, high]; errors read as strconv.ParseInt's.
absl::StatusOr<std::int64_t> ParseInteger(absl::string_view text, std::int64_t low = INT64_MIN, std::int64_t high = INT64_MAX);
// An unsigned number of `base` (8 or 10) that fits 32 bits.
std::optional<std::uint32_t> ParseUnsigned32(absl::string_view text, int base);

// A size such as "64m", "1.5GiB" or "1024": binary units, case does not matter.
std::optional<std::int64_t> ParseByteSize(absl::string_view text);

// The comma-separated fields of one line; fields may be quoted with ", which is doubled inside.
absl::StatusOr<std::vector<std::string>> ParseCsvLine(absl::string_view line);

}  // namespace cachalot::dockerfile
