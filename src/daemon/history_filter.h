// Which build records a client wants to see.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "buildkit/control.pb.h"

namespace cachalot::daemon {

class HistoryFilter {
 public:
  // A record passes when it passes any of `filters`, or when there is none. A filter is a comma-separated list (CSV) that must hold
  // as a whole: of containerd's filters (base/filter.h) over ref, status (running, completed, error, canceled) and repository, and of
  // comparisons (>=, <=, >, <) of startedAt and completedAt with a time (RFC 3339, or a duration before `now`) and of duration.
  static absl::StatusOr<HistoryFilter> Parse(const std::vector<std::string>& filters, absl::Time now);
  bool Matches(const moby::buildkit::v1::BuildHistoryRecord& record) const;

 private:
  using Condition = std::function<bool(const moby::buildkit::v1::BuildHistoryRecord&)>;
  static absl::StatusOr<std::vector<Condition>> ParseOne(const std::string& text, absl::Time now);
  // Nothing when `text` is no comparison of times.
  static absl::StatusOr<Condition> ParseComparison(const std::string& text, absl::Time now);

  std::vector<std::vector<Condition>> alternatives_;
};

}  // namespace cachalot::daemon
