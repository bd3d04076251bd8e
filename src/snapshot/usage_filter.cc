#include "snapshot/usage_filter.h"

#include <optional>
#include <utility>

#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace cachalot::snapshot {
namespace {

std::optional<std::string> Text(std::string text) { return text.empty() ? std::nullopt : std::optional(std::move(text)); }
std::optional<std::string> Flag(bool set) { return set ? std::optional<std::string>("") : std::nullopt; }

std::optional<std::string> FieldOf(const UsageRecord& record, const std::string& field) {
  if (field == "id") return Text(record.id);
  if (field == "parents") return Text(absl::StrJoin(record.parents, ";"));
  if (field == "description") return Text(record.label.description);
  if (field == "type") return Text(record.label.record_type);
  if (field == "inuse") return Flag(record.in_use);
  if (field == "mutable") return Flag(record.mutable_);
  if (field == "immutable") return Flag(!record.mutable_);
  if (field == "shared") return Flag(record.shared);
  if (field == "private") return Flag(!record.shared);
  return std::nullopt;
}

}  // namespace

absl::StatusOr<UsageFilter> UsageFilter::Parse(const std::vector<std::string>& filters) {
  ASSIGN_OR_RETURN(Filter filter, Filter::Parse(filters));
  return UsageFilter(std::move(filter));
}

bool UsageFilter::Matches(const UsageRecord& record) const {
  return filter_.Matches([&](const std::vector<std::string>& field) { return FieldOf(record, field.front()); });
}

}  // namespace cachalot::snapshot
