// Filters over usage records, in containerd's syntax: "field", "field==value", "field!=value", "field~=regexp", joined by ','.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "snapshot/snapshots.h"

namespace cachalot::snapshot {

// The fields are BuildKit's: id, parents, description, type (with values), inuse, mutable, immutable, shared, private (present
// or not). Another field is never present.
class UsageFilter {
 public:
  // A record passes when it passes any of `filters`, or when there is none. A malformed filter is INVALID_ARGUMENT.
  static absl::StatusOr<UsageFilter> Parse(const std::vector<std::string>& filters);
  bool Matches(const UsageRecord& record) const;

 private:
  enum class Operator { kPresent, kEqual, kNotEqual, kMatches };
  struct Regexp;
  struct Selector {
    std::string field;
    Operator op = Operator::kPresent;
    std::string value;
    std::shared_ptr<const Regexp> regexp;
  };
  class Parser;

  static bool Matches(const Selector& selector, const UsageRecord& record);

  std::vector<std::vector<Selector>> alternatives_;
};

}  // namespace cachalot::snapshot
