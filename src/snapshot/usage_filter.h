// Filters over usage records (base/filter.h).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/filter.h"
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
  explicit UsageFilter(Filter filter) : filter_(std::move(filter)) {}

  Filter filter_;
};

}  // namespace cachalot::snapshot
