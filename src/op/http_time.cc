#include "op/http_time.h"

namespace cachalot::op {
namespace {

constexpr char kFormat[] = "%a, %d %b %Y %H:%M:%S GMT";
// Obsolete, but still to be accepted.
constexpr char kRfc850[] = "%A, %d-%b-%y %H:%M:%S %Z";
constexpr char kAsctime[] = "%a %b %d %H:%M:%S %Y";

}  // namespace

std::optional<absl::Time> ParseHttpTime(const std::string& text) {
  for (const char* format : {kFormat, kRfc850, kAsctime}) {
    absl::Time time;
    std::string error;
    if (!text.empty() && absl::ParseTime(format, text, absl::UTCTimeZone(), &time, &error)) return time;
  }
  return std::nullopt;
}

std::string FormatHttpTime(absl::Time time) { return absl::FormatTime(kFormat, time, absl::UTCTimeZone()); }

}  // namespace cachalot::op
