#include "daemon/config_values.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace cachalot::daemon {

namespace {

constexpr std::int64_t kMega = 1'000'000;
constexpr std::int64_t kGiga = 1'000'000'000;
constexpr std::int64_t kUnknownDiskSpace = 2 * kGiga;

DiskSpace AtMost(std::int64_t percentage, std::int64_t bytes, std::int64_t total) {
  const DiskSpace share{0, percentage};
  return share.OnDisk(total) > bytes ? DiskSpace{bytes, 0} : share;
}

}  // namespace

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  std::int64_t seconds = 0;
  absl::Duration duration;
  if (text.empty()) return absl::ZeroDuration();
  if (absl::SimpleAtoi(text, &seconds)) return absl::Seconds(seconds);
  if (absl::ParseDuration(text, &duration)) return duration;
  return absl::InvalidArgumentError(absl::StrCat("invalid duration ", text));
}

std::int64_t DiskSpace::OnDisk(std::int64_t total) const {
  if (bytes != 0 || percentage == 0) {
    return bytes;
  }
  if (total == 0) {
    return kUnknownDiskSpace;
  }
  return (total / 100 * percentage / (std::int64_t{1} << 30) + 1) * kGiga;
}

absl::StatusOr<DiskSpace> ParseDiskSpace(absl::string_view text) {
  const absl::Status invalid = absl::InvalidArgumentError(absl::StrCat("invalid disk space ", text));
  absl::string_view number = absl::StripAsciiWhitespace(text);
  if (number.empty()) {
    return DiskSpace{};
  }
  DiskSpace space;
  if (absl::ConsumeSuffix(&number, "%")) {
    return absl::SimpleAtoi(number, &space.percentage) && space.percentage >= 0 ? absl::StatusOr<DiskSpace>(space) : invalid;
  }
  const std::size_t digits = std::min(number.find_first_not_of("0123456789."), number.size());
  std::string unit = absl::AsciiStrToLower(absl::StripAsciiWhitespace(number.substr(digits)));
  double value = 0;
  if (!absl::SimpleAtod(number.substr(0, digits), &value)) {
    return invalid;
  }
  constexpr absl::string_view kUnits = "bkmgtp";
  if (!unit.empty()) {
    const std::size_t power = kUnits.find(unit[0]);
    const std::string rest = unit.substr(1);
    if (power == absl::string_view::npos || (power == 0 ? !rest.empty() : !rest.empty() && rest != "b" && rest != "ib")) {
      return invalid;
    }
    value *= std::pow(1024.0, static_cast<double>(power));
  }
  if (value > 9e18) {
    return invalid;
  }
  space.bytes = static_cast<std::int64_t>(value);
  return space;
}

absl::StatusOr<CollectionLimits> ParseKeepStorage(absl::string_view text) {
  CollectionLimits limits;
  if (text.empty()) {
    return limits;
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ',');
  DiskSpace* const targets[] = {&limits.reserved, &limits.min_free, &limits.max_used};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    std::int64_t megabytes = 0;
    if (i >= std::size(targets) || !absl::SimpleAtoi(parts[i], &megabytes) || megabytes < 0) {
      return absl::InvalidArgumentError(absl::StrCat("failed to parse storage \"", text, "\""));
    }
    targets[i]->bytes = megabytes * kMega;
  }
  return limits;
}

std::int64_t DiskTotal(const std::string& path) {
  std::error_code error;
  std::filesystem::path existing = std::filesystem::absolute(path, error);
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  struct statvfs info = {};
  return statvfs(existing.c_str(), &info) == 0 ? static_cast<std::int64_t>(info.f_blocks * info.f_frsize) : 0;
}

std::vector<snapshot::PrunePolicy> DefaultPolicies(const CollectionLimits& given, std::int64_t disk_total) {
  CollectionLimits limits = given;
  if (limits.empty()) {
    limits.reserved = AtMost(10, 10 * kGiga, disk_total);
    limits.max_used = AtMost(80, 100 * kGiga, disk_total);
    limits.min_free = DiskSpace{0, 20};
  }
  // What is easily made again goes first, when it is more than 512 MB and unused for two days.
  snapshot::PrunePolicy reproducible;
  reproducible.filters = {"type==source.local", "type==exec.cachemount", "type==source.git.checkout"};
  reproducible.keep_duration = absl::Hours(48);
  reproducible.max_used_space = 512 * kMega;
  snapshot::PrunePolicy capped;
  capped.reserved_space = limits.reserved.OnDisk(disk_total);
  capped.max_used_space = limits.max_used.OnDisk(disk_total);
  capped.min_free_space = limits.min_free.OnDisk(disk_total);
  snapshot::PrunePolicy old = capped;
  old.keep_duration = absl::Hours(60 * 24);
  snapshot::PrunePolicy everything = capped;  // internal records too
  everything.all = true;
  return {reproducible, old, capped, everything};
}

}  // namespace cachalot::daemon
