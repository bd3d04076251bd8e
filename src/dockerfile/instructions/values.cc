#include "dockerfile/instructions/values.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "dockerfile/shell/quote.h"

namespace cachalot::dockerfile {
namespace {

absl::Status CsvError(std::size_t column, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("parse error on line 1, column ", column + 1, ": ", message));
}

// "1.5" and the like without trailing zeros.
std::string Fraction(double value) { return absl::StrFormat("%.9g", value); }

}  // namespace

std::optional<bool> ParseBool(absl::string_view text) {
  for (const absl::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == yes) return true;
  }
  for (const absl::string_view no : {"0", "f", "F", "false", "FALSE", "False"}) {
    if (text == no) return false;
  }
  return std::nullopt;
}

absl::StatusOr<absl::Duration> ParseGoDuration(absl::string_view text) {
  absl::Duration duration;
  const absl::string_view digits = text.substr(std::min(text.find_first_not_of("+-"), text.size()));
  const bool number = !digits.empty() && digits.find_first_not_of("0123456789.") == absl::string_view::npos;
  if (number && text != "0") return absl::InvalidArgumentError(absl::StrCat("time: missing unit in duration ", GoQuote(text)));
  if (digits.empty() || !absl::ascii_isdigit(digits[0] == '.' ? '0' : digits[0]) || !absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(absl::StrCat("time: invalid duration ", GoQuote(text)));
  }
  return duration;
}

std::string FormatGoDuration(absl::Duration duration) {
  if (duration == absl::ZeroDuration()) return "0s";
  if (duration < absl::ZeroDuration()) return absl::StrCat("-", FormatGoDuration(-duration));
  if (duration < absl::Microseconds(1)) return absl::StrCat(absl::ToInt64Nanoseconds(duration), "ns");
  if (duration < absl::Milliseconds(1)) return absl::StrCat(Fraction(absl::ToDoubleMicroseconds(duration)), "\xC2\xB5s");
  if (duration < absl::Seconds(1)) return absl::StrCat(Fraction(absl::ToDoubleMilliseconds(duration)), "ms");
  const std::int64_t hours = duration / absl::Hours(1);
  const std::int64_t minutes = duration / absl::Minutes(1) % 60;
  std::string out;
  if (hours > 0) absl::StrAppend(&out, hours, "h");
  if (hours > 0 || minutes > 0) absl::StrAppend(&out, minutes, "m");
  return absl::StrCat(out, Fraction(absl::ToDoubleSeconds(duration % absl::Minutes(1))), "s");
}

absl::StatusOr<std::int64_t> ParseInteger(absl::string_view text, std::int64_t low, std::int64_t high) {
  const auto error = [&](absl::string_view reason) {
    return absl::InvalidArgumentError(absl::StrCat("strconv.ParseInt: parsing ", GoQuote(text), ": ", reason));
  };
  const absl::string_view digits = text.substr(!text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0);
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos) return error("invalid syntax");
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < low || value > high) return error("value out of range");
  return value;
}

std::optional<std::uint32_t> ParseUnsigned32(absl::string_view text, int base) {
  if (text.empty() || text.size() > 32) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c >= '0' + base) return std::nullopt;
    value = value * base + (c - '0');
    if (value > UINT32_MAX) return std::nullopt;
  }
  return static_cast<std::uint32_t>(value);
}

std::optional<std::int64_t> ParseByteSize(absl::string_view text) {
  const std::size_t end = text.find_last_of("0123456789. ");
  if (end == absl::string_view::npos) return std::nullopt;
  absl::string_view number = text.substr(0, end + 1);
  std::string unit = absl::AsciiStrToLower(text.substr(end + 1));
  absl::ConsumeSuffix(&number, " ");
  double value = 0;
  if (number.empty() || number.find_first_not_of("0123456789.") != absl::string_view::npos || !absl::SimpleAtod(number, &value)) return std::nullopt;
  std::int64_t factor = 1;
  if (!unit.empty() && unit[0] != 'b') {
    static constexpr absl::string_view kUnits = "kmgtpe";
    const std::size_t index = kUnits.find(unit[0]);
    if (index == absl::string_view::npos || (unit.size() > 1 && unit.substr(1) != "b" && unit.substr(1) != "ib")) return std::nullopt;
    factor = std::int64_t{1} << (10 * (index + 1));
  } else if (unit.size() > 1) {
    return std::nullopt;
  }
  const double bytes = value * static_cast<double>(factor);
  if (bytes >= 9.2e18) return std::nullopt;
  return static_cast<std::int64_t>(bytes);
}

absl::StatusOr<std::vector<std::string>> ParseCsvLine(absl::string_view line) {
  absl::ConsumeSuffix(&line, "\n");
  absl::ConsumeSuffix(&line, "\r");
  if (line.empty()) return absl::InvalidArgumentError("EOF");
  std::vector<std::string> fields;
  std::size_t i = 0;
  for (;;) {
    std::string field;
    if (i < line.size() && line[i] == '"') {
      for (++i;;) {
        const std::size_t quote = line.find('"', i);
        if (quote == absl::string_view::npos) return CsvError(i, "extraneous or missing \" in quoted-field");
        absl::StrAppend(&field, line.substr(i, quote - i));
        i = quote + 1;
        if (i >= line.size() || line[i] != '"') break;
        field.push_back('"');
        ++i;
      }
      if (i < line.size() && line[i] != ',') return CsvError(i - 1, "extraneous or missing \" in quoted-field");
    } else {
      const absl::string_view plain = line.substr(i, line.substr(i).find(','));
      const std::size_t quote = plain.find('"');
      if (quote != absl::string_view::npos) return CsvError(i + quote, "bare \" in non-quoted field");
      field = std::string(plain);
      i += plain.size();
    }
    fields.push_back(std::move(field));
    if (i >= line.size()) return fields;
    ++i;  // the comma
  }
}

}  // namespace cachalot::dockerfile
